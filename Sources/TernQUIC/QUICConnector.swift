// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import Logging
public import NIOCore
internal import TernQUICCore
public import TernTLS
public import TernTransport

/// Connects over QUIC v1 (RFC 9000): one UDP socket per connection.
///
/// An attempt fails with ``TernTransport/TransportError/Code/connectionRefused`` or
/// ``TernTransport/TransportError/Code/unreachable`` as soon as the network says so (ICMP), and with
/// ``TernTransport/TransportError/Code/timedOut`` after ``TernTransport/ConnectionLimits/handshakeTimeout``.
public struct QUICConnector: CarrierConnector {
    public var carrier: Carrier { .quic }
    private let tls: TLSClientContext
    private let applicationProtocols: [String]
    private let limits: ConnectionLimits
    private let options: QUICOptions
    private let logger: Logger
    /// What servers gave us; copies of the connector share it.
    let tokens = QUICTokenStore()
    package var socketOptions = UDPSocketOptions()

    /// - Parameters:
    ///   - tls: whom to trust, and who we are.
    ///   - applicationProtocols: the ALPN identifiers to offer, the preferred one first; at least one (RFC 9001,
    ///     section 8.1).
    ///   - limits: what a connection grants its peer, and its timeouts.
    ///   - options: how QUIC behaves.
    ///   - logger: hears of what breaks.
    /// - Throws: ``TernTLS/TLSError`` when the trust can't be used.
    public init(
        tls: TLSClientConfiguration, applicationProtocols: [String], limits: ConnectionLimits = ConnectionLimits(),
        options: QUICOptions = QUICOptions(), logger: Logger
    ) throws(TLSError) {
        self.tls = try TLSClientContext(tls)
        self.applicationProtocols = applicationProtocols
        self.limits = limits
        self.options = options
        self.logger = logger
    }

    public func connect(
        to address: SocketAddress, serverName: String, replayable: [ReplayableStream], on eventLoop: any EventLoop
    ) -> ConnectionAttempt {
        let established = eventLoop.makePromise(of: (any LoopConnection).self)
        let heardFromPeer = eventLoop.makePromise(of: Void.self)
        // Made off the loop, used on it alone: the submitted closures keep its order.
        nonisolated(unsafe) let endpoint = QUICClientEndpoint(
            remoteAddress: address, eventLoop: eventLoop, established: established, heardFromPeer: heardFromPeer)
        eventLoop.execute { self.start(endpoint, address: address, serverName: serverName, replayable: replayable) }
        return ConnectionAttempt(
            established: established.futureResult, heardFromPeer: heardFromPeer.futureResult,
            cancel: { eventLoop.execute { endpoint.cancel() } })
    }

    private func start(
        _ endpoint: QUICClientEndpoint, address: SocketAddress, serverName: String, replayable: [ReplayableStream]
    ) {
        let connectionIDs = QUICConnectionIDSource(
            length: QUICConnectionID.clientLength, resetSecret: QUICResetSecret())
        var configuration = QUICConfiguration(
            limits: self.limits, options: self.options, logger: self.logger, connectionIDs: connectionIDs)
        let server = QUICTokenStore.Server(address: endpoint.remoteAddress, name: serverName)
        configuration.paths.refusesPreferredAddress = !self.options.usesPreferredAddress
        configuration.addressToken = self.tokens.take(for: server)
        endpoint.onToken = { [tokens] in tokens.add($0, of: server) }
        endpoint.start(options: self.socketOptions, limits: self.limits) {
            [configuration] path throws(TransportError) in
            let session = try self.tls.makeSession(
                for: .quic, applicationProtocols: self.applicationProtocols, serverName: serverName,
                port: address.port ?? 0, hasEarlyData: !replayable.isEmpty)
            return try QUICConnectionCore.client(
                configuration: configuration, tls: session, path: path, replayable: replayable, now: .now())
        }
    }
}
