// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#else
internal import Darwin
#endif

/// Keeps a data directory for one opener, of this process or another.
///
/// Two locks: that of the directory itself, which nobody can take away by removing a file; and that of the file `lock`, which says
/// who it is, and is all that there is where directories cannot be locked (NFS). SQLite's own locks are no help: it drops them
/// when any descriptor of the database is closed.
final class DirectoryLock: Sendable {
    /// Empty when they were given back.
    private let descriptors: Mutex<[Int32]>

    /// - Parameters:
    ///   - directory: an open descriptor of the directory, which is closed with the lock, or if there is none.
    ///   - file: opens the file that says who has the lock.
    init(
        directory: Int32, path: String, file: () throws(StoreError) -> Int32
    ) throws(StoreError) {
        var held = [directory]
        do throws(StoreError) {
            let holdsDirectory = try Self.lock(directory) { Self.inUse(path, holder: try? file()) }
            let descriptor = try file()
            held.append(descriptor)
            let holdsFile = try Self.lock(descriptor) { Self.inUse(path, holder: dup(descriptor)) }
            guard holdsDirectory || holdsFile else {
                throw StoreError(.unusable, message: "the file system of the data directory \(path) has no locks")
            }
            Self.sign(descriptor)
        } catch {
            for descriptor in held { Self.giveBack(descriptor) }
            throw error
        }
        self.descriptors = Mutex(held)
    }

    deinit {
        self.unlock()
    }

    func unlock() {
        self.descriptors.withLock { descriptors in
            for descriptor in descriptors { Self.giveBack(descriptor) }
            descriptors = []
        }
    }

    /// Closing alone is not enough: a process that is being started has the descriptor, too, until its program runs.
    private static func giveBack(_ descriptor: Int32) {
        _ = flock(descriptor, LOCK_UN)
        close(descriptor)
    }

    /// - Returns: `false` where such files cannot be locked.
    /// - Throws: what `taken` says, when somebody else has it.
    private static func lock(_ descriptor: Int32, taken: () -> StoreError) throws(StoreError) -> Bool {
        guard flock(descriptor, LOCK_EX | LOCK_NB) != 0 else { return true }
        guard errno == EWOULDBLOCK else { return false }
        throw taken()
    }

    private static func inUse(_ path: String, holder: Int32?) -> StoreError {
        var who = "another process"
        if let holder, holder >= 0 {
            defer { close(holder) }
            let text = FileBytes.first(32, of: holder).map { String(decoding: $0, as: UTF8.self) }
            // What is in a file of several names may be of another directory.
            if FileStatus(of: holder)?.names == 1, let number = text.flatMap({ Int($0) }) { who = "process \(number)" }
        }
        return StoreError(.inUse, message: "the data directory \(path) is in use by \(who)")
    }

    /// Who holds the lock is a courtesy to whoever does not get it: a full disk must not keep the store shut.
    private static func sign(_ descriptor: Int32) {
        // Under another name it may be a file that means something.
        guard FileStatus(of: descriptor)?.names == 1 else { return }
        let pid = Array("\(getpid())".utf8)
        _ = ftruncate(descriptor, 0)
        _ = pid.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, 0) }
    }
}

enum FileBytes {
    /// At most so many of the file's first bytes; `nil` with `errno` when it cannot be read.
    static func first(_ limit: Int, of descriptor: Int32) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: limit)
        let count = bytes.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, limit, 0) }
        return count < 0 ? nil : Array(bytes.prefix(count))
    }
}
