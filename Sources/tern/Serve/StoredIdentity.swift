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

    /// Reads the identity, or makes it when its key or its certificate is missing.
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
        guard let keyPEM = found.key, let certificatePEM = found.certificate else {
            return try Self.make(names, key: key, certificate: certificate, authority: authority)
        }
        let identity = try TLSIdentity(certificatePEM: certificatePEM, certificate, keyPEM: keyPEM, key)
        if let authorityPEM = found.authority {
            guard let issuer = Self.certificates(in: certificatePEM).last,
                Self.certificates(in: authorityPEM).contains(issuer)
            else {
                throw authority.error(
                    "is not that of the certificate in \(certificate.path): clients that take it cannot believe the server. Remove it: "
                        + "it is made again from the certificate's chain")
            }
        } else if let issuer = Self.certificates(in: certificatePEM).last {
            // The chain ends with it; clients that have it go on believing the server.
            try authority.keep(Array("\(Self.header)\n\(Self.wrapped(issuer))\n\(Self.footer)\n".utf8), isSecret: false)
        }
        let missing = names.missing(in: certificatePEM).map(\.text).joined(separator: ", ")
        return StoredIdentity(
            identity: identity, certificateAuthorityFile: authority.path,
            warning: missing.isEmpty
                ? nil
                : "the certificate in \(directory) does not have \(missing): clients cannot believe the server under that name. "
                    + "Remove key.pem, certificate.pem and ca.pem there to have another one made, and give clients its ca.pem"
        )
    }

    /// - Throws: ``CommandError``, `TLSError`.
    private static func make(
        _ names: CertifiedNames, key: NamedFile, certificate: NamedFile, authority: NamedFile
    ) throws -> StoredIdentity {
        let made = try TLSIdentity.selfSigned(
            for: names.all.map(\.text), validFor: .hours(Self.lifetimeInHours))
        // Wherever this is stopped, no file of an identity before stands beside one of this: a key without its certificate counts
        // for nothing, and what is missing of the rest can be made from the certificate.
        try authority.removeKept()
        try certificate.removeKept()
        try key.keep(made.keyPEM, isSecret: true)
        try certificate.keep(made.certificatePEM, isSecret: false)
        try authority.keep(made.certificateAuthorityPEM, isSecret: false)
        return StoredIdentity(
            identity: try TLSIdentity(certificatePEM: made.certificatePEM, keyPEM: made.keyPEM),
            certificateAuthorityFile: authority.path, warning: nil)
    }

    private static let header = "-----BEGIN CERTIFICATE-----"
    private static let footer = "-----END CERTIFICATE-----"

    /// What stands between the lines of each certificate, without white space (RFC 7468, section 2).
    private static func certificates(in pem: [UInt8]) -> [String] {
        String(decoding: pem, as: UTF8.self).split(separator: Self.header).compactMap { part in
            guard let end = part.firstRange(of: Self.footer) else { return nil }
            return String(part[..<end.lowerBound].filter { !$0.isWhitespace })
        }
    }

    /// In lines of 64 characters (RFC 7468, section 2).
    private static func wrapped(_ base64: String) -> String {
        let characters = Array(base64)
        return stride(from: 0, to: characters.count, by: 64).map {
            String(characters[$0..<min($0 + 64, characters.count)])
        }.joined(separator: "\n")
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
