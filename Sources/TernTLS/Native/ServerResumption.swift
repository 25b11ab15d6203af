// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CGnuTLS
internal import NIOCore
internal import Synchronization

/// Owns what a server's sessions share to make and take tickets.
///
/// But for a key behind a mutex, written only while it is made, then read by any number of sessions on any thread; so is the object
/// against replays, and the memory behind it is thread-safe: hence `Sendable`.
final class ServerResumption: @unchecked Sendable {
    private let key: UnsafeMutableBufferPointer<UInt8>
    private let lifetime: UInt32
    /// `nil` where 0-RTT is refused.
    private let antiReplay: AntiReplay?
    /// The key of the sessions made last: a listener's are all alike.
    private let latestKey = Mutex<DerivedKey?>(nil)

    private struct DerivedKey {
        let flavour: TLSFlavour
        let applicationProtocols: [String]
        var bytes: [UInt8]
    }

    /// GnuTLS's TICKET_MASTER_KEY_SIZE.
    private static let keySize = 64

    init(_ tickets: TLSTickets, earlyData: TLSEarlyData?) throws(TLSError) {
        if let secret = tickets.secret, secret.count != Self.keySize {
            throw TLSError(.malformed, message: "a ticket secret has \(Self.keySize) bytes, not \(secret.count)")
        }
        self.key = .allocate(capacity: Self.keySize)
        if let secret = tickets.secret {
            _ = self.key.initialize(from: secret)
        } else {
            self.key.initialize(repeating: 0)
            guard gnutls_rnd(GNUTLS_RND_KEY, self.key.baseAddress, Self.keySize) == 0 else {
                throw TLSError(.generationFailed, message: "no randomness from the system")
            }
        }
        // RFC 8446, section 4.6.1: servers MUST NOT use a longer lifetime.
        let seconds = min(max(tickets.lifetime.nanoseconds / 1_000_000_000, 1), 604_800)
        self.lifetime = UInt32(seconds)
        self.antiReplay = try earlyData.map { earlyData throws(TLSError) in
            try AntiReplay(earlyData.memory, ticketLifetime: Int(seconds))
        }
    }

    deinit {
        gnutls_memset(self.key.baseAddress, 0, Self.keySize)
        self.key.deallocate()
        self.latestKey.withLock { latest in
            guard var derived = latest.take() else { return }
            gnutls_memset(&derived.bytes, 0, derived.bytes.count)
        }
    }

    var takesEarlyData: Bool { self.antiReplay != nil }

    func enable(on session: OpaquePointer, _ flavour: TLSFlavour, applicationProtocols: [String]) -> Int32 {
        gnutls_db_set_cache_expiration(session, Int32(self.lifetime))
        let status = self.withKey(flavour, applicationProtocols) { key in
            var datum = gnutls_datum_t(data: key.baseAddress, size: UInt32(key.count))
            return gnutls_session_ticket_enable_server(session, &datum)
        }
        guard status == 0, let antiReplay else { return status }
        gnutls_anti_replay_enable(session, antiReplay.handle)
        // RFC 9001, section 4.6.1: over QUIC the number says only that 0-RTT is taken; flow control bounds the bytes.
        let size = flavour == .quic ? Int(UInt32.max) : Self.earlyBytes
        return gnutls_record_set_max_early_data_size(session, size)
    }

    /// GnuTLS looks at no protocol when it takes early data, and RFC 8446, section 4.2.10, wants it to be that of the ticket: a
    /// server of other protocols, or of the other carrier, has another key, though it may have the same secret.
    private func withKey(
        _ flavour: TLSFlavour, _ applicationProtocols: [String], _ body: (UnsafeMutableBufferPointer<UInt8>) -> Int32
    ) -> Int32 {
        self.latestKey.withLock { latest in
            if latest?.flavour != flavour || latest?.applicationProtocols != applicationProtocols {
                latest = self.deriveKey(flavour, applicationProtocols)
            }
            return latest?.bytes.withUnsafeMutableBufferPointer { body($0) } ?? GNUTLS_E_INTERNAL_ERROR
        }
    }

    private func deriveKey(_ flavour: TLSFlavour, _ applicationProtocols: [String]) -> DerivedKey? {
        var context = Array("tern ticket \(flavour)".utf8)
        for name in applicationProtocols.sorted() {
            context.append(UInt8(truncatingIfNeeded: name.utf8.count))
            context += Array(name.utf8)
        }
        // As long as GnuTLS's keys are.
        var key = DerivedKey(
            flavour: flavour, applicationProtocols: applicationProtocols,
            bytes: [UInt8](repeating: 0, count: Self.keySize))
        let status = gnutls_hmac_fast(
            GNUTLS_MAC_SHA512, self.key.baseAddress, self.key.count, context, context.count, &key.bytes)
        return status == 0 ? key : nil
    }

    /// Over a byte stream GnuTLS keeps what comes early in memory until it is read.
    static let earlyBytes = 16 << 10
}
