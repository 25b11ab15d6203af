// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import Tern

/// The identity that a server with `--self-signed` made for itself, in the data directory: made once, so that clients keep
/// trusting it after a restart.
struct StoredIdentity {
    let identity: TLSIdentity
    /// What clients take as `--ca`.
    let certificateAuthorityFile: String

    /// Ten years, in hours: nobody renews the certificate of a try.
    private static let lifetimeInHours: Int64 = 10 * 365 * 24

    /// Reads the identity, or makes it when a file of it is missing.
    ///
    /// Whoever calls has the data directory for itself.
    ///
    /// - Parameters:
    ///   - host: the name or address that clients use, besides those of this machine itself.
    ///   - tell: hears what an operator should know of the files.
    /// - Throws: ``CommandError``, `TLSError`.
    static func load(directory: String, host: String, tell: (String) -> Void) throws -> StoredIdentity {
        let key = NamedFile("\(directory)/key.pem", role: "private key")
        let certificate = NamedFile("\(directory)/certificate.pem", role: "certificate")
        let authority = NamedFile("\(directory)/ca.pem", role: "CA")
        let found = (
            key: try key.readKept(isSecret: true, tell: tell),
            certificate: try certificate.readKept(isSecret: false, tell: tell),
            authority: try authority.readKept(isSecret: false, tell: tell)
        )
        if let keyPEM = found.key, let certificatePEM = found.certificate, found.authority != nil {
            let identity = try TLSIdentity(certificatePEM: certificatePEM, certificate, keyPEM: keyPEM, key)
            return StoredIdentity(identity: identity, certificateAuthorityFile: authority.path)
        }
        let names = ["localhost", "127.0.0.1", "::1"]
        let made = try TLSIdentity.selfSigned(
            for: names.contains(host) || Self.isWildcard(host) ? names : [host] + names,
            validFor: .hours(Self.lifetimeInHours))
        // The key first: the other files count only with it.
        try key.keep(made.keyPEM, isSecret: true)
        try certificate.keep(made.certificatePEM, isSecret: false)
        try authority.keep(made.certificateAuthorityPEM, isSecret: false)
        return StoredIdentity(
            identity: try TLSIdentity(certificatePEM: made.certificatePEM, keyPEM: made.keyPEM),
            certificateAuthorityFile: authority.path)
    }

    private static func isWildcard(_ host: String) -> Bool {
        host == "0.0.0.0" || host == "::"
    }
}

extension TLSIdentity {
    /// What was read from files, which an error names.
    init(certificatePEM: [UInt8], _ certificate: NamedFile, keyPEM: [UInt8], _ key: NamedFile) throws(CommandError) {
        do {
            try self.init(certificatePEM: certificatePEM, keyPEM: keyPEM)
        } catch {
            throw CommandError(.configuration, "\(error.message) (\(certificate.path), \(key.path))")
        }
    }
}
