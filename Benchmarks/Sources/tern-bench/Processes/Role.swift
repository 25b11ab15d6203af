// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import NIOCore
internal import Tern

/// What this program does when it was started by itself, as one side of a workload.
enum Role: Codable {
    case bulkServer(BulkServer)
    case bulkClient(BulkClient)
    case echoServer
    case echoClient(EchoClient)
    case loopEchoServer(LoopEchoServer)
    case loopEchoClient(LoopEchoClient)
    case allocations(AllocationsRole)
    case idleServer(IdleServer)
    case idleClient(IdleClient)
    case handshakeClient(HandshakeClient)
    case loopsClient(LoopsClient)
    case datagramServer
    case datagramClient(DatagramClient)
    case messageServer(MessageServerRole)
    case messageClients(MessageClients)

    /// Whether it serves until its input ends; the others are done by themselves.
    private var isServer: Bool {
        switch self {
        case .bulkServer, .echoServer, .loopEchoServer, .idleServer, .idleClient, .datagramServer, .messageServer:
            true
        case .bulkClient, .echoClient, .loopEchoClient, .allocations, .handshakeClient, .loopsClient,
            .datagramClient, .messageClients:
            false
        }
    }

    func play() async throws {
        if !self.isServer { exitWhenInputEnds() }
        switch self {
        case .bulkServer(let role): try await role.play()
        case .bulkClient(let role): try await role.play()
        case .echoServer: try await playEchoServer()
        case .echoClient(let role): try await role.play()
        case .loopEchoServer(let role): try await role.play()
        case .loopEchoClient(let role): try await role.play()
        case .allocations(let role): try await role.play()
        case .idleServer(let role): try await role.play()
        case .idleClient(let role): try await role.play()
        case .handshakeClient(let role): try await role.play()
        case .loopsClient(let role): try await role.play()
        case .datagramServer: try await playDatagramServer()
        case .datagramClient(let role): try await role.play()
        case .messageServer(let role): try await role.play()
        case .messageClients(let role): try await role.play()
        }
    }
}

/// What a server of ours prints when clients can connect.
struct ServerAddress: Codable {
    var port: Int
    /// What clients trust.
    var certificateAuthority: String

    var endpoint: Endpoint { .loopback(port: UInt16(clamping: self.port)) }
}

/// The carrier that a client is held to.
enum BenchmarkCarrier: String, Codable {
    case quic
    case tls

    var policy: ConnectionPolicy { ConnectionPolicy(self == .quic ? .quicOnly : .tcpOnly) }
}

/// Serves connections over both carriers at a port of the kernel's choice until the standard input ends.
func serve(
    _ applicationProtocol: ApplicationProtocol, limits: ConnectionLimits = ConnectionLimits(),
    quic: QUICOptions = QUICOptions(), _ body: @escaping @Sendable (Connection) async -> Void
) async throws {
    let development = try TLSIdentity.selfSigned()
    let listener = try await Listener.bind(
        to: Endpoint(host: "127.0.0.1", port: 0), applicationProtocol: applicationProtocol,
        tls: TLSServerConfiguration(identity: development.identity), limits: limits,
        quic: quic)
    try tell(
        ServerAddress(
            port: listener.quicAddress.port ?? 0,
            certificateAuthority: String(decoding: development.certificateAuthorityPEM, as: UTF8.self)))
    await withDiscardingTaskGroup { group in
        group.addTask { await listener.run(body) }
        await untilInputEnds()
        await listener.close()
    }
}

func makeConnector(
    to server: ServerAddress, over carrier: BenchmarkCarrier, _ applicationProtocol: ApplicationProtocol,
    limits: ConnectionLimits = ConnectionLimits(), quic: QUICOptions = QUICOptions()
) throws -> Connector {
    let trust = TLSTrust.certificateAuthorities(pem: Array(server.certificateAuthority.utf8))
    return try Connector(
        applicationProtocol: applicationProtocol, tls: TLSClientConfiguration(trust: trust), policy: carrier.policy,
        limits: limits, quic: quic)
}
