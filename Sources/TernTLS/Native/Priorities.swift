// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CGnuTLS

/// Owns a `gnutls_priority_t`: what an endpoint offers and accepts, parsed once for all its sessions.
///
/// Never changed after it is made, and GnuTLS counts its uses atomically: hence `Sendable`.
final class Priorities: @unchecked Sendable {
    let handle: gnutls_priority_t

    /// TLS 1.3 only.
    init(_ suites: [TLSCipherSuite], _ role: Role, _ flavour: TLSFlavour) throws(TLSError) {
        guard !suites.isEmpty else { throw TLSError(.malformed, message: "no cipher suite is allowed") }
        var text = "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL"
        for suite in suites { text += ":+\(suite.cipher)" }
        text += ":-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1"
        // Certificates with RSA keys below 2,048 bits, or signed with SHA-1, prove nothing (RFC 9325, section 4.2).
        text += ":%PROFILE_MEDIUM"
        // The server's order counts, not the client's.
        if role == .server { text += ":%SERVER_PRECEDENCE" }
        // RFC 9001, section 8.4: QUIC does not use the middlebox compatibility mode.
        if flavour == .quic { text += ":%DISABLE_TLS13_COMPAT_MODE" }
        var handle: gnutls_priority_t?
        let status = gnutls_priority_init(&handle, text, nil)
        guard status == 0, let handle else {
            throw TLSError(.malformed, message: "GnuTLS knows no such ciphers: \(describe(status))")
        }
        self.handle = handle
    }

    deinit { gnutls_priority_deinit(self.handle) }

    enum Role {
        case client
        case server
    }

    /// For both flavours.
    struct Pair: Sendable {
        private let quic: Priorities
        private let stream: Priorities

        init(_ suites: [TLSCipherSuite], _ role: Role) throws(TLSError) {
            self.quic = try Priorities(suites, role, .quic)
            self.stream = try Priorities(suites, role, .stream)
        }

        subscript(flavour: TLSFlavour) -> Priorities { flavour == .quic ? self.quic : self.stream }
    }
}
