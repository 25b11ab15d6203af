// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// How TLS 1.3 protects what it carries (RFC 8446, appendix B.4).
public struct TLSCipherSuite: Sendable, Hashable, CustomStringConvertible {
    /// The number on the wire.
    public let rawValue: UInt16
    /// The name in the registry of the IANA.
    public let description: String
    /// As GnuTLS's priority strings call it.
    let cipher: String

    /// TLS_AES_128_GCM_SHA256
    public static let aes128GCM = TLSCipherSuite(
        rawValue: 0x1301, description: "TLS_AES_128_GCM_SHA256", cipher: "AES-128-GCM")
    /// TLS_AES_256_GCM_SHA384
    public static let aes256GCM = TLSCipherSuite(
        rawValue: 0x1302, description: "TLS_AES_256_GCM_SHA384", cipher: "AES-256-GCM")
    /// TLS_CHACHA20_POLY1305_SHA256
    public static let chaCha20Poly1305 = TLSCipherSuite(
        rawValue: 0x1303, description: "TLS_CHACHA20_POLY1305_SHA256", cipher: "CHACHA20-POLY1305")
}

extension [TLSCipherSuite] {
    /// All of them, AES first: ChaCha20 costs seven times as much where AES instructions exist.
    public static let standard: [TLSCipherSuite] = [.aes128GCM, .aes256GCM, .chaCha20Poly1305]
}
