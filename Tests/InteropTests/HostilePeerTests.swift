// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Testing

/// `tern serve` under attack, over both carriers. After each attack a good client is served on both carriers, and the
/// server's memory and descriptors are back within bounds. The attacks are in Peers/hostile.py and
/// Peers/hostile_carriers.py; each prints what it measured.
@Suite(.serialized, .needsPythonPeer, .timeLimit(.minutes(15)))
struct HostilePeerTests {
    @Test("A peer that breaks the message protocol", arguments: ["quic", "tls"])
    func messages(carrier: String) async throws {
        let server = try await ServedTern(.token)
        try await server.run("hostile.py", carrier: carrier)
        await server.stop()
    }

    @Test("Bytes at the ports that are no client's, and carriers that break their rules", arguments: ["quic", "tls"])
    func carriers(carrier: String) async throws {
        let server = try await ServedTern(.token)
        try await server.run("hostile_carriers.py", carrier: carrier)
        await server.stop()
    }
}
