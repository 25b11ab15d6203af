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
    /// What an operator should know: names that were asked for and are not in a certificate that was made before.
    let warning: String?

    /// Ten years, in hours: nobody renews the certificate of a try.
    private static let lifetimeInHours: Int64 = 10 * 365 * 24

    /// Reads the identity, or makes it when a file of it is missing.
    ///
    /// Whoever calls has the data directory for itself.
    ///
    /// - Parameters:
    ///   - names: under which clients may reach the server.
    ///   - tell: hears what an operator should know of the files.
    /// - Throws: ``CommandError``, `TLSError`.
    static func load(directory: String, names: CertifiedNames, tell: (String) -> Void) throws -> StoredIdentity {
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
            let missing = names.missing(in: certificatePEM).map(\.text).joined(separator: ", ")
            return StoredIdentity(
                identity: identity, certificateAuthorityFile: authority.path,
                warning: missing.isEmpty
                    ? nil
                    : "the certificate in \(directory) does not have \(missing): clients cannot believe the server under that name. "
                        + "Remove key.pem, certificate.pem and ca.pem there to have another one made, and give clients its ca.pem"
            )
        }
        let made = try TLSIdentity.selfSigned(
            for: names.all.map(\.text), validFor: .hours(Self.lifetimeInHours))
        // The key first: the other files count only with it.
        try key.keep(made.keyPEM, isSecret: true)
        try certificate.keep(made.certificatePEM, isSecret: false)
        try authority.keep(made.certificateAuthorityPEM, isSecret: false)
        return StoredIdentity(
            identity: try TLSIdentity(certificatePEM: made.certificatePEM, keyPEM: made.keyPEM),
            certificateAuthorityFile: authority.path, warning: nil)
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
