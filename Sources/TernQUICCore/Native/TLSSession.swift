// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CGnuTLS
package import TernTransport

/// Stands here until TernTLS brings its own of the same shape.
package final class TLSSession {
    package let handle: OpaquePointer
    private let credentials: gnutls_certificate_credentials_t
    private let serverName: String?
    private let isClient: Bool
    package init(isClient: Bool, certificate: String?, key: String?, authority: String?, serverName: String?, alpn: [String]) {
        var credentials: gnutls_certificate_credentials_t?
        gnutls_certificate_allocate_credentials(&credentials)
        self.credentials = credentials!
        self.serverName = serverName
        self.isClient = isClient
        func datum(_ text: String, _ body: (inout gnutls_datum_t) -> Void) {
            var bytes = Array(text.utf8)
            let count = UInt32(bytes.count)
            bytes.withUnsafeMutableBufferPointer { var d = gnutls_datum_t(data: $0.baseAddress, size: count); body(&d) }
        }
        if let certificate, let key {
            datum(certificate) { c in datum(key) { k in
                let rv = gnutls_certificate_set_x509_key_mem(credentials!, &c, &k, GNUTLS_X509_FMT_PEM)
                precondition(rv >= 0, "key \(rv)")
            } }
        }
        if let authority {
            datum(authority) { a in precondition(gnutls_certificate_set_x509_trust_mem(credentials!, &a, GNUTLS_X509_FMT_PEM) > 0) }
        }
        var session: gnutls_session_t?
        let flags: UInt32 = isClient ? UInt32(GNUTLS_CLIENT.rawValue) | UInt32(GNUTLS_NO_END_OF_EARLY_DATA.rawValue)
            : 1 | UInt32(GNUTLS_NO_END_OF_EARLY_DATA.rawValue) | UInt32(GNUTLS_NO_AUTO_SEND_TICKET.rawValue)
        gnutls_init(&session, flags)
        self.handle = session!
        let priority = "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:%DISABLE_TLS13_COMPAT_MODE"
        precondition(gnutls_priority_set_direct(session, priority, nil) == 0)
        gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(credentials!))
        if let serverName { _ = serverName.withCString { gnutls_server_name_set(session, GNUTLS_NAME_DNS, $0, serverName.utf8.count) } }
        for name in alpn {
            datum(name) { d in gnutls_alpn_set_protocols(session, &d, 1, UInt32(GNUTLS_ALPN_MANDATORY.rawValue)) }
        }
    }
    deinit { gnutls_deinit(self.handle); gnutls_certificate_free_credentials(self.credentials) }
    package var applicationProtocol: String? {
        var d = gnutls_datum_t()
        guard gnutls_alpn_get_selected_protocol(self.handle, &d) == 0 else { return nil }
        return String(decoding: UnsafeBufferPointer(start: d.data, count: Int(d.size)), as: UTF8.self)
    }
    package var peerCertificates: [[UInt8]] {
        var n: UInt32 = 0
        guard let list = gnutls_certificate_get_peers(self.handle, &n) else { return [] }
        return (0..<Int(n)).map { Array(UnsafeBufferPointer(start: list[$0].data, count: Int(list[$0].size))) }
    }
    package func verifyPeer() throws(TransportError) {
        guard self.isClient else { return }
        var status: UInt32 = 0
        let rv = gnutls_certificate_verify_peers3(self.handle, self.serverName, &status)
        guard rv == 0, status == 0 else {
            throw TransportError(.certificateRejected, message: "status \(status)", wireCode: status & 0x40 != 0 ? 0x100 + 48 : 0x100 + 42)
        }
    }
}
