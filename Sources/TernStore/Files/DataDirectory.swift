// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Logging

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#else
internal import Darwin
#endif

/// The directory that holds a store, locked for this process.
///
/// It knows files and their first bytes; SQLite comes later. The lock is held until ``unlock()``. What is in it is trusted, so it
/// must be this user's or root's, and writable by nobody else (``FileStatus``).
final class DataDirectory: Sendable {
    let path: String
    private let lock: DirectoryLock
    private let notes: Notes

    var database: String { self.path + "/messages.sqlite" }
    /// Where a new database grows until it is complete.
    var unfinishedDatabase: String { self.path + "/messages.sqlite.new" }
    /// Put there by whoever brought back a copy of the data; removed when every channel has a new epoch.
    var restoredMarker: String { self.path + "/restored" }
    private var stampPath: String { self.path + "/stamp" }

    /// Creates the directory if it is missing, and locks it.
    ///
    /// - Throws: ``StoreError/Code/unusable``, ``StoreError/Code/inUse``.
    init(path: String, logger: Logger) throws(StoreError) {
        let path = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
        self.path = path
        try Self.makeDirectory(path)
        let directory = try Self.openDirectory(path, logger)
        let notes = Notes(logger: logger, level: directory.wasOpen ? .info : .warning)
        self.notes = notes
        self.lock = try DirectoryLock(directory: directory.descriptor, path: path) {
            () throws(StoreError) in
            try Self.openFile(
                path + "/lock", O_RDWR | O_CREAT, to: "write to the data directory: cannot open", notes)
        }
    }

    /// Lets others open the directory.
    func unlock() {
        self.lock.unlock()
    }

    // MARK: Opening

    private static func makeDirectory(_ path: String) throws(StoreError) {
        var status = stat()
        if stat(path, &status) == 0 {
            guard status.st_mode & S_IFMT == S_IFDIR else {
                throw StoreError(.unusable, message: "the data directory \(path) is not a directory")
            }
            return
        }
        guard errno == ENOENT else { throw Self.unusable(path, "look at") }
        if let slash = path.lastIndex(of: "/"), slash > path.startIndex {
            try Self.makeDirectory(String(path[..<slash]))
        }
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw Self.unusable(path, "create") }
    }

    /// Refuses a directory that somebody else made or can write: they could put other files in the place of ours, and read or
    /// change what is stored.
    private static func openDirectory(
        _ path: String, _ logger: Logger
    ) throws(StoreError) -> (descriptor: Int32, wasOpen: Bool) {
        let descriptor: Int32
        switch FileStatus.open(path, O_RDONLY | O_DIRECTORY) {
        case .descriptor(let opened): descriptor = opened
        case .foreignLink(_, let owner):
            let message = "the data directory \(path) is a symbolic link of user \(owner); name its target"
            throw StoreError(.unusable, message: message)
        case .failed(let number): throw Self.unusable(path, "open", number)
        }
        let notes = Notes(logger: logger, level: .warning)
        return (descriptor, try Self.check(descriptor, as: .directory, "the data directory \(path)", notes))
    }

    /// Who is told what was done to files. Where the directory was open to its group, as after a mount, all files are, and are
    /// not warned of one by one.
    private struct Notes: Sendable {
        let logger: Logger
        let level: Logger.Level
    }

    /// Closes what is refused.
    ///
    /// - Returns: whether something was to be told.
    @discardableResult
    private static func check(
        _ descriptor: Int32, as role: FileStatus.Role, _ name: String, _ notes: Notes
    ) throws(StoreError) -> Bool {
        switch FileStatus.judge(descriptor, as: role) {
        case .usable(let note):
            if let note { notes.logger.log(level: notes.level, "\(name) \(note)") }
            return note != nil
        case .refused(let reason):
            close(descriptor)
            throw StoreError(.unusable, message: "\(name) \(reason)")
        }
    }

    /// Opens a file in the directory. No link leads out of it, by whichever way it came there.
    private static func openFile(
        _ file: String, _ flags: Int32, to verb: String, _ notes: Notes
    ) throws(StoreError) -> Int32 {
        let descriptor = open(file, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            guard errno == ELOOP else { throw Self.unusable(file, verb) }
            throw StoreError(.unusable, message: "\(file) is a symbolic link: none is followed in a data directory")
        }
        try Self.check(descriptor, as: .kept, file, notes)
        return descriptor
    }

    /// Looks at what SQLite will open by its name.
    func checkDatabaseFiles() throws(StoreError) {
        for suffix in ["-wal", "-shm", "-journal"] where try self.exists(self.database + suffix) {
            close(try Self.openFile(self.database + suffix, O_RDONLY, to: "read", self.notes))
        }
        guard let names = FileStatus(at: self.database)?.names, names > 1 else { return }
        self.notes.logger.warning(
            """
            \(self.database) has \(names) names (hard links): what was copied that way is no copy, and changes with it. Never \
            run a server on it
            """)
    }

    static func unusable(_ path: String, _ verb: String, _ code: Int32 = errno) -> StoreError {
        StoreError(.unusable, message: "cannot \(verb) \(path): \(systemText(code))")
    }

    // MARK: Files

    func exists(_ path: String) throws(StoreError) -> Bool {
        var status = stat()
        if lstat(path, &status) == 0 { return true }
        guard errno == ENOENT else { throw Self.unusable(path, "look at") }
        return false
    }

    func remove(_ path: String) throws(StoreError) {
        guard unlink(path) == 0 || errno == ENOENT else { throw Self.unusable(path, "remove") }
    }

    func makePrivate(_ path: String) throws(StoreError) {
        guard chmod(path, 0o600) == 0 else { throw Self.unusable(path, "protect") }
    }

    /// Moves a file into place so that a loss of power leaves either name whole.
    func rename(_ source: String, to target: String) throws(StoreError) {
        guard Self.systemRename(source, target) == 0 else { throw Self.unusable(target, "create") }
        let directory = open(self.path, O_RDONLY | O_CLOEXEC)
        guard directory >= 0 else { throw Self.unusable(self.path, "open") }
        defer { close(directory) }
        guard Self.sync(directory) == 0 else { throw Self.unusable(self.path, "sync") }
    }

    /// To the medium. On Darwin fsync stops at the cache of the drive.
    private static func sync(_ descriptor: Int32) -> Int32 {
        #if canImport(Darwin)
        // Not every file system there knows it.
        if fcntl(descriptor, F_FULLFSYNC) == 0 { return 0 }
        #endif
        return fsync(descriptor)
    }

    private static func systemRename(_ source: String, _ target: String) -> Int32 {
        #if canImport(Glibc)
        Glibc.rename(source, target)
        #elseif canImport(Musl)
        Musl.rename(source, target)
        #else
        Darwin.rename(source, target)
        #endif
    }

    /// Looks at the first bytes of the database, so that a file of another version or kind is refused before SQLite touches it.
    ///
    /// The header of the file is never older than the layout: it is written before the file gets its name, and with each migration.
    ///
    /// - Returns: the version of the layout.
    func checkHeader() throws(StoreError) -> UInt32 {
        let descriptor = try Self.openFile(self.database, O_RDWR, to: "write to", self.notes)
        defer { close(descriptor) }
        guard let header = FileBytes.first(100, of: descriptor) else { throw Self.unusable(self.database, "read") }
        guard header.count == 100, header.starts(with: "SQLite format 3\0".utf8) else {
            throw StoreError(.notADatabase, message: "\(self.database) is not a database of Tern")
        }
        let (version, application) = (Self.word(header, at: 60), Self.word(header, at: 68))
        guard application == Schema.applicationID else {
            throw StoreError(.notADatabase, message: "\(self.database) is the database of another program")
        }
        guard (Schema.oldestVersion...Schema.version).contains(version) else {
            throw Self.otherVersion(self.database, version)
        }
        return version
    }

    static func otherVersion(_ database: String, _ version: UInt32) -> StoreError {
        let known = "\(Schema.oldestVersion) to \(Schema.version)"
        return StoreError(
            .otherVersion, message: "\(database) has the data version \(version); this program reads versions \(known)")
    }

    private static func word(_ bytes: [UInt8], at offset: Int) -> UInt32 {
        bytes[offset..<offset + 4].reduce(0) { $0 << 8 | UInt32($1) }
    }

    // MARK: The stamp

    /// What this directory knows of its database from outside, so that an older copy in its place is noticed.
    struct Stamp: Equatable {
        /// The generations that the database may have: one, or two while it moves on to the next.
        var generations: [UInt64]
        /// The database had at least so many messages.
        var messages: UInt64
    }

    func readStamp() throws(StoreError) -> Stamp? {
        guard try self.exists(self.stampPath) else { return nil }
        let descriptor = try Self.openFile(self.stampPath, O_RDONLY, to: "read", self.notes)
        defer { close(descriptor) }
        let text = String(decoding: FileBytes.first(256, of: descriptor) ?? [], as: UTF8.self)
        let numbers = text.split(separator: " ").compactMap { UInt64($0) }
        guard let messages = numbers.first else { return nil }
        return Stamp(generations: Array(numbers.dropFirst()), messages: messages)
    }

    func write(_ stamp: Stamp) throws(StoreError) {
        let bytes = Array(([stamp.messages] + stamp.generations).map { "\($0)" }.joined(separator: " ").utf8)
        let fresh = self.stampPath + ".new"
        try self.remove(fresh)
        let descriptor = try Self.openFile(fresh, O_WRONLY | O_CREAT | O_EXCL, to: "write", self.notes)
        let isWritten = bytes.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, 0) } == bytes.count
        let isSynced = isWritten && Self.sync(descriptor) == 0
        let code = errno
        close(descriptor)
        guard isSynced else {
            throw StoreError(.readOnly, message: "cannot write \(fresh): \(systemText(code))")
        }
        try self.rename(fresh, to: self.stampPath)
    }
}
