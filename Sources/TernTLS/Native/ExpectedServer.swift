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

/// Owns what `gnutls_session_set_verify_cert2` is told: GnuTLS keeps the pointers, not copies.
final class ExpectedServer {
    private let name: UnsafeMutablePointer<CChar>?
    private let purpose: UnsafeMutablePointer<CChar>?
    private let data: UnsafeMutablePointer<gnutls_typed_vdata_st>

    /// - Parameter name: a DNS name, or a literal address, which GnuTLS compares with those of the certificate.
    init(name: String) {
        self.name = strdup(name)
        self.purpose = strdup(CertificatePurpose.server.rawValue)
        self.data = .allocate(capacity: 2)
        self.data.initialize(to: Self.item(GNUTLS_DT_DNS_HOSTNAME, self.name))
        (self.data + 1).initialize(to: Self.item(GNUTLS_DT_KEY_PURPOSE_OID, self.purpose))
    }

    deinit {
        self.data.deinitialize(count: 2)
        self.data.deallocate()
        free(self.name)
        free(self.purpose)
    }

    /// The session must not outlive this object.
    func require(of session: OpaquePointer) {
        gnutls_session_set_verify_cert2(session, self.data, 2, 0)
    }

    private static func item(
        _ type: gnutls_vdata_types_t, _ text: UnsafeMutablePointer<CChar>?
    ) -> gnutls_typed_vdata_st {
        var item = gnutls_typed_vdata_st()
        item.type = type
        item.data = UnsafeMutableRawPointer(text)?.assumingMemoryBound(to: UInt8.self)
        item.size = 0  // a C string
        return item
    }
}
