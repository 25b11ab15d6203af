// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CGnuTLS

/// What an endpoint reads in a certificate: its own, or its peer's.
struct LeafCertificate {
    let notBefore: Int
    let notAfter: Int
    /// SHA-256 over the SubjectPublicKeyInfo.
    let publicKeyDigest: [UInt8]
    /// SHA-256 over the certificate.
    let fingerprint: [UInt8]
    let commonName: String?
    let alternativeNames: [TLSCertificate.Name]

    /// Reads the first certificate of a PEM text.
    init(pem: [UInt8]) throws(TLSError) {
        try self.init(pem, GNUTLS_X509_FMT_PEM)
    }

    init(der: [UInt8]) throws(TLSError) {
        try self.init(der, GNUTLS_X509_FMT_DER)
    }

    private init(_ bytes: [UInt8], _ format: gnutls_x509_crt_fmt_t) throws(TLSError) {
        var handle: gnutls_x509_crt_t?
        var status = gnutls_x509_crt_init(&handle)
        guard status == 0, let handle else {
            throw TLSError(.malformed, message: "no memory for a certificate: \(describe(status))")
        }
        defer { gnutls_x509_crt_deinit(handle) }
        status = withDatum(bytes) { datum in
            withUnsafePointer(to: datum) { gnutls_x509_crt_import(handle, $0, format) }
        }
        guard status == 0 else { throw TLSError(.malformed, message: "not a certificate: \(describe(status))") }
        self.notBefore = Int(gnutls_x509_crt_get_activation_time(handle))
        self.notAfter = Int(gnutls_x509_crt_get_expiration_time(handle))
        self.publicKeyDigest = try Self.digest("public key") {
            gnutls_x509_crt_get_key_id(handle, GNUTLS_KEYID_USE_SHA256.rawValue, $0, $1)
        }
        self.fingerprint = try Self.digest("certificate") {
            gnutls_x509_crt_get_fingerprint(handle, GNUTLS_DIG_SHA256, $0, $1)
        }
        self.commonName = Self.commonName(of: handle)
        self.alternativeNames = Self.alternativeNames(of: handle)
    }

    private static func digest(
        _ what: String, _ compute: (UnsafeMutablePointer<UInt8>?, UnsafeMutablePointer<Int>) -> Int32
    ) throws(TLSError) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 32)
        var size = digest.count
        let status = digest.withUnsafeMutableBufferPointer { compute($0.baseAddress, &size) }
        guard status == 0, size == digest.count else {
            throw TLSError(.malformed, message: "not a usable \(what): \(describe(status))")
        }
        return digest
    }

    private static func commonName(of handle: gnutls_x509_crt_t) -> String? {
        Self.text { gnutls_x509_crt_get_dn_by_oid(handle, "2.5.4.3", 0, 0, $0, $1) }
            .map { String(decoding: $0, as: UTF8.self) }
    }

    /// Bounded, whatever a peer's certificate contains.
    private static let largestNameCount: UInt32 = 256

    private static func alternativeNames(of handle: gnutls_x509_crt_t) -> [TLSCertificate.Name] {
        var names: [TLSCertificate.Name] = []
        for index in 0..<Self.largestNameCount {
            var kind: Int32 = 0
            let bytes = Self.text {
                kind = gnutls_x509_crt_get_subject_alt_name(handle, index, $0, $1, nil)
                return min(kind, 0)
            }
            if kind == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE { break }
            guard kind >= 0, let bytes else { continue }
            let text = String(decoding: bytes, as: UTF8.self)
            switch gnutls_x509_subject_alt_name_t(rawValue: UInt32(kind)) {
            case GNUTLS_SAN_DNSNAME: names.append(.dns(text))
            case GNUTLS_SAN_RFC822NAME: names.append(.email(text))
            case GNUTLS_SAN_URI: names.append(.uri(text))
            case GNUTLS_SAN_IPADDRESS: names.append(.address(Array(bytes)))
            default: break
            }
        }
        return names
    }

    /// What GnuTLS writes into memory of the caller; `nil` when it is missing or larger than a name should be.
    private static func text(
        _ read: (UnsafeMutableRawPointer?, UnsafeMutablePointer<Int>) -> Int32
    ) -> ArraySlice<UInt8>? {
        var memory = [UInt8](repeating: 0, count: 1024)
        var size = memory.count
        let status = memory.withUnsafeMutableBytes { read($0.baseAddress, &size) }
        guard status == 0, size <= memory.count else { return nil }
        return memory.prefix(size)
    }
}
