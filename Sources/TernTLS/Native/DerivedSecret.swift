// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CGnuTLS

/// Secrets for several purposes from one: who has one of them learns neither the others nor what they are made of.
package enum DerivedSecret {
    /// HKDF-Expand with SHA-256 (RFC 5869, section 2.3).
    ///
    /// - Parameters:
    ///   - secret: at least 32 bytes that were drawn at random: section 3.3 lets these be without HKDF-Extract.
    ///   - label: what for.
    ///   - count: at most 8,160.
    package static func derive(from secret: [UInt8], for label: String, count: Int) throws(TLSError) -> [UInt8] {
        precondition(secret.count >= 32 && count <= 255 * 32)
        var bytes = [UInt8](repeating: 0, count: count)
        let status = withDatum(secret) { secret in
            withDatum(Array(label.utf8)) { label in
                withUnsafePointer(to: secret) { secret in
                    withUnsafePointer(to: label) {
                        gnutls_hkdf_expand(GNUTLS_MAC_SHA256, secret, $0, &bytes, count)
                    }
                }
            }
        }
        guard status == 0 else {
            throw TLSError(.generationFailed, message: "no secret can be derived: \(describe(status))")
        }
        return bytes
    }
}
