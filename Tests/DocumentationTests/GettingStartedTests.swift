// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Tern
import TestTimeLimits
import Testing

/// The code of the article "Getting started".
@Suite("Getting started", .untilItHangs)
struct GettingStartedTests {
    @Test func whatTheArticleShows() async throws {
        let development = try TLSIdentity.selfSigned()
        try await withServer(development, echo) { endpoint in
            let answers = try await self.sayHello(to: endpoint, trusting: development)
            #expect(answers.joined() == "Hello from over there!")
        }
    }

    @Test func theServerServesUntilItIsCancelled() async throws {
        let server = Task { try await self.serve(port: 0) }
        server.cancel()
        try await server.value
    }

    private func serve(port: Int) async throws {
        // snippet: start-server
        let development = try TLSIdentity.selfSigned(for: ["localhost", "127.0.0.1"])
        let listener = try await Listener.bind(
            to: Endpoint(host: "127.0.0.1", port: port), applicationProtocol: ApplicationProtocol("echo"),
            tls: TLSServerConfiguration(identity: development.identity))
        await listener.run { connection in
            try? await echo(connection)
        }
        // end
        await listener.close()
    }

    private func sayHello(to endpoint: Endpoint, trusting development: SelfSignedIdentity) async throws -> [String] {
        var answers: [String] = []
        // snippet: start-client
        let trust = TLSTrust.certificateAuthorities(pem: development.certificateAuthorityPEM)
        let connector = try Connector(
            applicationProtocol: ApplicationProtocol("echo"), tls: TLSClientConfiguration(trust: trust))
        try await connector.withConnection(to: endpoint) { connection in
            let stream = try await connection.openStream()
            try await stream.finish(ByteBuffer(string: "Hello from over there!"))
            while let bytes = try await stream.read() { answers.append(String(buffer: bytes)) }
        }
        // end
        return answers
    }
}

// snippet: start-echo
/// Sends every stream of the peer back to it, each in a task of its own.
func echo(_ connection: Connection) async throws {
    try await withThrowingDiscardingTaskGroup { group in
        for try await stream in connection.inboundStreams {
            group.addTask {
                while let bytes = try await stream.read() { try await stream.write(bytes) }
                try await stream.finish()
            }
        }
    }
}
// end
