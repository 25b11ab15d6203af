// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import Logging
public import NIOCore
internal import TernQUICCore
public import TernTLS
public import TernTransport

/// How much one ``QUICListener`` takes on.
public struct QUICListenerLimits: Sendable, Hashable {
    /// Connections at once; a client's first packet is dropped beyond it.
    public var connections: Int = 100_000
    /// Handshakes at once that have not finished; a client's first packet is dropped beyond it.
    public var handshakes: Int = 4_096
    /// Connections at once from one IPv4 address, or from one IPv6 network of 64 bits.
    public var connectionsPerAddress: Int = 16_384
    /// Handshakes at once that have not finished, from one IPv4 address, or from one IPv6 network of 64 bits.
    public var handshakesPerAddress: Int = 1_024

    public init() {}
}

/// Accepts QUIC v1 connections (RFC 9000) on a UDP port.
///
/// A listener bound to `[::]` serves IPv4 too. It answers from the address that was asked. It listens until ``close()``,
/// also when nobody refers to it any more.
public final class QUICListener: CarrierListener {
    public var carrier: Carrier { .quic }
    public let localAddress: SocketAddress
    private let eventLoop: any EventLoop
    private let endpoint: NIOLoopBound<QUICServerEndpoint>

    private init(endpoint: NIOLoopBound<QUICServerEndpoint>, eventLoop: any EventLoop, localAddress: SocketAddress) {
        self.endpoint = endpoint
        self.eventLoop = eventLoop
        self.localAddress = localAddress
    }

    /// Binds a UDP socket and accepts connections on it until ``stopAccepting()``.
    ///
    /// - Parameters:
    ///   - address: where to listen; port 0 lets the kernel choose.
    ///   - tls: who we are.
    ///   - applicationProtocols: the ALPN identifiers that are served, the preferred one first.
    ///   - limits: what each connection grants its peer, and its timeouts.
    ///   - options: how QUIC behaves.
    ///   - serverOptions: how clients are taken on.
    ///   - onConnection: called on the connection's event loop when a handshake has finished; the connection holds its
    ///     events back until it is started.
    /// - Returns: the listener, or the `IOError` of the socket.
    public static func bind(
        to address: SocketAddress, tls: TLSServerConfiguration, applicationProtocols: [String],
        limits: ConnectionLimits = ConnectionLimits(), options: QUICOptions = QUICOptions(),
        serverOptions: QUICServerOptions = QUICServerOptions(), eventLoopGroup: any EventLoopGroup, logger: Logger,
        onConnection: @escaping @Sendable (any LoopConnection) -> Void
    ) -> EventLoopFuture<QUICListener> {
        Self.bind(
            to: address, tls: tls, applicationProtocols: applicationProtocols, limits: limits,
            options: options, serverOptions: serverOptions, socketOptions: UDPSocketOptions(),
            eventLoopGroup: eventLoopGroup,
            logger: logger, onConnection: onConnection)
    }

    /// The same, with a say in the socket.
    package static func bind(
        to address: SocketAddress, tls: TLSServerConfiguration, applicationProtocols: [String],
        limits: ConnectionLimits, options: QUICOptions = QUICOptions(),
        serverOptions: QUICServerOptions = QUICServerOptions(), socketOptions: UDPSocketOptions,
        eventLoopGroup: any EventLoopGroup, logger: Logger,
        onConnection: @escaping @Sendable (any LoopConnection) -> Void
    ) -> EventLoopFuture<QUICListener> {
        let eventLoop = eventLoopGroup.next()
        guard serverOptions.secret.map({ $0.count >= 32 }) ?? true else {
            return eventLoop.makeFailedFuture(
                TransportError(.misuse, message: "the secret of a QUIC server has fewer than 32 bytes"))
        }
        let context: TLSServerContext
        do {
            context = try TLSServerContext(tls)
        } catch {
            return eventLoop.makeFailedFuture(error)
        }
        let secret = serverOptions.secret.map(QUICResetSecret.init(bytes:)) ?? QUICResetSecret()
        let connectionIDs = QUICConnectionIDSource(
            length: QUICConnectionID.serverLength, prefix: Self.connectionIDPrefix(node: serverOptions.node, loop: 0),
            resetSecret: secret.derived(for: "tern stateless reset"))
        let configuration = QUICConfiguration(limits: limits, options: options, connectionIDs: connectionIDs)
        return eventLoop.flatSubmit {
            let endpoint = QUICServerEndpoint(
                eventLoop: eventLoop, core: QUICEndpointCore(connectionIDs: connectionIDs), limits: limits,
                validator: QUICAddressValidator(
                    options: serverOptions, secret: secret.derived(for: "tern address token")),
                load: QUICServerLoad(limits: serverOptions.limits), logger: logger,
                makeCore: { (initial, path, now) throws(TransportError) in
                    let session = try context.makeSession(for: .quic, applicationProtocols: applicationProtocols)
                    return try QUICConnectionCore.server(
                        configuration: configuration, tls: session, initial: initial, path: path, now: now)
                }, onConnection: onConnection)
            let bound = NIOLoopBound(endpoint, eventLoop: eventLoop)
            var options = socketOptions
            options.answersFromAddressAsked = true
            return endpoint.bind(to: address, options: options).map { localAddress in
                QUICListener(endpoint: bound, eventLoop: eventLoop, localAddress: localAddress)
            }
        }
    }

    public func stopAccepting() -> EventLoopFuture<Void> {
        self.eventLoop.submit { self.endpoint.value.stopAccepting() }
    }

    public func close() -> EventLoopFuture<Void> {
        // Always a turn of its own: a handler may close the listener from inside a connection's turn.
        self.eventLoop.flatSubmit { self.endpoint.value.close() }
    }

    /// Connections that are open, in their handshake or closing; and the connection IDs that lead to them.
    package func occupancy() -> EventLoopFuture<(connections: Int, routes: Int)> {
        self.eventLoop.submit { (self.endpoint.value.connectionCount, self.endpoint.value.routeCount) }
    }

    /// What was done beside the connections.
    package func counters() -> EventLoopFuture<QUICServerCounters> {
        self.eventLoop.submit { self.endpoint.value.counters }
    }

    /// The first bytes of every connection ID of a loop: which node of a cluster and which loop of the node owns it.
    private static func connectionIDPrefix(node: UInt16, loop: UInt8) -> [UInt8] {
        [UInt8(node >> 8), UInt8(truncatingIfNeeded: node), loop]
    }
}
