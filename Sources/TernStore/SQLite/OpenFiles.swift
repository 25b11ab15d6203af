// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#else
internal import Darwin
#endif

/// The files that a store has open, by what they are and not by their names: to notice that somebody deleted or replaced them.
/// What is written then goes where nobody will ever find it.
///
/// It only looks at names: opening and closing a file of SQLite gives up its locks.
struct OpenFiles {
    private struct Identity: Equatable {
        var device: UInt64
        var number: UInt64
    }

    private let known: [(path: String, identity: Identity)]

    /// To be made when the database is open and has committed something.
    init(of database: String) {
        self.known = [database, database + "-wal"].compactMap { path in
            Self.identity(of: path).map { (path, $0) }
        }
    }

    /// What happened to one of them; `nil` when all are where they were. Two calls of the system.
    var damage: String? {
        for (path, identity) in self.known {
            guard let present = Self.identity(of: path) else {
                return "\(path) was deleted or moved away while it was in use"
            }
            if present != identity { return "another file took the place of \(path) while it was in use" }
        }
        return nil
    }

    private static func identity(of path: String) -> Identity? {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        return Identity(device: UInt64(truncatingIfNeeded: status.st_dev), number: UInt64(status.st_ino))
    }
}
