// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CGnuTLS

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// Owns a `gnutls_x509_privkey_t`.
final class PrivateKey {
    let handle: gnutls_x509_privkey_t

    /// A new ECDSA key on P-256.
    init() throws(TLSError) {
        var handle: gnutls_x509_privkey_t?
        try check(gnutls_x509_privkey_init(&handle), "allocate a key")
        guard let handle else { throw TLSError(.generationFailed, message: "GnuTLS gave no key") }
        self.handle = handle
        try check(
            gnutls_x509_privkey_generate(handle, GNUTLS_PK_ECDSA, CGnuTLS_curve_bits(GNUTLS_ECC_CURVE_SECP256R1), 0),
            "generate a key")
    }

    deinit { gnutls_x509_privkey_deinit(self.handle) }

    /// As PKCS #8 (RFC 5958) around an ECPrivateKey (RFC 5915).
    ///
    /// GnuTLS 3.7 writes the private value as a signed integer, 33 bytes for every second key, where RFC 5915, section 3, has an
    /// octet string of exactly 32: other libraries refuse such keys. The structure of a P-256 key is constant around its numbers.
    func pem() throws(TLSError) -> [UInt8] {
        var curve = GNUTLS_ECC_CURVE_INVALID
        var (x, y, value) = (gnutls_datum_t(), gnutls_datum_t(), gnutls_datum_t())
        try check(gnutls_x509_privkey_export_ecc_raw(self.handle, &curve, &x, &y, &value), "export a key")
        let numbers = [value.takeBytes(), x.takeBytes(), y.takeBytes()].map(Self.fixedLength)
        var der: [UInt8] = [
            0x30, 0x81, 0x87, 0x02, 0x01, 0x00,  // PrivateKeyInfo, version 0
            0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,  // id-ecPublicKey
            0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,  // prime256v1
            0x04, 0x6d, 0x30, 0x6b, 0x02, 0x01, 0x01, 0x04, 0x20,  // ECPrivateKey, version 1, the private value
        ]
        der += numbers[0]
        der += [0xa1, 0x44, 0x03, 0x42, 0x00, 0x04]  // the public key, uncompressed
        der += numbers[1] + numbers[2]
        var encoded = gnutls_datum_t()
        let status = withDatum(der) { der in
            withUnsafePointer(to: der) { gnutls_pem_base64_encode2("PRIVATE KEY", $0, &encoded) }
        }
        try check(status, "encode a key")
        return encoded.takeBytes()
    }

    /// A big-endian number in 32 bytes, whatever zeros stand in front of it.
    private static func fixedLength(_ number: [UInt8]) -> [UInt8] {
        let significant = number.drop { $0 == 0 }
        return [UInt8](repeating: 0, count: max(0, 32 - significant.count)) + significant
    }
}

/// What a certificate may be used for (RFC 5280, section 4.2.1.12).
enum CertificatePurpose: String {
    /// id-kp-serverAuth
    case server = "1.3.6.1.5.5.7.3.1"
    /// id-kp-clientAuth
    case client = "1.3.6.1.5.5.7.3.2"
}

/// Owns a `gnutls_x509_crt_t` that is being made.
final class Certificate {
    let handle: gnutls_x509_crt_t

    init(commonName: String, key: PrivateKey, validity: Range<Int>) throws(TLSError) {
        var handle: gnutls_x509_crt_t?
        try check(gnutls_x509_crt_init(&handle), "allocate a certificate")
        guard let handle else { throw TLSError(.generationFailed, message: "GnuTLS gave no certificate") }
        self.handle = handle
        try check(gnutls_x509_crt_set_version(handle, 3), "set the version")
        var serial = [UInt8](repeating: 0, count: 16)
        try check(gnutls_rnd(GNUTLS_RND_NONCE, &serial, serial.count), "draw a serial number")
        // RFC 5280, section 4.1.2.2: positive; and without a leading zero, which strict decoders refuse.
        serial[0] = serial[0] & 0x7f | 0x40
        try check(gnutls_x509_crt_set_serial(handle, serial, serial.count), "set the serial number")
        try check(gnutls_x509_crt_set_activation_time(handle, time_t(validity.lowerBound)), "set the validity")
        try check(gnutls_x509_crt_set_expiration_time(handle, time_t(validity.upperBound)), "set the validity")
        // X.520 bounds a common name to 64 characters; the alternative names are what counts.
        try check(
            gnutls_x509_crt_set_dn_by_oid(
                handle, "2.5.4.3", 0, String(commonName.prefix(64)), UInt32(commonName.prefix(64).utf8.count)),
            "set the name")
        try check(gnutls_x509_crt_set_key(handle, key.handle), "set the key")
        var identifier = [UInt8](repeating: 0, count: 64)
        var size = identifier.count
        try check(gnutls_x509_crt_get_key_id(handle, 0, &identifier, &size), "identify the key")
        try check(gnutls_x509_crt_set_subject_key_id(handle, identifier, size), "set the key identifier")
    }

    deinit { gnutls_x509_crt_deinit(self.handle) }

    func makeAuthority() throws(TLSError) {
        try check(gnutls_x509_crt_set_basic_constraints(self.handle, 1, 0), "make an authority")
        try check(
            gnutls_x509_crt_set_key_usage(self.handle, UInt32(GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN)),
            "set the usage")
    }

    func makeLeaf(names: [String], purpose: CertificatePurpose) throws(TLSError) {
        try check(gnutls_x509_crt_set_basic_constraints(self.handle, 0, -1), "make a leaf certificate")
        try check(gnutls_x509_crt_set_key_usage(self.handle, UInt32(GNUTLS_KEY_DIGITAL_SIGNATURE)), "set the usage")
        try check(gnutls_x509_crt_set_key_purpose_oid(self.handle, purpose.rawValue, 0), "set the purpose")
        for name in names { try self.addAlternativeName(name) }
    }

    func sign(by authority: Certificate, key: PrivateKey) throws(TLSError) {
        var identifier = [UInt8](repeating: 0, count: 64)
        var size = identifier.count
        try check(
            gnutls_x509_crt_get_subject_key_id(authority.handle, &identifier, &size, nil), "read the key identifier")
        try check(gnutls_x509_crt_set_authority_key_id(self.handle, identifier, size), "set the authority's identifier")
        try check(gnutls_x509_crt_sign2(self.handle, authority.handle, key.handle, GNUTLS_DIG_SHA256, 0), "sign")
    }

    func pem() throws(TLSError) -> [UInt8] {
        var datum = gnutls_datum_t()
        try check(gnutls_x509_crt_export2(self.handle, GNUTLS_X509_FMT_PEM, &datum), "export a certificate")
        return datum.takeBytes()
    }

    private func addAlternativeName(_ name: String) throws(TLSError) {
        var address = [UInt8](repeating: 0, count: 16)
        let status: Int32
        if inet_pton(AF_INET, name, &address) == 1 {
            status = address.withUnsafeBytes {
                self.add(GNUTLS_SAN_IPADDRESS, UnsafeRawBufferPointer(rebasing: $0.prefix(4)))
            }
        } else if inet_pton(AF_INET6, name, &address) == 1 {
            status = address.withUnsafeBytes { self.add(GNUTLS_SAN_IPADDRESS, $0) }
        } else {
            status = Array(name.utf8).withUnsafeBytes { self.add(GNUTLS_SAN_DNSNAME, $0) }
        }
        try check(status, "add the name \(name)")
    }

    private func add(_ type: gnutls_x509_subject_alt_name_t, _ bytes: UnsafeRawBufferPointer) -> Int32 {
        gnutls_x509_crt_set_subject_alt_name(
            self.handle, type, bytes.baseAddress, UInt32(bytes.count), UInt32(GNUTLS_FSAN_APPEND))
    }
}

extension gnutls_datum_t {
    /// Copies memory that GnuTLS allocated, and frees it.
    fileprivate consuming func takeBytes() -> [UInt8] {
        defer { CGnuTLS_free(self.data) }
        return Array(UnsafeBufferPointer(start: self.data, count: Int(self.size)))
    }
}

private func check(_ status: Int32, _ action: String) throws(TLSError) {
    guard status < 0 else { return }
    throw TLSError(.generationFailed, message: "cannot \(action): \(String(cString: gnutls_strerror(status)))")
}
