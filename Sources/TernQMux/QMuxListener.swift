// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import Logging
public import NIOCore
internal import NIOPosix
internal import Synchronization
public import TernTLS
public import TernTransport

/// How much one ``QMuxListener`` takes on.
public struct QMuxListenerLimits: Sendable, Hashable {
    /// Connections at once; TCP connections beyond it are closed at once.
    public var connections: Int = 100_000
    /// Handshakes at once that have not finished; TCP connections beyond it are closed at once.
    public var handshakes: Int = 4_096

    public init() {}
}

/// Accepts QMux connections (draft-ietf-quic-qmux-02) on TLS 1.3 on a TCP port.
public final class QMuxListener: CarrierListener {
    public var carrier: Carrier { .tls }
    public let localAddress: SocketAddress
    private let channel: any Channel
    private let roster: QMuxRoster

    private init(channel: any Channel, localAddress: SocketAddress, roster: QMuxRoster) {
        self.channel = channel
        self.localAddress = localAddress
        self.roster = roster
    }

    /// Binds a TCP socket and accepts connections on it until ``stopAccepting()``.
    ///
    /// - Parameters:
    ///   - address: where to listen; port 0 lets the kernel choose.
    ///   - tls: who we are.
    ///   - applicationProtocols: the ALPN identifiers that are served, the preferred one first.
    ///   - limits: what each connection grants its peer, and its timeouts.
    ///   - options: how TCP behaves.
    ///   - listenerLimits: how many connections are taken on.
    ///   - eventLoopGroup: where connections live.
    ///   - logger: hears of what is refused, and of what breaks.
    ///   - onConnection: called on the connection's event loop when a handshake has finished; the connection holds its events
    ///     back until it is started.
    /// - Returns: the listener, or the `IOError` of the socket, or ``TernTransport/TransportError/Code/misuse`` for options that the
    ///   kernel does not know.
    public static func bind(
        to address: SocketAddress, tls: TLSServerConfiguration, applicationProtocols: [String],
        limits: ConnectionLimits = ConnectionLimits(), listenerLimits: QMuxListenerLimits = QMuxListenerLimits(),
        options: TCPOptions = TCPOptions(), eventLoopGroup: any EventLoopGroup, logger: Logger,
        onConnection: @escaping @Sendable (any LoopConnection) -> Void
    ) -> EventLoopFuture<QMuxListener> {
        let roster = QMuxRoster(limits: listenerLimits, logger: logger, onConnection: onConnection)
        let context: TLSServerContext
        do {
            context = try TLSServerContext(tls)
        } catch {
            return eventLoopGroup.next().makeFailedFuture(error)
        }
        return ServerBootstrap(group: eventLoopGroup)
            .serverChannelOption(.backlog, value: 1024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try QMuxTransport.configure(channel, options, limits) }
            }
            .childChannelOption(.tcpOption(.tcp_nodelay), value: options.sendsSmallSegmentsAtOnce ? 1 : 0)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.writeBufferWaterMark, value: QMuxTransport.watermarks)
            .childChannelOption(.recvAllocator, value: QMuxTransport.receiveBuffers)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let session = try context.makeSession(for: .stream, applicationProtocols: applicationProtocols)
                    let connection = QMuxConnection(
                        role: .server, session: session, limits: limits, eventLoop: channel.eventLoop, owner: roster)
                    guard roster.admit(connection) else {
                        throw TransportError(.limitExceeded, message: "too many connections")
                    }
                    try channel.pipeline.syncOperations.addHandler(connection)
                }
            }
            .bind(to: address)
            .flatMapThrowing { channel in
                guard let localAddress = channel.localAddress else {
                    throw TransportError(.unreachable, message: "the socket has no address")
                }
                return QMuxListener(channel: channel, localAddress: localAddress, roster: roster)
            }
    }

    public func stopAccepting() -> EventLoopFuture<Void> {
        self.channel.close(mode: .all).flatMapErrorThrowing { error in
            guard case .some(.alreadyClosed) = error as? ChannelError else { throw error }
        }
    }

    public func close() -> EventLoopFuture<Void> {
        let eventLoop = self.channel.eventLoop
        return self.stopAccepting().flatMap {
            let gone = eventLoop.makePromise(of: Void.self)
            self.roster.closeAll(then: gone)
            return gone.futureResult
        }
    }

    /// Connections that are open, in their handshake or closing.
    package var connectionCount: Int { self.roster.count }
}

/// The connections of a listener, on all event loops.
private final class QMuxRoster: QMuxConnectionOwner {
    private struct State {
        var connections: [ObjectIdentifier: QMuxConnection] = [:]
        var handshakes: Set<ObjectIdentifier> = []
        var isClosing = false
        var waiters: [EventLoopPromise<Void>] = []
    }

    private let limits: QMuxListenerLimits
    private let logger: Logger
    private let onConnection: @Sendable (any LoopConnection) -> Void
    private let state = Mutex(State())

    init(
        limits: QMuxListenerLimits, logger: Logger, onConnection: @escaping @Sendable (any LoopConnection) -> Void
    ) {
        self.limits = limits
        self.logger = logger
        self.onConnection = onConnection
    }

    var count: Int { self.state.withLock { $0.connections.count } }

    func admit(_ connection: QMuxConnection) -> Bool {
        self.state.withLock { state in
            guard !state.isClosing, state.connections.count < self.limits.connections,
                state.handshakes.count < self.limits.handshakes
            else { return false }
            state.connections[ObjectIdentifier(connection)] = connection
            state.handshakes.insert(ObjectIdentifier(connection))
            return true
        }
    }

    func closeAll(then promise: EventLoopPromise<Void>) {
        let connections = self.state.withLock { state -> [QMuxConnection]? in
            state.isClosing = true
            guard !state.connections.isEmpty else { return nil }
            state.waiters.append(promise)
            return Array(state.connections.values)
        }
        guard let connections else { return promise.succeed() }
        for connection in connections {
            connection.eventLoop.execute { connection.close(code: 0, reason: "the listener was closed") }
        }
    }

    func connectionReady(_ connection: QMuxConnection) {
        self.onConnection(connection)
    }

    func connectionFinishedHandshake(_ connection: QMuxConnection) {
        _ = self.state.withLock { $0.handshakes.remove(ObjectIdentifier(connection)) }
    }

    func connectionEnded(_ connection: QMuxConnection, reason: TransportError) {
        let wasHandshaking = self.state.withLock { $0.handshakes.remove(ObjectIdentifier(connection)) != nil }
        guard wasHandshaking else { return }
        self.logger.debug("a handshake over TLS failed", metadata: ["reason": "\(reason)"])
    }

    func connectionFinished(_ connection: QMuxConnection) {
        let waiters = self.state.withLock { state -> [EventLoopPromise<Void>] in
            state.connections[ObjectIdentifier(connection)] = nil
            state.handshakes.remove(ObjectIdentifier(connection))
            guard state.connections.isEmpty else { return [] }
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.succeed() }
    }
}
