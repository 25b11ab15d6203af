// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation
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
    /// - Parameter host: the name or address that clients use, besides those of this machine itself.
    /// - Throws: ``CommandError``, `TLSError`.
    static func load(directory: String, host: String) throws -> StoredIdentity {
        let files = ["key.pem", "certificate.pem", "ca.pem"].map { "\(directory)/\($0)" }
        if !files.allSatisfy(FileManager.default.fileExists(atPath:)) {
            let names = ["localhost", "127.0.0.1", "::1"]
            let made = try TLSIdentity.selfSigned(
                for: names.contains(host) || Self.isWildcard(host) ? names : [host] + names,
                validFor: .hours(Self.lifetimeInHours))
            // The key first: the other files count only with it.
            for (file, bytes) in zip(files, [made.keyPEM, made.certificatePEM, made.certificateAuthorityPEM]) {
                try Self.write(bytes, to: file, isSecret: file == files[0])
            }
        }
        return StoredIdentity(
            identity: try TLSIdentity(certificateFile: files[1], keyFile: files[0]), certificateAuthorityFile: files[2])
    }

    private static func isWildcard(_ host: String) -> Bool {
        host == "0.0.0.0" || host == "::"
    }

    /// Puts the file in place whole: it never has another mode or half of its bytes under its name.
    private static func write(_ bytes: [UInt8], to file: String, isSecret: Bool) throws(CommandError) {
        let unfinished = file + ".new"
        let files = FileManager.default
        do {
            if files.fileExists(atPath: unfinished) { try files.removeItem(atPath: unfinished) }
            let mode = isSecret ? 0o600 : 0o644
            let isMade = files.createFile(atPath: unfinished, contents: nil, attributes: [.posixPermissions: mode])
            guard isMade else { throw CommandError(.cannotCreate, "cannot create \(unfinished): \(errorText(errno))") }
            let handle = try FileHandle(forWritingTo: URL(filePath: unfinished))
            try handle.write(contentsOf: Data(bytes))
            try handle.synchronize()
            try handle.close()
            if rename(unfinished, file) != 0 {
                throw CommandError(.cannotCreate, "cannot create \(file): \(errorText(errno))")
            }
        } catch let error as CommandError {
            throw error
        } catch {
            throw CommandError(.cannotCreate, "cannot write \(file): \(NamedFile.reason(of: error))")
        }
    }
}
