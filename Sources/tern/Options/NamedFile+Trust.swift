// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// Whose file it is, and who else can read or change it.
extension NamedFile {
    private struct Status {
        var isRegular: Bool
        var owner: UInt32
        var mode: UInt32

        init(_ status: stat) {
            self.isRegular = status.st_mode & S_IFMT == S_IFREG
            self.owner = UInt32(status.st_uid)
            self.mode = UInt32(status.st_mode) & 0o7777
        }

        /// Root can do everything anyway.
        var isTrusted: Bool { self.owner == geteuid() || self.owner == 0 }
    }

    /// Reads a secret that nobody else could have put there, and that others cannot read. Its group may: that is how secrets are
    /// mounted into containers.
    ///
    /// - Throws: ``CommandError``; the message says what to do.
    func readSecret(atMost limit: Int) throws(CommandError) -> [UInt8] {
        try self.checkLink()
        let descriptor = unsafe open(self.path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else { throw self.unreadable(errno) }
        defer { close(descriptor) }
        try self.checkPrivate(try self.status(of: descriptor), forbidden: 0o004)
        return try self.contents(of: descriptor, atMost: limit)
    }

    /// Looks at a file of a data directory, where no link is followed.
    ///
    /// - Parameter isSecret: whether nobody but its owner may read it.
    func check(isSecret: Bool) throws(CommandError) {
        let descriptor = unsafe open(self.path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC)
        guard descriptor >= 0 else {
            guard errno == ELOOP else { throw self.unreadable(errno) }
            throw self.error("is a symbolic link: none is followed in a data directory")
        }
        defer { close(descriptor) }
        try self.checkPrivate(try self.status(of: descriptor), forbidden: isSecret ? 0o077 : 0)
    }

    /// Whether others can read the file; `false` when that cannot be found out.
    var isReadableByOthers: Bool {
        var status = stat()
        return fileStatus(self.path, &status) == 0 && status.st_mode & 0o004 != 0
    }

    /// A link that somebody else made may lead to a file that they know.
    private func checkLink() throws(CommandError) {
        var status = stat()
        guard unsafe lstat(self.path, &status) == 0, status.st_mode & S_IFMT == S_IFLNK else { return }
        guard Status(status).isTrusted else { throw self.error("is a symbolic link of user \(status.st_uid)") }
    }

    private func status(of descriptor: Int32) throws(CommandError) -> Status {
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else { throw self.unreadable(errno) }
        return Status(status)
    }

    private func checkPrivate(_ status: Status, forbidden: UInt32) throws(CommandError) {
        guard status.isRegular else { throw self.error("is not a regular file") }
        guard status.isTrusted else { throw self.error("belongs to user \(status.owner), not to you") }
        let mode = String(status.mode, radix: 8)
        guard status.mode & 0o022 == 0 else {
            throw self.error("can be changed by others (mode \(mode)): chmod go-w it")
        }
        guard status.mode & forbidden == 0 else {
            throw self.error("can be read by others (mode \(mode)): chmod 600 it, and make a new one if others did")
        }
    }

    private func contents(of descriptor: Int32, atMost limit: Int) throws(CommandError) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count <= limit {
            var number: Int32 = 0
            let chunk = unsafe [UInt8](unsafeUninitializedCapacity: 4_096) { space, count in
                let result = unsafe readBytes(descriptor, space.baseAddress, 4_096)
                number = result < 0 ? errno : 0
                count = max(result, 0)
            }
            if number == EINTR { continue }
            guard number == 0 else { throw self.unreadable(number) }
            if chunk.isEmpty { return bytes }
            bytes += chunk
        }
        throw CommandError(.unreadableFile, "the \(self.role) file \(self.path) is larger than \(limit) bytes")
    }

    private func unreadable(_ number: Int32) -> CommandError {
        CommandError(.unreadableFile, "cannot read the \(self.role) file \(self.path): \(errorText(number))")
    }

    private func error(_ what: String) -> CommandError {
        CommandError(.configuration, "the \(self.role) file \(self.path) \(what)")
    }
}

/// The name `read` is taken inside ``NamedFile``.
private func readBytes(_ descriptor: Int32, _ space: UnsafeMutableRawPointer?, _ count: Int) -> Int {
    unsafe read(descriptor, space, count)
}

/// The name `stat` is that of a function and of a type.
private func fileStatus(_ path: String, _ status: inout stat) -> Int32 {
    unsafe stat(path, &status)
}
