// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// A certificate chain with its private key.
///
/// The key stays in memory for as long as a value refers to it and is never part of a description.
public struct TLSIdentity: Sendable {
    let credentials: Credentials

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
    }
}

extension TLSIdentity: CustomStringConvertible {
    public var description: String { "TLSIdentity" }
}
