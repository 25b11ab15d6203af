// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#else
internal import Darwin
#endif

/// Whose a file is, and who else can read or change it; and the rules by which it is trusted (decision 0044), for all files of a
/// server: those of the data directory and those that a command line names.
package struct FileStatus: Sendable, Hashable {
    package enum Kind: Sendable {
        case regular, directory, symbolicLink, other
    }

    /// What a file is for.
    package enum Role: Sendable, CaseIterable {
        /// The data directory itself.
        case directory
        /// A file of the data directory.
        case kept
        /// A file of the data directory that nobody else may read.
        case keptSecret
        /// A secret that a command line names. It is not ours to change, and may be mounted where nobody can.
        case namedSecret
    }

    package enum Verdict: Sendable, Hashable {
        case trusted
        /// Ours, and more open than it must be: take these permissions.
        case mendable(mode: UInt32)
        /// Usable, but somebody must be told. The texts continue a sentence that begins with the file's name.
        case exposed(String)
        case refused(String)
    }

    package var kind: Kind
    package var owner: UInt32
    /// The permissions, with set-ID and sticky bits.
    package var mode: UInt32
    /// How many names (hard links) the file has.
    package var names: UInt64

    package init(kind: Kind, owner: UInt32, mode: UInt32, names: UInt64 = 1) {
        self.kind = kind
        self.owner = owner
        self.mode = mode
        self.names = names
    }

    /// `nil` with `errno` when it cannot be found out.
    package init?(of descriptor: Int32) {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { return nil }
        self.init(status)
    }

    /// Of a link itself, not of what it leads to. `nil` with `errno` when it cannot be found out.
    package init?(at path: String) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return nil }
        self.init(status)
    }

    private init(_ status: stat) {
        let kind: Kind =
            switch status.st_mode & S_IFMT {
            case S_IFREG: .regular
            case S_IFDIR: .directory
            case S_IFLNK: .symbolicLink
            default: .other
            }
        self.init(
            kind: kind, owner: UInt32(status.st_uid), mode: UInt32(status.st_mode) & 0o7777,
            names: UInt64(status.st_nlink))
    }

    /// The user of this process.
    package static var ourselves: UInt32 { UInt32(geteuid()) }

    /// Root can do everything anyway.
    package func isTrusted(by user: UInt32 = Self.ourselves) -> Bool { self.owner == user || self.owner == 0 }

    package func verdict(for role: Role, user: UInt32 = Self.ourselves) -> Verdict {
        let (wanted, name): (Kind, String) =
            role == .directory ? (.directory, "a directory") : (.regular, "a regular file")
        guard self.kind == wanted else { return .refused("is not \(name)") }
        guard self.isTrusted(by: user) else {
            let advice = role == .directory ? "run as that user, chown it, or name another directory" : "chown it"
            return .refused("belongs to user \(self.owner), and this process runs as user \(user): \(advice)")
        }
        let shown = "(mode \(String(self.mode, radix: 8)))"
        // A group's members may have been let in by the mount (Kubernetes sets these bits at each start); others never are. What
        // is ours needs nobody's help.
        let isMended = role != .namedSecret && self.owner == user
        guard self.mode & (isMended ? 0o002 : 0o022) == 0 else {
            return .refused("can be changed by others \(shown): \(Self.advice(for: role))")
        }
        switch role {
        case .keptSecret where self.mode & 0o004 != 0:
            return .refused("can be read by others \(shown): chmod 600 it, and make a new one if others did")
        case .namedSecret where self.mode & 0o004 != 0:
            return .exposed("can be read by other users of this machine \(shown): chmod 600 it")
        case .directory, .kept, .keptSecret, .namedSecret:
            let closed = self.mode & ~(role == .keptSecret ? 0o070 : 0o020)
            return isMended && closed != self.mode ? .mendable(mode: closed) : .trusted
        }
    }

    private static func advice(for role: Role) -> String {
        switch role {
        case .directory: "\"chmod go-w\" it if all in it is yours, or name another directory, such as one below it"
        case .kept, .keptSecret, .namedSecret: "\"chmod go-w\" it if what is in it is yours"
        }
    }
}

extension FileStatus {
    /// What came of a look at an open file.
    package enum Judgement: Sendable, Hashable {
        /// It may be used. The note, if there is one, continues a sentence that begins with the file's name.
        case usable(note: String?)
        case refused(String)
    }

    /// Judges an open file, and takes from its group what the group must not have, where that is ours to do.
    package static func judge(_ descriptor: Int32, as role: Role) -> Judgement {
        guard let status = FileStatus(of: descriptor) else {
            return .refused("cannot be looked at: \(systemText(errno))")
        }
        switch status.verdict(for: role) {
        case .trusted: return .usable(note: nil)
        case .exposed(let text): return .usable(note: text)
        case .refused(let text): return .refused(text)
        case .mendable(let mode):
            let modes = "from mode \(String(status.mode, radix: 8)) to \(String(mode, radix: 8))"
            guard fchmod(descriptor, mode_t(mode)) == 0 else {
                return .refused("was open to its group and cannot be closed \(modes): \(systemText(errno))")
            }
            return .usable(note: "was open to its group: closed, \(modes)")
        }
    }
}

extension FileStatus {
    package enum Opened: Sendable, Hashable {
        case descriptor(Int32)
        /// A symbolic link of a user who is not trusted stands in the way.
        case foreignLink(String, owner: UInt32)
        /// With the system's number.
        case failed(Int32)
    }

    /// As many links lead to a file at most, as with the kernel.
    private static let mostLinks = 40

    /// Opens a file, over trusted links only: whoever makes a link chooses what is opened.
    ///
    /// A name may mean something else at each look. So nothing is opened through a link by its name: the link itself is opened, and
    /// where it leads is read from what was opened and judged.
    package static func open(_ path: String, _ flags: Int32) -> Opened {
        var path = path
        for _ in 0...Self.mostLinks {
            // With a slash behind it a link is followed.
            while path.count > 1, path.hasSuffix("/") { path.removeLast() }
            let descriptor = openFile(path, flags | O_NOFOLLOW | O_CLOEXEC)
            if descriptor >= 0 { return .descriptor(descriptor) }
            // A link is no directory either.
            guard [ELOOP, ENOTDIR, EMLINK].contains(errno) else { return .failed(errno) }
            let number = errno
            switch Self.readLink(path) {
            case .leads(let target):
                let parent = path.lastIndex(of: "/").map { path[...$0] } ?? ""
                path = target.hasPrefix("/") ? target : parent + target
            case .isOfTheKernel:
                let descriptor = openFile(path, flags | O_CLOEXEC)
                return descriptor >= 0 ? .descriptor(descriptor) : .failed(errno)
            case .isOf(let owner): return .foreignLink(path, owner: owner)
            case .isNone: return .failed(number)
            }
        }
        return .failed(ELOOP)
    }

    private enum Link {
        case leads(to: String)
        /// Of the process file system: it leads to what a process has open, which may have no name, and nobody can put it there.
        case isOfTheKernel
        case isOf(owner: UInt32)
        case isNone
    }

    private static func readLink(_ path: String) -> Link {
        var target = [CChar](repeating: 0, count: Int(PATH_MAX))
        #if canImport(Darwin)
        // Without a descriptor of the link: looked at again behind the reading.
        var (before, after) = (stat(), stat())
        guard lstat(path, &before) == 0, before.st_mode & S_IFMT == S_IFLNK else { return .isNone }
        let status = FileStatus(before)
        let count = readlink(path, &target, target.count)
        guard lstat(path, &after) == 0, after.st_ino == before.st_ino, after.st_dev == before.st_dev else {
            return .isNone
        }
        #else
        let link = openFile(path, Self.ofTheNameItself | O_NOFOLLOW | O_CLOEXEC)
        guard link >= 0 else { return .isNone }
        defer { close(link) }
        var (found, processes) = (stat(), stat())
        guard fstat(link, &found) == 0, found.st_mode & S_IFMT == S_IFLNK else { return .isNone }
        if stat("/proc/self/fd", &processes) == 0, processes.st_dev == found.st_dev { return .isOfTheKernel }
        let status = FileStatus(found)
        let count = readlinkat(link, "", &target, target.count)
        #endif
        guard status.isTrusted() else { return .isOf(owner: status.owner) }
        guard count > 0 else { return .isNone }
        return .leads(to: String(decoding: target.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }

    #if !canImport(Darwin)
    /// O_PATH (open(2)), which the libraries' modules do not show.
    private static let ofTheNameItself: Int32 = 0o10_000_000
    #endif
}

/// The name `open` is taken inside ``FileStatus``.
private func openFile(_ path: String, _ flags: Int32) -> Int32 { open(path, flags) }

/// What the system says about an error number.
func systemText(_ number: Int32) -> String { String(cString: strerror(number)) }
