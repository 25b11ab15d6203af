// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// One carrier's way to reach one address. ``TernQUIC`` and ``TernQMux`` each have one.
public protocol CarrierConnector: Sendable {
    /// What it connects over.
    var carrier: Carrier { get }

    /// Starts to connect.
    ///
    /// - Parameters:
    ///   - address: where to.
    ///   - serverName: the name (or IP address literal) that the server's certificate must be for; also sent as SNI when it is a name.
    ///   - replayable: streams to open at once, with bytes that may leave before the handshake is done;
    ///     ``LoopConnection/replayableStreams`` names them afterwards. Those that the peer has no room for follow
    ///     when it has.
    ///   - eventLoop: where the answer comes, and the connection lives.
    func connect(
        to address: SocketAddress, serverName: String, replayable: [ReplayableStream], on eventLoop: any EventLoop
    ) -> ConnectionAttempt
}

extension CarrierConnector {
    /// Starts to connect, with nothing to send before the handshake is done.
    public func connect(
        to address: SocketAddress, serverName: String, on eventLoop: any EventLoop
    ) -> ConnectionAttempt {
        self.connect(to: address, serverName: serverName, replayable: [], on: eventLoop)
    }
}

/// A handshake in progress.
public struct ConnectionAttempt: Sendable {
    /// The connection, its handshake finished and its peer verified; or a ``TransportError``. The connection holds its events
    /// back until ``LoopConnection/start(handler:)``.
    public let established: EventLoopFuture<any LoopConnection>
    /// Succeeds when the first packet of the peer arrived; fails with the attempt. What a race looks at to tell a slow server from a blocked network.
    public let heardFromPeer: EventLoopFuture<Void>
    /// Gives up: `established` fails with ``TransportError/Code/cancelled``, or the connection is closed if it won already and
    /// nobody started it. Any thread.
    public let cancel: @Sendable () -> Void

    public init(
        established: EventLoopFuture<any LoopConnection>, heardFromPeer: EventLoopFuture<Void>,
        cancel: @escaping @Sendable () -> Void
    ) {
        self.established = established
        self.heardFromPeer = heardFromPeer
        self.cancel = cancel
    }
}

/// One carrier's listening socket.
public protocol CarrierListener: Sendable {
    var carrier: Carrier { get }
    /// Where it listens, with the port that the kernel chose.
    var localAddress: SocketAddress { get }
    /// Completes when no new connection will be accepted; the connections that exist go on.
    func stopAccepting() -> EventLoopFuture<Void>
    /// Closes the socket, and every connection that is still there.
    func close() -> EventLoopFuture<Void>
}
