// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Synchronization
package import TernQUICCore
package import TernTLS
internal import TernTesting
internal import TernTransport

/// TLS for simulated ends. Its keys and random numbers are GnuTLS's own: they differ from run to run, so the bytes of
/// packets do too, and the size of a handshake's signature by a byte or two.
package enum SimulatedTLS {
    private static let identity = Result { try TLSIdentity.selfSigned(for: ["localhost"]) }

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
