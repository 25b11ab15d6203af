// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Testing

/// A message client in Python that was written from Docs/PROTOCOL.md alone, against `tern serve`: the page says enough,
/// and the server does what it says. Its scenarios are in Peers/message_client.py.
@Suite(.serialized, .needsPythonPeer, .timeLimit(.minutes(15)))
struct MessageProtocolTests {
    @Test("A client written from the page alone", arguments: ["quic", "tls"], Admission.allCases)
    func scenarios(carrier: String, admission: Admission) async throws {
        let server = try await ServedTern(admission)
        try await server.run("message_client.py", carrier: carrier)
        await server.stop()
    }
}
