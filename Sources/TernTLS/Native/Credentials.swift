// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CGnuTLS

/// Owns a `gnutls_certificate_credentials_t`.
///
/// Written only while it is made, then read by any number of sessions on any thread, which GnuTLS permits: hence `Sendable`.
final class Credentials: @unchecked Sendable {
    let handle: gnutls_certificate_credentials_t

    init() throws(TLSError) {
        var handle: gnutls_certificate_credentials_t?
        let status = gnutls_certificate_allocate_credentials(&handle)
        guard status == 0, let handle else {
            throw TLSError(.generationFailed, message: "cannot allocate credentials: \(describe(status))")
        }
        self.handle = handle
    }

    deinit { gnutls_certificate_free_credentials(self.handle) }

    func use(certificatePEM: [UInt8], keyPEM: [UInt8]) throws(TLSError) {
        let status = withDatum(certificatePEM) { certificate in
            withDatum(keyPEM) { key in
                withUnsafePointer(to: certificate) { certificate in
                    withUnsafePointer(to: key) { key in
                        gnutls_certificate_set_x509_key_mem2(
                            self.handle, certificate, key, GNUTLS_X509_FMT_PEM, nil, 0)
                    }
                }
            }
        }
        guard status < 0 else { return }
        if status == GNUTLS_E_CERTIFICATE_KEY_MISMATCH {
            throw TLSError(.keyMismatch, message: "the private key does not belong to the certificate")
        }
        throw TLSError(.malformed, message: "not a PEM certificate with its PEM key: \(describe(status))")
    }

    /// Takes over the certificate chain and the key of others.
    func use(_ others: Credentials) throws(TLSError) {
        var key: gnutls_x509_privkey_t?
        var chain: UnsafeMutablePointer<gnutls_x509_crt_t?>?
        var count: UInt32 = 0
        var status = gnutls_certificate_get_x509_key(others.handle, 0, &key)
        defer { if let key { gnutls_x509_privkey_deinit(key) } }
        if status == 0 { status = gnutls_certificate_get_x509_crt(others.handle, 0, &chain, &count) }
        defer {
            for index in 0..<Int(count) { gnutls_x509_crt_deinit(chain?[index]) }
            CGnuTLS_free(chain)
        }
        if status == 0 { status = gnutls_certificate_set_x509_key(self.handle, chain, Int32(count), key) }
        guard status >= 0 else {
            throw TLSError(.malformed, message: "the identity can't be used: \(describe(status))")
        }
    }

    func trust(_ trust: TLSTrust) throws(TLSError) {
        if trust.includesSystem {
            let count = gnutls_certificate_set_x509_system_trust(self.handle)
            guard count > 0 else {
                throw TLSError(
                    .emptyTrust, message: "the system has no certificate authorities (install ca-certificates)")
            }
        }
        for pem in trust.authorities { try self.trust(authorities: pem) }
        if let pins = trust.pins {
            guard !pins.isEmpty, pins.allSatisfy({ $0.count == 32 }) else {
                throw TLSError(.emptyTrust, message: "a pin is the SHA-256 of a public key: 32 bytes")
            }
        }
    }

    private func trust(authorities pem: [UInt8]) throws(TLSError) {
        let count = withDatum(pem) { pem in
            withUnsafePointer(to: pem) {
                gnutls_certificate_set_x509_trust_mem(self.handle, $0, GNUTLS_X509_FMT_PEM)
            }
        }
        guard count >= 0 else {
            throw TLSError(.malformed, message: "the certificate authorities are not PEM: \(describe(count))")
        }
        guard count > 0 else { throw TLSError(.emptyTrust, message: "the file has no certificate authority") }
    }
}

func describe(_ status: Int32) -> String { String(cString: gnutls_strerror(status)) }

func withDatum<Result>(_ bytes: [UInt8], _ body: (gnutls_datum_t) -> Result) -> Result {
    bytes.withUnsafeBufferPointer { buffer in
        // GnuTLS only reads through the pointer that it types as mutable.
        body(gnutls_datum_t(data: UnsafeMutablePointer(mutating: buffer.baseAddress), size: UInt32(buffer.count)))
    }
}
