// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CGnuTLS
import NIOCore
import TernTransport
import Testing

@testable import TernTLS

/// Certificates that an authority signed, and that prove too little all the same.
@Suite("Weak certificates")
struct WeakCertificateTests {
    /// RFC 9525, section 6.3: the common name does not count.
    @Test func aCommonNameIsNoName() throws {
        let made = try TLSIdentity.selfSigned(for: [])
        for name in ["localhost", "127.0.0.1"] {
            let pair = try TLSPair(
                identity: made.identity, trust: .certificateAuthorities(pem: made.certificateAuthorityPEM),
                serverName: name)
            #expect(throws: TransportError(.certificateRejected, message: "", wireCode: 0x12a)) { try pair.handshake() }
        }
        // Who pins the key does not ask for names.
        try TLSPair(
            identity: made.identity,
            trust: .pinned(subjectPublicKeyInfoSHA256: [made.identity.subjectPublicKeyInfoSHA256])
        ).handshake()
    }

    @Test(arguments: [(1024, false), (2048, true)])
    func shortRSAKeysAreRefused(bits: UInt32, isTrusted: Bool) throws {
        let made = try RSAIdentity(bits: bits)
        let pair = try TLSPair(
            identity: try TLSIdentity(certificatePEM: made.certificate, keyPEM: made.key),
            trust: .certificateAuthorities(pem: made.certificate))
        if isTrusted {
            try pair.handshake()
        } else {
            let error = #expect(throws: TransportError.self) { try pair.handshake() }
            #expect(error?.code == .certificateRejected, "\(error as Any)")
        }
    }
}

/// An RSA key and a certificate for localhost that it signed itself.
private struct RSAIdentity {
    let certificate: [UInt8]
    let key: [UInt8]

    init(bits: UInt32) throws {
        var (key, certificate): (gnutls_x509_privkey_t?, gnutls_x509_crt_t?) = (nil, nil)
        try #require(gnutls_x509_privkey_init(&key) == 0)
        try #require(gnutls_x509_crt_init(&certificate) == 0)
        defer {
            gnutls_x509_privkey_deinit(key)
            gnutls_x509_crt_deinit(certificate)
        }
        try #require(gnutls_x509_privkey_generate(key, GNUTLS_PK_RSA, bits, 0) == 0)
        let name = Array("localhost".utf8)
        let serial: [UInt8] = [1]
        let now = SystemClock.secondsSince1970
        let statuses = [
            gnutls_x509_crt_set_version(certificate, 3),
            gnutls_x509_crt_set_serial(certificate, serial, serial.count),
            gnutls_x509_crt_set_activation_time(certificate, now - 60),
            gnutls_x509_crt_set_expiration_time(certificate, now + 3600),
            gnutls_x509_crt_set_dn_by_oid(certificate, "2.5.4.3", 0, name, UInt32(name.count)),
            gnutls_x509_crt_set_key(certificate, key),
            gnutls_x509_crt_set_basic_constraints(certificate, 1, 0),
            gnutls_x509_crt_set_subject_alt_name(certificate, GNUTLS_SAN_DNSNAME, name, UInt32(name.count), 0),
            gnutls_x509_crt_sign2(certificate, certificate, key, GNUTLS_DIG_SHA256, 0),
        ]
        try #require(statuses.allSatisfy { $0 == 0 }, "\(statuses)")
        var (text, secret) = (gnutls_datum_t(), gnutls_datum_t())
        try #require(gnutls_x509_crt_export2(certificate, GNUTLS_X509_FMT_PEM, &text) == 0)
        try #require(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &secret) == 0)
        defer {
            CGnuTLS_free(text.data)
            CGnuTLS_free(secret.data)
        }
        self.certificate = Array(UnsafeBufferPointer(start: text.data, count: Int(text.size)))
        self.key = Array(UnsafeBufferPointer(start: secret.data, count: Int(secret.size)))
    }
}
