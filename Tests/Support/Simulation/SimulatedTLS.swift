// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Synchronization
package import TernQUICCore
package import TernTLS
internal import TernTesting
package import TernTransport

/// TLS for simulated ends. Its keys and random numbers are GnuTLS's own: they differ from run to run, so the bytes of
/// packets do too, and the size of a handshake's signature by a byte or two.
package enum SimulatedTLS {
    fileprivate static let identity = Result { try TLSIdentity.selfSigned(for: ["localhost"]) }

    package static func client() throws -> TLSSession {
        let pem = try self.identity.get().certificateAuthorityPEM
        return try TLSClientContext(TLSClientConfiguration(trust: .certificateAuthorities(pem: pem)))
            .makeSession(for: .quic, applicationProtocols: ["test/1"], serverName: "localhost")
    }

    package static func server() throws -> TLSSession {
        try TLSServerContext(TLSServerConfiguration(identity: self.identity.get().identity))
            .makeSession(for: .quic, applicationProtocols: ["test/1"])
    }
}

/// A server and a client that remember each other between connections.
package final class SimulatedMemory {
    package let cache = TLSSessionCache()
    private let client: TLSClientContext
    private let server: TLSServerContext

    package init() throws {
        let identity = try SimulatedTLS.identity.get()
        var client = TLSClientConfiguration(trust: .certificateAuthorities(pem: identity.certificateAuthorityPEM))
        client.sessionCache = self.cache
        self.client = try TLSClientContext(client)
        var server = TLSServerConfiguration(identity: identity.identity)
        server.tickets = TLSTickets(secret: (0..<64).map { $0 })
        server.earlyData = TLSEarlyData()
        self.server = try TLSServerContext(server)
    }

    package func pair(seed: UInt64, replayable: [ReplayableStream]) throws -> SimulatedQUICPair {
        let server = self.server
        return try SimulatedQUICPair(
            seed: seed,
            clientTLS: try self.client.makeSession(
                for: .quic, applicationProtocols: ["test/1"], serverName: "localhost", port: 4433,
                hasEarlyData: !replayable.isEmpty),
            makeServerTLS: { try server.makeSession(for: .quic, applicationProtocols: ["test/1"]) },
            replayable: replayable)
    }
}

extension QUICRandomness {
    /// The same bytes for the same seed.
    package static func seeded(_ seed: UInt64) -> QUICRandomness {
        let source = SeededSource(seed: seed)
        return QUICRandomness { buffer in
            for index in buffer.indices { buffer[index] = source.nextByte() }
        }
    }
}

private final class SeededSource: Sendable {
    private let random: Mutex<SeededRandom>

    init(seed: UInt64) {
        self.random = Mutex(SeededRandom(seed: seed))
    }

    func nextByte() -> UInt8 {
        self.random.withLock { UInt8(truncatingIfNeeded: $0.next()) }
    }
}
