// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CGnuTLS

/// What an endpoint reads in a certificate: its own, or its peer's.
struct LeafCertificate {
    let notBefore: Int
    let notAfter: Int
    /// SHA-256 over the SubjectPublicKeyInfo.
    let publicKeyDigest: [UInt8]

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
        var digest = [UInt8](repeating: 0, count: 32)
        var size = digest.count
        status = gnutls_x509_crt_get_key_id(handle, GNUTLS_KEYID_USE_SHA256.rawValue, &digest, &size)
        guard status == 0, size == digest.count else {
            throw TLSError(.malformed, message: "not a usable public key: \(describe(status))")
        }
        self.notBefore = Int(gnutls_x509_crt_get_activation_time(handle))
        self.notAfter = Int(gnutls_x509_crt_get_expiration_time(handle))
        self.publicKeyDigest = digest
    }
}
