// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import Logging
public import NIOCore
public import NIOPosix
public import TernQMux
public import TernQUIC
public import TernTLS
public import TernTransport

/// Accepts connections over every carrier on one port, for servers that stay on the event loops: what ``Listener`` does, without
/// a task and without a hop.
///
/// ```swift
/// let listener = try await LoopListener.bind(
///     to: .everywhere(port: 4433), applicationProtocol: ApplicationProtocol("echo"), tls: tls
/// ) { connection in
///     connection.start(handler: EchoHandler(connection))
/// }
/// ```
public final class LoopListener: Sendable {
    /// Where QUIC listens.
    public let quicAddress: SocketAddress
    /// Where TLS over TCP listens; the same port.
    public let tlsAddress: SocketAddress

    private let carriers: [any CarrierListener]

    init(carriers: (quic: any CarrierListener, tls: any CarrierListener)) {
        self.carriers = [carriers.quic, carriers.tls]
        self.quicAddress = carriers.quic.localAddress
        self.tlsAddress = carriers.tls.localAddress
    }

    /// Binds UDP and TCP to one port.
    ///
    /// - Parameters:
    ///   - endpoint: an IP address (`::` serves IPv4 too) or a name of this machine; port 0 lets the kernel choose one that is
    ///     free for both.
    ///   - applicationProtocol: the ALPN identifiers to accept.
    ///   - tls: the server's certificate and key.
    ///   - limits: what a peer may make us keep in memory, and timeouts.
    ///   - listenerLimits: how many connections and handshakes are taken on over each carrier, in all and from one address.
    ///   - quicOptions: how QUIC behaves.
    ///   - quicServerOptions: how QUIC clients are taken on.
    ///   - tcpOptions: how TCP behaves.
    ///   - eventLoopGroup: where connections live; NIO's shared group by default.
    ///   - logger: hears of what the listener refuses.
    ///   - onConnection: takes each new connection, on the connection's event loop. It must start it, now or later, or close it:
    ///     a connection that nobody starts keeps what its peer sends, within the limits. With 0-RTT it may come before its
    ///     handshake is complete (``TernTransport/LoopConnection/isHandshakeComplete``).
    /// - Throws: ``TernTransport/TransportError``: ``TernTransport/TransportError/Code/cannotListen``, which names the address, the
    ///   transport and the reason, such as a port that is in use; ``TernTransport/TransportError/Code/misuse`` for options, an
    ///   identity, a trust or ALPN identifiers that can't be used.
    public static func bind(
        to endpoint: Endpoint, applicationProtocol: ApplicationProtocol, tls: TLSServerConfiguration,
        limits: ConnectionLimits = ConnectionLimits(), listenerLimits: ListenerLimits = ListenerLimits(),
        quic quicOptions: QUICOptions = QUICOptions(),
        quicServer quicServerOptions: QUICServerOptions = QUICServerOptions(),
        tcp tcpOptions: TCPOptions = TCPOptions(),
        eventLoopGroup: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton,
        logger: Logger = Logger(label: "tern.listener"),
        onConnection: @escaping @Sendable (any LoopConnection) -> Void
    ) async throws -> LoopListener {
        let binder = ListenerBinder(
            applicationProtocol: applicationProtocol, tls: tls, limits: limits, listenerLimits: listenerLimits,
            quicOptions: quicOptions,
            quicServerOptions: quicServerOptions, tcpOptions: tcpOptions, eventLoopGroup: eventLoopGroup,
            logger: logger,
            onConnection: onConnection)
        return LoopListener(carriers: try await binder.bindBoth(to: endpoint))
    }

    /// No new connection is accepted; those that exist go on.
    public func stopAccepting() async {
        for carrier in self.carriers { try? await carrier.stopAccepting().get() }
    }

    /// Closes the sockets and every connection.
    public func close() async {
        for carrier in self.carriers { try? await carrier.close().get() }
    }
}
