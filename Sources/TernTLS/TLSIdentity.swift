// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// A certificate chain with its private key.
///
/// The key stays in memory for as long as a value refers to it and is never part of a description.
public struct TLSIdentity: Sendable {
    let credentials: Credentials

    /// When the certificate begins and ceases to be valid, in seconds since 1970 (UTC).
    public let notBefore: Int
    public let notAfter: Int
    /// SHA-256 over the certificate's SubjectPublicKeyInfo: what a client pins (RFC 7469, section 2.4).
    public let subjectPublicKeyInfoSHA256: [UInt8]
    /// SHA-256 over the certificate's DER.
    let certificateSHA256: [UInt8]

    /// Reads PEM files.
    ///
    /// - Parameters:
    ///   - certificateFile: the certificate, followed by those that signed it.
    ///   - keyFile: the private key of the first certificate, unencrypted.
    /// - Throws: ``TLSError``.
    public init(certificateFile: String, keyFile: String) throws {
        let certificate = try FileBytes.read(certificateFile)
        let key = try FileBytes.read(keyFile)
        do {
            try self.init(certificatePEM: certificate, keyPEM: key)
        } catch {
            throw TLSError(error.code, message: "\(error.message) (\(certificateFile), \(keyFile))")
        }
    }

    /// - Parameters:
    ///   - certificatePEM: the certificate, followed by those that signed it.
    ///   - keyPEM: the private key of the first certificate, unencrypted.
    public init(certificatePEM: [UInt8], keyPEM: [UInt8]) throws(TLSError) {
        self.credentials = try Credentials()
        try self.credentials.use(certificatePEM: certificatePEM, keyPEM: keyPEM)
        let leaf = try LeafCertificate(pem: certificatePEM)
        self.notBefore = leaf.notBefore
        self.notAfter = leaf.notAfter
        self.subjectPublicKeyInfoSHA256 = leaf.publicKeyDigest
        self.certificateSHA256 = leaf.fingerprint
    }

    /// What peers hold against this certificate because of the time, for a log line; `nil` when all is well.
    ///
    /// - Parameter now: seconds since 1970.
    public func warning(at now: Int) -> String? {
        if now < self.notBefore { return "the certificate is valid only in \(self.notBefore - now) seconds" }
        if now > self.notAfter { return "the certificate expired \(now - self.notAfter) seconds ago" }
        return nil
    }
}

extension TLSIdentity: CustomStringConvertible {
    public var description: String { "TLSIdentity" }
}
