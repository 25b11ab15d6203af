// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// What a certificate says of its owner, such as the first of ``TernTransport/LoopConnection/peerCertificates``.
///
/// To read a certificate is not to trust it: that happens in the handshake.
public struct TLSCertificate: Sendable, Hashable {
    /// A name in the certificate's subjectAltName (RFC 5280, section 4.2.1.6).
    public enum Name: Sendable, Hashable {
        case dns(String)
        case email(String)
        case uri(String)
        /// 4 or 16 bytes, in network order.
        case address([UInt8])
    }

    /// The subject's common name (CN).
    public let commonName: String?
    /// The names in the order of the certificate; at most 256.
    public let alternativeNames: [Name]
    /// When the certificate begins and ceases to be valid, in seconds since 1970 (UTC).
    public let notBefore: Int
    public let notAfter: Int
    /// SHA-256 over the SubjectPublicKeyInfo: what one pins (RFC 7469, section 2.4).
    public let subjectPublicKeyInfoSHA256: [UInt8]
    /// SHA-256 over the whole certificate.
    public let fingerprintSHA256: [UInt8]

    /// - Parameter der: the certificate in DER.
    /// - Throws: ``TLSError`` with the code ``TLSError/Code/malformed``.
    public init(der: [UInt8]) throws(TLSError) {
        let leaf = try LeafCertificate(der: der)
        self.commonName = leaf.commonName
        self.alternativeNames = leaf.alternativeNames
        self.notBefore = leaf.notBefore
        self.notAfter = leaf.notAfter
        self.subjectPublicKeyInfoSHA256 = leaf.publicKeyDigest
        self.fingerprintSHA256 = leaf.fingerprint
    }
}
