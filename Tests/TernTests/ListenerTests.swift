// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import NIOPosix
import Tern
import TestTimeLimits
import Testing

/// Both carriers on one port, over loopback.
@Suite("Listener and connector", .untilItHangs)
struct ListenerTests {
    @Test(arguments: [ConnectionPolicy.Mode.preferQUIC, .quicOnly, .tcpOnly, .race])
    func echoesOverEveryPolicy(mode: ConnectionPolicy.Mode) async throws {
        try await withEchoServer { endpoint, authority in
            let connector = try Connector(
                applicationProtocol: ApplicationProtocol("echo"), tls: TLSClientConfiguration(trust: authority),
                policy: ConnectionPolicy(mode))
            let (connection, report) = try await connector.race(to: endpoint)
            // Where both may run, a busy machine may let either win.
            if mode == .quicOnly { #expect(report.carrier == .quic) }
            if mode == .tcpOnly { #expect(report.carrier == .tls) }
            #expect(connection.applicationProtocol == (report.carrier == .quic ? "echo" : "echo-qx02"))
            #expect(try await echo("hello over \(report.carrier)", on: connection) == "hello over \(report.carrier)")
            await connection.close()
        }
    }

    @Test func bothCarriersShareThePort() async throws {
        try await withEchoServer { endpoint, _ in
            #expect(endpoint.port > 0)
            let identity = try TLSIdentity.selfSigned().identity
            let error = await #expect(throws: TransportError.self, "the port is taken") {
                _ = try await Listener.bind(
                    to: endpoint, applicationProtocol: ApplicationProtocol("echo"),
                    tls: TLSServerConfiguration(identity: identity))
            }
            #expect(error?.code == .cannotListen)
            let start = "cannot listen on 127.0.0.1:\(endpoint.port) over TCP: address already in use"
            #expect(error?.message.hasPrefix(start) == true)
        }
    }

    @Test func aServerNobodyTrustsIsRefusedOverBothCarriers() async throws {
        try await withEchoServer { endpoint, _ in
            let stranger = try TLSIdentity.selfSigned().certificateAuthorityPEM
            let connector = try Connector(
                applicationProtocol: ApplicationProtocol("echo"),
                tls: TLSClientConfiguration(trust: .certificateAuthorities(pem: stranger)))
            let error = await #expect(throws: TransportError.self) { _ = try await connector.connect(to: endpoint) }
            #expect(error?.code == .certificateRejected)
        }
    }

    @Test(arguments: [ConnectionPolicy.Mode.quicOnly, .tcpOnly])
    func oneValueCapsBothCarriers(mode: ConnectionPolicy.Mode) async throws {
        let made = try TLSIdentity.selfSigned()
        var listenerLimits = ListenerLimits()
        listenerLimits.connections = 1
        let listener = try await Listener.bind(
            to: .loopback(), applicationProtocol: ApplicationProtocol("echo"),
            tls: TLSServerConfiguration(identity: made.identity), listenerLimits: listenerLimits)
        let server = Task { await listener.run(serveEcho) }
        func connector(_ handshakeTimeout: TimeAmount) throws -> Connector {
            var limits = ConnectionLimits()
            limits.handshakeTimeout = handshakeTimeout
            return try Connector(
                applicationProtocol: ApplicationProtocol("echo"),
                tls: TLSClientConfiguration(trust: .certificateAuthorities(pem: made.certificateAuthorityPEM)),
                policy: ConnectionPolicy(mode), limits: limits)
        }
        let endpoint = try Endpoint(host: "127.0.0.1", port: #require(listener.tlsAddress.port))
        let first = try await connector(.seconds(30)).connect(to: endpoint)
        await #expect(throws: TransportError.self) {
            _ = try await connector(.milliseconds(500)).connect(to: endpoint)
        }
        #expect(try await echo("still there", on: first) == "still there")
        await first.close()
        server.cancel()
        await server.value
    }

    @Test func nobodyListening() async throws {
        let connector = try Connector(
            applicationProtocol: ApplicationProtocol("echo"), tls: TLSClientConfiguration(trust: .system))
        let error = await #expect(throws: TransportError.self) {
            _ = try await connector.connect(to: Endpoint(host: "127.0.0.1", port: 1))
        }
        #expect(error?.code == .connectionRefused)
    }

    @Test func aStoppedListenerTurnsNewcomersAwayAndServesTheRest() async throws {
        let made = try TLSIdentity.selfSigned()
        let listener = try await Listener.bind(
            to: Endpoint(host: "127.0.0.1", port: 0), applicationProtocol: ApplicationProtocol("echo"),
            tls: TLSServerConfiguration(identity: made.identity))
        let server = Task { await listener.run(serveEcho) }
        let endpoint = try Endpoint(host: "127.0.0.1", port: #require(listener.tlsAddress.port))
        var limits = ConnectionLimits()
        limits.handshakeTimeout = .milliseconds(500)
        let connector = try Connector(
            applicationProtocol: ApplicationProtocol("echo"),
            tls: TLSClientConfiguration(trust: .certificateAuthorities(pem: made.certificateAuthorityPEM)),
            limits: limits)
        let connection = try await connector.connect(to: endpoint)
        _ = try await echo("before", on: connection)
        await listener.stopAccepting()
        #expect(try await echo("after", on: connection) == "after")
        await #expect(throws: (any Error).self) { _ = try await connector.connect(to: endpoint) }
        await connection.close()
        await server.value
        await listener.close()
    }

    @Test func cancellingTheServerClosesItsConnections() async throws {
        let made = try TLSIdentity.selfSigned()
        let listener = try await Listener.bind(
            to: Endpoint(host: "::1", port: 0), applicationProtocol: ApplicationProtocol("echo"),
            tls: TLSServerConfiguration(identity: made.identity))
        let server = Task { await listener.run(serveEcho) }
        let connector = try Connector(
            applicationProtocol: ApplicationProtocol("echo"),
            tls: TLSClientConfiguration(trust: .certificateAuthorities(pem: made.certificateAuthorityPEM)))
        let connection = try await connector.connect(
            to: Endpoint(host: "::1", port: try #require(listener.quicAddress.port)))
        _ = try await echo("x", on: connection)
        server.cancel()
        await server.value
        #expect(await connection.closed().code == .application)
    }
}

func withEchoServer(_ body: (Endpoint, TLSTrust) async throws -> Void) async throws {
    let made = try TLSIdentity.selfSigned()
    let listener = try await Listener.bind(
        to: Endpoint(host: "127.0.0.1", port: 0), applicationProtocol: ApplicationProtocol("echo"),
        tls: TLSServerConfiguration(identity: made.identity))
    let server = Task { await listener.run(serveEcho) }
    let port = try #require(listener.quicAddress.port)
    #expect(listener.tlsAddress.port == port)
    try await body(
        Endpoint(host: "127.0.0.1", port: port), .certificateAuthorities(pem: made.certificateAuthorityPEM))
    server.cancel()
    await server.value
}

@Sendable private func serveEcho(_ connection: Connection) async {
    await withDiscardingTaskGroup { group in
        do {
            for try await stream in connection.inboundStreams {
                group.addTask {
                    do {
                        for try await bytes in stream.inbound { try await stream.write(bytes) }
                        try await stream.finish()
                    } catch {
                        stream.reset(code: 1)
                    }
                }
            }
        } catch {
            // The connection broke: there is nobody to tell.
        }
    }
}

func echo(_ text: String, on connection: Connection) async throws -> String {
    let stream = try await connection.openStream()
    try await stream.finish(ByteBuffer(string: text))
    var answer = ByteBuffer()
    while var bytes = try await stream.read() { answer.writeBuffer(&bytes) }
    return String(buffer: answer)
}
