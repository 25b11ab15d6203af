// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import Logging
public import NIOCore
internal import TernQUICCore
public import TernTLS
public import TernTransport

/// Accepts QUIC v1 connections (RFC 9000) on a UDP port.
///
/// A listener bound to `[::]` serves IPv4 too. It answers from the address that was asked. It listens until ``close()``,
/// also when nobody refers to it any more.
///
/// It has a socket on each event loop of its group (``QUICServerOptions/loops``); a connection stays on the loop that
/// took its first packet, also when the client's address changes.
public final class QUICListener: CarrierListener {
    public var carrier: Carrier { .quic }
    public let localAddress: SocketAddress
    private let endpoints: [BoundEndpoint]

    private init(endpoints: [BoundEndpoint], localAddress: SocketAddress) {
        self.endpoints = endpoints
        self.localAddress = localAddress
    }

    /// Binds UDP sockets and accepts connections on them until ``stopAccepting()``.
    ///
    /// - Parameters:
    ///   - address: where to listen; port 0 lets the kernel choose.
    ///   - tls: who we are.
    ///   - applicationProtocols: the ALPN identifiers that are served, the preferred one first.
    ///   - limits: what each connection grants its peer, and its timeouts.
    ///   - options: how QUIC behaves.
    ///   - serverOptions: how clients are taken on.
    ///   - eventLoopGroup: where connections live.
    ///   - logger: hears of what is refused, and of what breaks.
    ///   - onConnection: called on the connection's event loop when a handshake has finished; the connection holds its
    ///     events back until it is started.
    /// - Returns: the listener, or ``TernTransport/TransportError/Code/cannotListen`` with the `IOError` of the socket as its
    ///   cause, or ``TernTLS/TLSError``.
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
        do {
            guard serverOptions.secret.map({ $0.count >= 32 }) ?? true else {
                throw TransportError(.misuse, message: "the secret of a QUIC server has fewer than 32 bytes")
            }
            let plan = QUICListenerPlan(
                context: try TLSServerContext(tls), applicationProtocols: applicationProtocols, limits: limits,
                options: options, serverOptions: serverOptions, eventLoops: eventLoopGroup.loops(serverOptions.loops),
                logger: logger, onConnection: onConnection)
            return Self.bind(plan, to: address, options: socketOptions).flatMapErrorThrowing { error in
                throw TransportError.cannotListen(on: address, over: "UDP", cause: error)
            }
        } catch {
            return eventLoopGroup.next().makeFailedFuture(error)
        }
    }

    /// The first socket must have the port for itself before the others share it.
    private static func bind(
        _ plan: QUICListenerPlan, to address: SocketAddress, options: UDPSocketOptions
    ) -> EventLoopFuture<QUICListener> {
        var options = options
        options.answersFromAddressAsked = true
        options.sharesPortOnceBound = plan.loops.count > 1
        let first = plan.bind(loop: 0, to: address, options: options)
        guard plan.loops.count > 1 else {
            return first.map { QUICListener(endpoints: [$0], localAddress: $0.localAddress) }
        }
        options.sharesPortOnceBound = false
        options.sharesPort = true
        return first.flatMap { [options] first in
            let eventLoop = first.eventLoop
            let others = plan.eventLoops.indices.dropFirst().map {
                plan.bind(loop: $0, to: first.localAddress, options: options)
            }
            return EventLoopFuture.whenAllComplete(others, on: eventLoop).flatMap { results in
                var bound = [first]
                var failure: (any Error)?
                for result in results {
                    switch result {
                    case .success(let endpoint): bound.append(endpoint)
                    case .failure(let error): failure = error
                    }
                }
                let listener = QUICListener(endpoints: bound, localAddress: first.localAddress)
                guard let failure else { return eventLoop.makeSucceededFuture(listener) }
                return listener.close().flatMapThrowing { throw failure }
            }
        }
    }

    public func stopAccepting() -> EventLoopFuture<Void> {
        self.onEachEndpoint { endpoint in
            endpoint.eventLoop.submit { endpoint.endpoint.value.stopAccepting() }
        }
    }

    public func close() -> EventLoopFuture<Void> {
        // Always a turn of its own: a handler may close the listener from inside a connection's turn.
        self.onEachEndpoint { endpoint in
            endpoint.eventLoop.flatSubmit { endpoint.endpoint.value.close() }
        }
    }

    /// Connections that are open, in their handshake or closing; and the connection IDs that lead to them.
    package func occupancy() -> EventLoopFuture<(connections: Int, routes: Int)> {
        self.fold((connections: 0, routes: 0), { ($0.connectionCount, $0.routeCount) }) {
            ($0.connections + $1.connections, $0.routes + $1.routes)
        }
    }

    /// What was done beside the connections.
    package func counters() -> EventLoopFuture<QUICServerCounters> {
        self.fold(QUICServerCounters(), { $0.counters }, +)
    }

    /// Sockets, each on an event loop of its own.
    package var loopCount: Int { self.endpoints.count }

    private func onEachEndpoint(
        _ body: (BoundEndpoint) -> EventLoopFuture<Void>
    ) -> EventLoopFuture<Void> {
        EventLoopFuture.andAllComplete(self.endpoints.map(body), on: self.endpoints[0].eventLoop)
    }

    private func fold<Value: Sendable>(
        _ initial: Value, _ value: @escaping @Sendable (QUICServerEndpoint) -> Value,
        _ combine: @escaping @Sendable (Value, Value) -> Value
    ) -> EventLoopFuture<Value> {
        let values = self.endpoints.map { endpoint in
            endpoint.eventLoop.submit { value(endpoint.endpoint.value) }
        }
        return EventLoopFuture.whenAllSucceed(values, on: self.endpoints[0].eventLoop).map { values in
            values.reduce(initial, combine)
        }
    }
}

/// One socket of a listener.
private struct BoundEndpoint: Sendable {
    let endpoint: NIOLoopBound<QUICServerEndpoint>
    let eventLoop: any EventLoop
    let localAddress: SocketAddress
}

/// What every socket of a listener is made from.
private struct QUICListenerPlan: Sendable {
    let context: TLSServerContext
    let applicationProtocols: [String]
    let limits: ConnectionLimits
    let options: QUICOptions
    let eventLoops: [any EventLoop]
    let loops: QUICServerLoops
    let load: QUICServerLoad
    let validator: QUICAddressValidator
    let resetSecret: QUICResetSecret
    let windows: WindowBudget
    let preferredAddresses: [SocketAddress]
    let logger: Logger
    let onConnection: @Sendable (any LoopConnection) -> Void

    init(
        context: TLSServerContext, applicationProtocols: [String], limits: ConnectionLimits, options: QUICOptions,
        serverOptions: QUICServerOptions, eventLoops: [any EventLoop], logger: Logger,
        onConnection: @escaping @Sendable (any LoopConnection) -> Void
    ) {
        let secret = serverOptions.secret.map(QUICResetSecret.init(bytes:)) ?? QUICResetSecret()
        self.context = context
        self.applicationProtocols = applicationProtocols
        self.limits = limits
        self.options = options
        self.eventLoops = eventLoops
        self.loops = QUICServerLoops(node: serverOptions.node, eventLoops: eventLoops)
        self.load = QUICServerLoad(
            limits: serverOptions.limits, handshakesBeforeRetry: serverOptions.handshakesBeforeRetry)
        self.validator = QUICAddressValidator(
            options: serverOptions, secret: secret.derived(for: "tern address token"))
        self.windows = WindowBudget(bytes: serverOptions.windowMemory)
        self.preferredAddresses = [serverOptions.preferredIPv4Address, serverOptions.preferredIPv6Address].compactMap(
            \.self)
        self.resetSecret = secret.derived(for: "tern stateless reset")
        self.logger = logger
        self.onConnection = onConnection
    }

    func bind(loop: Int, to address: SocketAddress, options: UDPSocketOptions) -> EventLoopFuture<BoundEndpoint> {
        let eventLoop = self.eventLoops[loop]
        return eventLoop.flatSubmit {
            let endpoint = self.makeEndpoint(loop: UInt8(loop))
            let bound = NIOLoopBound(endpoint, eventLoop: eventLoop)
            return endpoint.bind(to: address, options: options).map {
                BoundEndpoint(endpoint: bound, eventLoop: eventLoop, localAddress: $0)
            }
        }
    }

    private func makeEndpoint(loop: UInt8) -> QUICServerEndpoint {
        let connectionIDs = QUICConnectionIDSource(
            length: QUICConnectionID.serverLength, prefix: self.loops.connectionIDPrefix(of: loop),
            resetSecret: self.resetSecret)
        var configuration = QUICConfiguration(
            limits: self.limits, options: self.options, logger: self.logger, connectionIDs: connectionIDs)
        configuration.windowBudget = self.windows
        return QUICServerEndpoint(
            eventLoop: self.eventLoops[Int(loop)], loop: loop, loops: self.loops,
            core: QUICEndpointCore(connectionIDs: connectionIDs), limits: self.limits, validator: self.validator,
            load: self.load, logger: self.logger,
            makeCore: { (initial, path, now) throws(TransportError) in
                var configuration = configuration
                configuration.paths.prefer(self.preferredAddresses, port: path.local.port)
                let session = try self.context.makeSession(
                    for: .quic, applicationProtocols: self.applicationProtocols, client: ClientNetwork(path.remote))
                return try QUICConnectionCore.server(
                    configuration: configuration, tls: session, initial: initial, path: path,
                    now: now)
            }, onConnection: self.onConnection)
    }
}

extension EventLoopGroup {
    /// The event loops for a listener's sockets.
    ///
    /// - Parameter count: how many; `nil` for all that there are.
    fileprivate func loops(_ count: Int?) -> [any EventLoop] {
        #if os(Linux)
        let wanted = min(max(count ?? Int.max, 1), 64)
        #else
        // Elsewhere the kernel gives all datagrams of a shared port to one of its sockets.
        let wanted = 1
        #endif
        // Where one is enough, listeners take turns.
        guard wanted > 1 else { return [self.next()] }
        let loops = Array(self.makeIterator().prefix(wanted))
        return loops.isEmpty ? [self.next()] : loops
    }
}
