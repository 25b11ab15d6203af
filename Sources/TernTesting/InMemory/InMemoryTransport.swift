// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore
internal import Synchronization
public import TernTransport

/// Connections inside one process: everything that a carrier does, without a network.
///
/// Streams, flow control, limits, resets, datagrams and close codes behave as over QUIC. Time does not matter: there is
/// no idle timeout and nothing is lost, unless ``Pair/cut()`` ends it all.
public enum InMemoryTransport {
    /// Two connected ends.
    public struct Pair: Sendable {
        public let client: any LoopConnection
        public let server: any LoopConnection
        let link: InMemoryLink

        /// Breaks the link: both ends hear ``TernTransport/TransportError/Code/carrierLost``, what is on the way is gone. Any thread.
        public func cut() {
            self.link.cut()
        }
    }

    /// Connects two ends. Any thread.
    ///
    /// - Parameters:
    ///   - clientLoop: where the client's end lives.
    ///   - serverLoop: where the server's end lives; it may be the same.
    ///   - clientLimits: what the client grants the server.
    ///   - serverLimits: what the server grants the client.
    ///   - applicationProtocol: the ALPN identifier of both ends.
    public static func makePair(
        clientLoop: any EventLoop, serverLoop: any EventLoop,
        clientLimits: ConnectionLimits = ConnectionLimits(), serverLimits: ConnectionLimits = ConnectionLimits(),
        applicationProtocol: String = "memory"
    ) -> Pair {
        let link = InMemoryLink()
        let client = InMemoryConnection(
            role: .client, eventLoop: clientLoop, limits: clientLimits, peerLimits: serverLimits,
            applicationProtocol: applicationProtocol, link: link)
        let server = InMemoryConnection(
            role: .server, eventLoop: serverLoop, limits: serverLimits, peerLimits: clientLimits,
            applicationProtocol: applicationProtocol, link: link)
        link.join(client: client, server: server)
        return Pair(client: client, server: server, link: link)
    }
}

/// What joins two ends until one of them ends.
final class InMemoryLink: Sendable {
    private struct Ends {
        var client: InMemoryConnection?
        var server: InMemoryConnection?
    }

    private let ends = Mutex(Ends())

    func join(client: InMemoryConnection, server: InMemoryConnection) {
        self.ends.withLock { $0 = Ends(client: client, server: server) }
    }

    var client: InMemoryConnection? {
        self.ends.withLock { $0.client }
    }

    func peer(of role: ConnectionRole) -> InMemoryConnection? {
        self.ends.withLock { role == .client ? $0.server : $0.client }
    }

    func forget(_ end: InMemoryConnection) {
        self.ends.withLock { if end.role == .client { $0.client = nil } else { $0.server = nil } }
    }

    /// Whether an end is gone.
    var isBroken: Bool {
        self.ends.withLock { $0.client == nil || $0.server == nil }
    }

    func cut() {
        let ends = self.ends.withLock { ends in
            defer { ends = Ends() }
            return ends
        }
        for end in [ends.client, ends.server].compactMap({ $0 }) {
            end.eventLoop.execute { end.end(TransportError(.carrierLost, message: "the link was cut")) }
        }
    }
}
