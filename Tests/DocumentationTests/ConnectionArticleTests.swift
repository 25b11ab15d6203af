// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Tern
import TestTimeLimits
import Testing

/// The code of the articles about the handshake: 0-RTT, migration, the race, TLS.
@Suite("Connections", .untilItHangs)
struct ConnectionArticleTests {
    private let development = Result { try TLSIdentity.selfSigned() }

    @Test func earlyDataIsReplayableAndSaysSo() async throws {
        var tls = TLSServerConfiguration(identity: try self.development.get().identity)
        // snippet: early-server-configuration
        tls.earlyData = TLSEarlyData()
        // end
        try await withServer(tls, { try await self.serveQuestions($0) }) { endpoint in
            let connector = try self.connector(.quicOnly)
            for _ in 0..<2 {
                #expect(try await self.ask(connector, endpoint) == "Noon.")
            }
        }
    }

    private func ask(_ connector: Connector, _ endpoint: Endpoint) async throws -> String {
        var answer = ""
        // snippet: early-client
        let question = ReplayableStream(ByteBuffer(string: "What time is it?"))
        let (connection, streams) = try await connector.connect(to: endpoint, replayable: [question])
        for try await bytes in streams[0].inbound { answer += String(buffer: bytes) }
        await connection.close()
        // end
        return answer
    }

    private func serveQuestions(_ connection: Connection) async throws {
        // snippet: early-server
        for try await stream in connection.inboundStreams {
            var question = ""
            for try await bytes in stream.inbound { question += String(buffer: bytes) }
            if stream.isReplayable, question != "What time is it?" {
                // Not harmless to do twice: wait until it cannot be a copy.
                try await connection.handshakeCompleted()
            }
            try await stream.finish(ByteBuffer(string: "Noon."))
        }
        // end
    }

    @Test func aConnectionMoves() async throws {
        try await withServer(try self.development.get(), echo) { endpoint in
            for mode in [ConnectionPolicy.Mode.quicOnly, .tcpOnly] {
                try await self.connector(mode).withConnection(to: endpoint) { connection in
                    let stream = try await connection.openStream()
                    try await stream.write(ByteBuffer(string: "a"))
                    _ = try await stream.read()
                    try await self.move(connection)
                    try await stream.finish(ByteBuffer(string: "b"))
                    #expect(try await stream.read() == ByteBuffer(string: "b"))
                }
            }
        }
    }

    private func move(_ connection: Connection) async throws {
        // snippet: migration-move
        if connection.capabilities.canMigrate {
            let path = try await connection.probe()
            if path.validationTime < .milliseconds(100) { try await connection.migrate() }
        }
        // end
    }

    @Test func theRaceSaysWhatItDid() async throws {
        try await withServer(try self.development.get(), echo) { endpoint in
            let sentence = try await self.connectAndReport(to: endpoint, self.connector(.preferQUIC))
            #expect(sentence.contains(" after "))
        }
    }

    private func connectAndReport(to endpoint: Endpoint, _ connector: Connector) async throws -> String {
        // snippet: race-report
        let (connection, report) = try await connector.race(to: endpoint)
        if report.reason == .udpSilent { print("UDP is blocked here; connected over \(report.carrier)") }
        let sentence = report.description
        await connection.close()
        // end
        return sentence
    }

    @Test func thePolicyIsAValue() {
        // snippet: race-policy
        var policy = ConnectionPolicy(.preferQUIC)
        policy.silentTCPDelay = .milliseconds(50)  // Where UDP is often blocked.
        policy.timeout = .seconds(5)
        // end
        #expect(policy.tcpDelay == .milliseconds(250))
    }

    @Test func clientsShowWhoTheyAre() async throws {
        let server = try self.development.get()
        let device = try TLSIdentity.selfSigned(client: "device-17")
        // snippet: tls-mutual-server
        var tls = TLSServerConfiguration(identity: server.identity)
        tls.clientAuthentication = .required(.certificateAuthorities(pem: device.certificateAuthorityPEM))
        // end
        try await withServer(tls, { try await self.greet($0) }) { endpoint in
            // snippet: tls-mutual-client
            let trust = TLSTrust.certificateAuthorities(pem: server.certificateAuthorityPEM)
            var tls = TLSClientConfiguration(trust: trust)
            tls.identity = device.identity
            // end
            let connector = try Connector(applicationProtocol: ApplicationProtocol("echo"), tls: tls)
            try await connector.withConnection(to: endpoint) { connection in
                let stream = try #require(try await connection.inboundStreams.first { _ in true })
                #expect(try await stream.read() == ByteBuffer(string: "device-17"))
            }
        }
    }

    private func greet(_ connection: Connection) async throws {
        // snippet: tls-peer
        guard let leaf = connection.peerCertificates.first else { return }
        let name = try TLSCertificate(der: leaf).commonName ?? "somebody"
        // end
        try await connection.openStream(.unidirectional).finish(ByteBuffer(string: name))
        _ = await connection.closed()
    }

    @Test func aKeyIsPinned() async throws {
        let development = try self.development.get()
        try await withServer(development, echo) { endpoint in
            // snippet: tls-pin
            let pin = development.identity.subjectPublicKeyInfoSHA256
            let tls = TLSClientConfiguration(trust: .pinned(subjectPublicKeyInfoSHA256: [pin]))
            // end
            let connector = try Connector(applicationProtocol: ApplicationProtocol("echo"), tls: tls)
            try await connector.connect(to: endpoint).close()
        }
    }

    @Test func bothEndsDeriveTheSameSecret() async throws {
        let secrets = Secrets()
        let server: @Sendable (Connection) async throws -> Void = { connection in
            try await secrets.add(self.secret(of: connection))
            try await connection.openStream(.unidirectional).finish()
            _ = await connection.closed()
        }
        try await withServer(try self.development.get(), server) { endpoint in
            try await self.connector(.preferQUIC).withConnection(to: endpoint) { connection in
                try await secrets.add(self.secret(of: connection))
                // The server has its own when this comes.
                _ = try await connection.inboundStreams.first { _ in true }
            }
        }
        #expect(await secrets.all.count == 2)
        #expect(await Set(secrets.all).count == 1)
    }

    private func secret(of connection: Connection) async throws -> [UInt8] {
        // snippet: tls-exporter
        let secret = try await connection.exportKeyingMaterial(label: "EXPORTER-example-login", count: 32)
        // end
        return secret
    }

    private func connector(_ mode: ConnectionPolicy.Mode) throws -> Connector {
        let trust = TLSTrust.certificateAuthorities(pem: try self.development.get().certificateAuthorityPEM)
        return try Connector(
            applicationProtocol: ApplicationProtocol("echo"), tls: TLSClientConfiguration(trust: trust),
            policy: ConnectionPolicy(mode))
    }
}

private actor Secrets {
    private(set) var all: [[UInt8]] = []
    func add(_ secret: [UInt8]) { self.all.append(secret) }
}
