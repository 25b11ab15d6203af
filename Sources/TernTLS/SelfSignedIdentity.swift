// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CGnuTLS
public import NIOCore

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// An identity for development, and the certificate authority that clients must be given to trust it.
public struct SelfSignedIdentity: Sendable {
    public let identity: TLSIdentity
    /// What a client takes as its CA file.
    public let certificateAuthorityPEM: [UInt8]
    /// The server's certificate, followed by that of the authority.
    public let certificatePEM: [UInt8]
    /// The server's private key: keep it secret. The authority's key is thrown away.
    public let keyPEM: [UInt8]
}

extension TLSIdentity {
    /// Makes a new key, a certificate for `names`, and an authority of its own that signs it (ECDSA P-256).
    ///
    /// - Parameters:
    ///   - names: DNS names and IP addresses of the server.
    ///   - validFor: from an hour before `now`, for clocks that are behind.
    ///   - now: the time, or `nil` for that of the system clock; seconds since 1970.
    /// - Throws: ``TLSError``.
    public static func selfSigned(
        for names: [String] = ["localhost", "127.0.0.1", "::1"], validFor: TimeAmount = .hours(24 * 365),
        now: Int? = nil
    ) throws(TLSError) -> SelfSignedIdentity {
        try self.selfSigned(for: names, validFor: validFor, now: now, purpose: .server)
    }

    /// Makes an identity by which a client shows who it is (mutual TLS), and an authority of its own that signs it.
    ///
    /// The server takes ``SelfSignedIdentity/certificateAuthorityPEM`` as the trust of its ``TLSClientAuthentication``.
    ///
    /// - Parameters:
    ///   - name: the client's name, which the server finds in ``TLSCertificate/commonName``; at most 64 characters of it.
    ///   - validFor: from an hour before `now`, for clocks that are behind.
    ///   - now: the time, or `nil` for that of the system clock; seconds since 1970.
    /// - Throws: ``TLSError``.
    public static func selfSigned(
        client name: String, validFor: TimeAmount = .hours(24 * 365), now: Int? = nil
    ) throws(TLSError) -> SelfSignedIdentity {
        try self.selfSigned(for: [name], validFor: validFor, now: now, purpose: .client)
    }

    static func selfSigned(
        for names: [String], validFor: TimeAmount, now: Int?, purpose: CertificatePurpose
    ) throws(TLSError) -> SelfSignedIdentity {
        let start = (now ?? time(nil)) - 3600
        let validity = start..<(start + 3600 + Int(validFor.nanoseconds / 1_000_000_000))
        let authorityKey = try PrivateKey()
        let authority = try Certificate(commonName: "Tern development authority", key: authorityKey, validity: validity)
        try authority.makeAuthority()
        try authority.sign(by: authority, key: authorityKey)
        let key = try PrivateKey()
        let certificate = try Certificate(commonName: names.first ?? "localhost", key: key, validity: validity)
        // A client's name is no host.
        try certificate.makeLeaf(names: purpose == .server ? names : [], purpose: purpose)
        try certificate.sign(by: authority, key: authorityKey)
        let authorityPEM = try authority.pem()
        let chain = try certificate.pem() + authorityPEM
        let keyPEM = try key.pem()
        return SelfSignedIdentity(
            identity: try TLSIdentity(certificatePEM: chain, keyPEM: keyPEM), certificateAuthorityPEM: authorityPEM,
            certificatePEM: chain, keyPEM: keyPEM)
    }
}
