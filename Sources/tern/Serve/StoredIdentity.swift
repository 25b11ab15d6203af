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
        var found = 0
        for file in files where try Self.exists(file, isSecret: file == files[0]) { found += 1 }
        if found < files.count {
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

    /// - Throws: ``CommandError`` for a file that is there and cannot be trusted.
    private static func exists(_ file: String, isSecret: Bool) throws(CommandError) -> Bool {
        // A link that leads nowhere is there, too.
        let isThere =
            FileManager.default.fileExists(atPath: file)
            || (try? FileManager.default.destinationOfSymbolicLink(atPath: file)) != nil
        if isThere { try NamedFile(file, role: isSecret ? "private key" : "certificate").check(isSecret: isSecret) }
        return isThere
    }

    private static func isWildcard(_ host: String) -> Bool {
        host == "0.0.0.0" || host == "::"
    }

    /// Puts the file in place whole: it never has another mode or half of its bytes under its name.
    private static func write(_ bytes: [UInt8], to file: String, isSecret: Bool) throws(CommandError) {
        let unfinished = file + ".new"
        let files = FileManager.default
        do {
            // Whatever lies there, a link too, makes way for a file of its own.
            try? files.removeItem(atPath: unfinished)
            let mode: mode_t = isSecret ? 0o600 : 0o644
            let descriptor = unsafe open(unfinished, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode)
            guard descriptor >= 0 else {
                throw CommandError(.cannotCreate, "cannot create \(unfinished): \(errorText(errno))")
            }
            let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
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
