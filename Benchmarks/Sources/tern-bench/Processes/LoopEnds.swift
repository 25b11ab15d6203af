// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import Tern

/// A handler of the loop-confined surface that cares only for what it overrides.
protocol QuietHandler: LoopConnectionHandler {}

extension QuietHandler {
    func streamOpened(_ stream: StreamID) {}
    func streamReceived(_ stream: StreamID, bytes: ByteBuffer, finished: Bool) {}
    func streamWasReset(_ stream: StreamID, code: UInt64) {}
    func streamWasStopped(_ stream: StreamID, code: UInt64) {}
    func streamWritable(_ stream: StreamID) {}
    func streamClosed(_ stream: StreamID) {}
    func streamsAvailable(_ direction: StreamDirection) {}
    func datagramReceived(_ bytes: ByteBuffer) {}
    func connectionEventOccurred(_ event: ConnectionEvent) {}
    func connectionClosed(_ reason: TransportError) {}
}

/// Hears nothing: for a connection that is only to be there.
final class IdleHandler: QuietHandler {}

/// A server on the loop-confined surface, for one carrier.
struct LoopServer {
    let listener: any CarrierListener
    let address: ServerAddress

    static func bind(
        _ applicationProtocol: ApplicationProtocol, over carrier: BenchmarkCarrier, loops: Int = 1,
        onConnection: @escaping @Sendable (any LoopConnection) -> Void
    ) async throws -> LoopServer {
        let development = try TLSIdentity.selfSigned()
        let tls = TLSServerConfiguration(identity: development.identity)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: loops)
        let anyPort = try SocketAddress(ipAddress: "127.0.0.1", port: 0)
        var logger = Logger(label: "bench")
        logger.logLevel = .error
        let listener: any CarrierListener
        switch carrier {
        case .quic:
            listener = try await QUICListener.bind(
                to: anyPort, tls: tls, applicationProtocols: [applicationProtocol.quic], eventLoopGroup: group,
                logger: logger, onConnection: onConnection
            ).get()
        case .tls:
            listener = try await QMuxListener.bind(
                to: anyPort, tls: tls, applicationProtocols: [applicationProtocol.tls], eventLoopGroup: group,
                logger: logger, onConnection: onConnection
            ).get()
        }
        let authority = String(decoding: development.certificateAuthorityPEM, as: UTF8.self)
        return LoopServer(
            listener: listener,
            address: ServerAddress(port: listener.localAddress.port ?? 0, certificateAuthority: authority))
    }

    /// Tells the address and serves until the standard input ends.
    func serveUntilInputEnds() async throws {
        try tell(self.address)
        await untilInputEnds()
        try await self.listener.close().get()
    }
}

/// Connects on the loop-confined surface, with a full handshake each time.
struct LoopDialer: Sendable {
    private let connector: any CarrierConnector
    private let address: SocketAddress
    let group: MultiThreadedEventLoopGroup

    init(
        to server: ServerAddress, over carrier: BenchmarkCarrier, _ applicationProtocol: ApplicationProtocol,
        loops: Int = 1
    ) throws {
        var tls = TLSClientConfiguration(
            trust: TLSTrust.certificateAuthorities(pem: Array(server.certificateAuthority.utf8)))
        tls.sessionCache = nil
        var logger = Logger(label: "bench")
        logger.logLevel = .error
        self.address = try SocketAddress(ipAddress: "127.0.0.1", port: server.port)
        self.group = MultiThreadedEventLoopGroup(numberOfThreads: loops)
        switch carrier {
        case .quic:
            self.connector = try QUICConnector(
                tls: tls, applicationProtocols: [applicationProtocol.quic], logger: logger)
        case .tls:
            self.connector = try QMuxConnector(
                tls: tls, applicationProtocols: [applicationProtocol.tls], logger: logger)
        }
    }

    func connect() async throws -> any LoopConnection {
        try await self.connector.connect(to: self.address, serverName: "127.0.0.1", on: self.group.next())
            .established.get()
    }
}
