// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import Logging
public import NIOCore
internal import NIOPosix
public import TernTLS
public import TernTransport

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
    ///   - listenerLimits: how many connections are taken on; what is beyond them is closed before TLS begins.
    ///   - eventLoopGroup: where connections live.
    ///   - logger: hears of what is refused, and of what breaks.
    ///   - onConnection: called on the connection's event loop when a handshake has finished; the connection holds its events
    ///     back until it is started.
    /// - Returns: the listener, or the `IOError` of the socket, or ``TernTransport/TransportError/Code/misuse`` for options that the
    ///   kernel does not know.
    public static func bind(
        to address: SocketAddress, tls: TLSServerConfiguration, applicationProtocols: [String],
        limits: ConnectionLimits = ConnectionLimits(), listenerLimits: ListenerLimits = ListenerLimits(),
        options: TCPOptions = TCPOptions(), eventLoopGroup: any EventLoopGroup, logger: Logger,
        onConnection: @escaping @Sendable (any LoopConnection) -> Void
    ) -> EventLoopFuture<QMuxListener> {
        let caps = ListenerCaps(listenerLimits, descriptors: ProcessDescriptors.now.available)
        let roster = QMuxRoster(caps: caps, logger: logger, onConnection: onConnection)
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
                channel.eventLoop.makeCompletedFuture {
                    try QMuxTransport.configure(channel, options, limits)
                    try channel.pipeline.syncOperations.addHandler(AcceptGate(logger: logger))
                }
            }
            .childChannelOption(.tcpOption(.tcp_nodelay), value: options.sendsSmallSegmentsAtOnce ? 1 : 0)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.writeBufferWaterMark, value: QMuxTransport.watermarks)
            .childChannelOption(.recvAllocator, value: QMuxTransport.receiveBuffers)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    // First of all: who is turned away has cost a socket, and nothing of TLS.
                    guard let network = TCPSocket(channel)?.peerNetwork, roster.reserve(from: network) else {
                        throw TransportError(.limitExceeded, message: "too many connections")
                    }
                    do {
                        let session = try context.makeSession(
                            for: .stream, applicationProtocols: applicationProtocols, client: network)
                        let connection = QMuxConnection(
                            role: .server, session: session, limits: limits, eventLoop: channel.eventLoop,
                            owner: roster)
                        try channel.pipeline.syncOperations.addHandler(connection)
                        roster.enter(connection, from: network)
                    } catch {
                        roster.release(network)
                        throw error
                    }
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
