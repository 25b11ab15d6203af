// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Whom an endpoint trusts.
///
/// There is no mode that trusts everybody: for a server of one's own use its CA file, or pin its key. Where a trust names both
/// certificate authorities and keys, a peer must satisfy both.
public struct TLSTrust: Sendable, Hashable {
    /// Whether the authorities of the operating system count.
    var includesSystem = false
    /// PEM texts.
    var authorities: [[UInt8]] = []
    /// SHA-256 digests of public keys, one of which the peer must show; `nil` when any key will do.
    var pins: [[UInt8]]?

    /// Whether a certificate must be signed by an authority.
    var requiresAuthority: Bool { self.includesSystem || !self.authorities.isEmpty }

    /// The certificate authorities of the operating system. A server's certificate must carry its name or address.
    public static let system = TLSTrust(includesSystem: true)

    /// The certificate authorities in a PEM file, and no others. A server's certificate must carry its name or address.
    ///
    /// - Throws: ``TLSError`` when the file can't be read.
    public static func certificateAuthorities(file path: String) throws -> TLSTrust {
        .certificateAuthorities(pem: try FileBytes.read(path))
    }

    /// The certificate authorities in `pem`, and no others. A server's certificate must carry its name or address.
    public static func certificateAuthorities(pem: [UInt8]) -> TLSTrust {
        TLSTrust(authorities: [pem])
    }

    /// A peer that shows one of these public keys, whoever signed its certificate and whatever name it carries.
    ///
    /// - Parameter digests: SHA-256 over the DER of the SubjectPublicKeyInfo (RFC 7469, section 2.4), 32 bytes each.
    public static func pinned(subjectPublicKeyInfoSHA256 digests: [[UInt8]]) -> TLSTrust {
        TLSTrust(pins: digests)
    }

    /// This trust, and the certificate authorities in a PEM file besides: one's own authority next to those of the system.
    ///
    /// - Throws: ``TLSError`` when the file can't be read.
    public func adding(certificateAuthoritiesFile path: String) throws -> TLSTrust {
        self.adding(certificateAuthoritiesPEM: try FileBytes.read(path))
    }

    /// This trust, and the certificate authorities in `pem` besides.
    public func adding(certificateAuthoritiesPEM pem: [UInt8]) -> TLSTrust {
        var trust = self
        trust.authorities.append(pem)
        return trust
    }

    /// This trust, but only for peers whose own certificate has one of these public keys: an authority that errs or is
    /// forced to is not enough.
    ///
    /// - Parameter digests: SHA-256 over the DER of the SubjectPublicKeyInfo, 32 bytes each. They replace those required before.
    public func requiring(subjectPublicKeyInfoSHA256 digests: [[UInt8]]) -> TLSTrust {
        var trust = self
        trust.pins = digests
        return trust
    }
}
