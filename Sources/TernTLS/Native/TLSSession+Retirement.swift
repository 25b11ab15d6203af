// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CGnuTLS
internal import TernTransport

/// What a session found out, for those who ask when it is retired.
struct TLSOutcome {
    let applicationProtocol: String?
    let cipherSuite: TLSCipherSuite?
    let peerCertificates: [[UInt8]]
    let isResumed: Bool
    let wasEarlyDataAccepted: Bool
    fileprivate let hash: gnutls_digest_algorithm_t
}

// A QUIC server's session has said all it has to say when the handshake is done and the ticket sent, and no client may send it
// more (RFC 9001, sections 4.4 and 6): GnuTLS's memory for it, some 14 KB, can go. QUIC keeps its own keys, and what the
// application derives from the handshake needs one secret of it.
extension TLSSession {
    /// Whether ``retire()`` may be called now that the handshake is done.
    package var mayRetire: Bool { !self.exporterSecret.isEmpty && self.outcome == nil }

    /// Whether GnuTLS's memory was given back.
    package var isRetired: Bool { self.outcome != nil }

    /// Gives back GnuTLS's memory; whoever was given ``handle`` must have forgotten it. The peer was verified, and what
    /// this object says of the handshake stays.
    package func retire() {
        guard self.mayRetire else { return }
        self.outcome = TLSOutcome(
            applicationProtocol: self.applicationProtocol, cipherSuite: self.cipherSuite,
            peerCertificates: self.peerCertificates, isResumed: self.isResumed,
            wasEarlyDataAccepted: self.wasEarlyDataAccepted, hash: gnutls_prf_hash_get(self.handle))
        self.endSession()
    }
}

extension TLSOutcome {
    /// RFC 8446, section 7.5.
    func exportKeyingMaterial(
        from secret: [UInt8], label: String, context: [UInt8], count: Int
    ) throws(TransportError) -> [UInt8] {
        let size = Int(gnutls_hash_get_len(self.hash))
        guard var derived = self.expand(secret, Array(label.utf8), self.digest([]), count: size) else {
            throw TransportError(.misuse, message: "no keys can be exported")
        }
        defer { gnutls_memset(&derived, 0, derived.count) }
        guard let bytes = self.expand(derived, Array("exporter".utf8), self.digest(context), count: count) else {
            throw TransportError(.misuse, message: "no keys can be exported")
        }
        return bytes
    }

    /// HKDF-Expand-Label (RFC 8446, section 7.1).
    private func expand(_ secret: [UInt8], _ label: [UInt8], _ context: [UInt8], count: Int) -> [UInt8]? {
        let prefix = Array("tls13 ".utf8)
        var info = [UInt8(truncatingIfNeeded: count >> 8), UInt8(truncatingIfNeeded: count)]
        info.append(UInt8(truncatingIfNeeded: prefix.count + label.count))
        info += prefix + label
        info.append(UInt8(truncatingIfNeeded: context.count))
        info += context
        var bytes = [UInt8](repeating: 0, count: count)
        // GnuTLS numbers hashes and their HMACs alike.
        let mac = gnutls_mac_algorithm_t(self.hash.rawValue)
        let status = withDatum(secret) { secret in
            withDatum(info) { info in
                withUnsafePointer(to: secret) { secret in
                    withUnsafePointer(to: info) { gnutls_hkdf_expand(mac, secret, $0, &bytes, count) }
                }
            }
        }
        return status == 0 ? bytes : nil
    }

    private func digest(_ bytes: [UInt8]) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: Int(gnutls_hash_get_len(self.hash)))
        return gnutls_hash_fast(self.hash, bytes, bytes.count, &digest) == 0 ? digest : []
    }
}
