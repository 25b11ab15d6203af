// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import CoreMetrics
public import Logging
public import NIOCore
public import NIOPosix
public import TernQMux
public import TernQUIC
public import TernTLS
public import TernTransport

/// Accepts connections over every carrier on one port: QUIC on UDP, QMux over TLS on TCP.
///
/// ```swift
/// let listener = try await Listener.bind(
///     to: .everywhere(port: 4433), applicationProtocol: ApplicationProtocol("echo"), tls: .init(identity: identity))
/// await listener.run { connection in
///     // Lives in its own task; when the closure returns the connection is closed, once everything has arrived.
/// }
/// ```
public final class Listener: Sendable {
    /// Where QUIC listens.
    public let quicAddress: SocketAddress
    /// Where TLS over TCP listens; the same port.
    public let tlsAddress: SocketAddress

    private let carriers: [any CarrierListener]
    private let accepted: Inlet<Connection>
    private let logger: Logger

    private init(
        carriers: (quic: any CarrierListener, tls: any CarrierListener), accepted: Inlet<Connection>, logger: Logger
    ) {
        self.logger = logger
        self.carriers = [carriers.quic, carriers.tls]
        self.quicAddress = carriers.quic.localAddress
        self.tlsAddress = carriers.tls.localAddress
        self.accepted = accepted
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
    ///   - logger: hears of connections at debug level, and of what an operator must act on at warning level.
    ///   - metricsFactory: who collects metrics; what was bootstrapped in the metrics system by default.
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
        logger: Logger = Logger(label: "tern.listener"), metricsFactory: any MetricsFactory = MetricsSystem.factory
    ) async throws -> Listener {
        let accepted = Inlet<Connection>()
        let observation = TransportObservation(logger: logger, metrics: TransportMetrics(factory: metricsFactory))
        let binder = ListenerBinder(
            applicationProtocol: applicationProtocol, tls: tls, limits: limits, listenerLimits: listenerLimits,
            quicOptions: quicOptions,
            quicServerOptions: quicServerOptions, tcpOptions: tcpOptions, eventLoopGroup: eventLoopGroup, logger: logger
        ) { loopConnection in
            // Here, on its loop, it is started without a hop.
            let connection = Connection(adopting: loopConnection, replayable: [], observer: observation.recorder())
            // Nobody serves it any more: turn it away instead of leaving it to hang.
            if !accepted.push(connection) { loopConnection.close(code: 0, reason: "the server is shutting down") }
        }
        let carriers = try await binder.bindBoth(to: endpoint)
        return Listener(carriers: carriers, accepted: accepted, logger: logger)
    }

    /// Serves every connection in a task of its own until ``stopAccepting()`` or ``close()`` is called and the last body
    /// returned, or the task is cancelled, which closes everything at once.
    ///
    /// Where 0-RTT is accepted a connection may come before its handshake is complete: see
    /// ``TernTransport/Connection/handshakeCompleted()``. A body that must report an error to the peer closes its connection itself.
    ///
    /// - Parameters:
    ///   - grace: when a body has returned its connection is closed with code 0 once everything that was written has arrived, at the
    ///     latest after this time; then the log says so at debug level. A body that must know closes with
    ///     ``TernTransport/Connection/closeGracefully(within:)`` itself.
    ///   - body: serves one connection.
    public func run(
        grace: TimeAmount = Connection.defaultGrace, _ body: @escaping @Sendable (Connection) async -> Void
    ) async {
        await withTaskCancellationHandler {
            await withDiscardingTaskGroup { group in
                while let connection = try? await self.accepted.next() {
                    group.addTask {
                        await body(connection)
                        await self.end(connection, within: grace)
                    }
                }
                if Task.isCancelled { group.cancelAll() }
            }
        } onCancel: {
            self.accepted.end()
            for carrier in self.carriers { _ = carrier.close() }
        }
    }

    private func end(_ connection: Connection, within grace: TimeAmount) async {
        do {
            try await connection.closeGracefully(within: grace)
        } catch let error as TransportError {
            self.logger.debug(
                "not everything that was written to a connection arrived",
                metadata: ["carrier": "\(connection.carrier)", "reason": "\(error)"])
        } catch {
            // The listener was cancelled, which closes everything at once.
        }
    }

    /// No new connection is accepted; those that exist go on.
    public func stopAccepting() async {
        for carrier in self.carriers { try? await carrier.stopAccepting().get() }
        self.accepted.end()
    }

    /// Closes the sockets and every connection.
    public func close() async {
        self.accepted.end()
        for carrier in self.carriers { try? await carrier.close().get() }
    }
}
