// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CGnuTLS
internal import TernTransport

/// What the other end must prove to be, and the judgement over what it showed.
struct PeerRequirement: Sendable {
    let trust: TLSTrust
    /// A DNS name or a literal address; `nil` where a name says nothing, as with a server's clients.
    let name: ServerName?
    let purpose: CertificatePurpose
    /// Whether a peer without a certificate is let in.
    let isOptional: Bool

    /// Why the peer of `session` is not trusted, or `nil`. Asked inside the handshake, when the certificate has come, and again
    /// for a session that was resumed.
    func rejection(of session: OpaquePointer, certificates: [[UInt8]]) -> PeerRejection? {
        guard let leaf = certificates.first else {
            return self.isOptional
                ? nil : PeerRejection(reason: "no certificate was shown", alert: .certificateRequired)
        }
        if self.trust.requiresAuthority {
            if let rejection = self.chainRejection(of: session) { return rejection }
            if let rejection = self.nameRejection(of: leaf) { return rejection }
        }
        guard let pins = self.trust.pins else { return nil }
        guard let digest = try? LeafCertificate(der: leaf).publicKeyDigest else {
            return PeerRejection(reason: "its public key can't be read", alert: .badCertificate)
        }
        // Every pin is compared, each in constant time.
        let matches = pins.reduce(false) { gnutls_memcmp($1, digest, digest.count) == 0 || $0 }
        return matches ? nil : PeerRejection(reason: "its public key is not pinned", alert: .certificateUnknown)
    }

    private func chainRejection(of session: OpaquePointer) -> PeerRejection? {
        var verdict: UInt32 = 0
        let status = Self.withItems(self.name?.text, self.purpose) { items in
            gnutls_certificate_verify_peers(session, items.baseAddress, UInt32(items.count), &verdict)
        }
        guard status == 0 else { return PeerRejection(reason: describe(status), alert: .badCertificate) }
        return verdict == 0 ? nil : PeerRejection(status: verdict)
    }

    /// GnuTLS compares the common name where a certificate has no other; RFC 9525, section 6.3, looks at subjectAltName alone.
    private func nameRejection(of leaf: [UInt8]) -> PeerRejection? {
        guard let name, !name.isAddress else { return nil }
        let names = (try? LeafCertificate(der: leaf).alternativeNames) ?? []
        guard !names.contains(where: { if case .dns = $0 { true } else { false } }) else { return nil }
        return PeerRejection(
            reason: "it names no host in its subjectAltName; a common name does not count", alert: .badCertificate)
    }

    private static func withItems<Result>(
        _ name: String?, _ purpose: CertificatePurpose,
        _ body: (UnsafeMutableBufferPointer<gnutls_typed_vdata_st>) -> Result
    ) -> Result {
        purpose.rawValue.withCString { purpose in
            var items = [Self.item(GNUTLS_DT_KEY_PURPOSE_OID, purpose)]
            guard let name else { return items.withUnsafeMutableBufferPointer { body($0) } }
            return name.withCString { name in
                items.append(Self.item(GNUTLS_DT_DNS_HOSTNAME, name))
                return items.withUnsafeMutableBufferPointer { body($0) }
            }
        }
    }

    /// GnuTLS only reads through the pointer that it types as mutable; size 0 stands for a C string.
    private static func item(_ type: gnutls_vdata_types_t, _ text: UnsafePointer<CChar>) -> gnutls_typed_vdata_st {
        var item = gnutls_typed_vdata_st()
        item.type = type
        item.data = UnsafeMutableRawPointer(mutating: text).assumingMemoryBound(to: UInt8.self)
        return item
    }
}

/// Why a peer is not trusted, for people and for the peer (RFC 8446, section 6.2).
struct PeerRejection {
    enum Alert: UInt8 {
        case badCertificate = 42
        case unsupportedCertificate = 43
        case certificateRevoked = 44
        case certificateExpired = 45
        case certificateUnknown = 46
        case unknownAuthority = 48
        case certificateRequired = 116
    }

    let reason: String
    let alert: Alert

    init(reason: String, alert: Alert) {
        self.reason = reason
        self.alert = alert
    }

    /// - Parameter status: of `gnutls_certificate_verify_peers`.
    init(status: UInt32) {
        func has(_ flags: gnutls_certificate_status_t...) -> Bool { flags.contains { status & $0.rawValue != 0 } }
        self.reason = Self.text(status)
        if has(GNUTLS_CERT_SIGNER_NOT_FOUND, GNUTLS_CERT_SIGNER_NOT_CA) {
            self.alert = .unknownAuthority
        } else if has(GNUTLS_CERT_REVOKED) {
            self.alert = .certificateRevoked
        } else if has(GNUTLS_CERT_EXPIRED, GNUTLS_CERT_NOT_ACTIVATED) {
            self.alert = .certificateExpired
        } else if has(GNUTLS_CERT_PURPOSE_MISMATCH) {
            self.alert = .unsupportedCertificate
        } else {
            self.alert = .badCertificate
        }
    }

    private static func text(_ status: UInt32) -> String {
        var datum = gnutls_datum_t()
        guard gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &datum, 0) == 0,
            let data = datum.data
        else { return "status \(status)" }
        defer { CGnuTLS_free(data) }
        let text = String(decoding: UnsafeBufferPointer(start: data, count: Int(datum.size)), as: UTF8.self)
        let words = text.split(whereSeparator: { $0.isWhitespace || $0 == "\0" }).joined(separator: " ")
        // Sentences; the first says no more than that the certificate is not trusted, which whoever shows this says, too.
        let sentences = words.split(separator: ". ").drop { $0 == "The certificate is NOT trusted" }
        return sentences.map { sentence in
            let sentence = sentence.hasSuffix(".") ? sentence.dropLast() : sentence
            return sentence.prefix(1).lowercased() + sentence.dropFirst()
        }.joined(separator: "; ")
    }
}
