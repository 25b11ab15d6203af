// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import TernStore

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// Whose file it is, and who else can read or change it: the rules are those of `FileStatus`.
extension NamedFile {
    /// Reads a secret that nobody else could have put there or changed.
    ///
    /// - Parameter tell: hears, once, that others can read it: secrets that are mounted into containers often are so, and cannot be
    ///   changed there.
    /// - Throws: ``CommandError``; the message says what to do.
    func readSecret(atMost limit: Int = 1 << 20, tell: (String) -> Void) throws(CommandError) -> [UInt8] {
        let descriptor: Int32
        switch FileStatus.open(self.path, O_RDONLY | O_NONBLOCK) {
        case .descriptor(let opened): descriptor = opened
        // A link that somebody else made may lead to a file that they know.
        case .foreignLink(_, let owner): throw self.error("is a symbolic link of user \(owner)")
        case .failed(let number): throw self.unreadable(number)
        }
        defer { close(descriptor) }
        try self.judge(descriptor, as: .namedSecret, tell: tell)
        return try self.contents(of: descriptor, atMost: limit)
    }

    /// Reads a file of a data directory, where no link is followed; `nil` when there is none.
    ///
    /// - Parameters:
    ///   - isSecret: whether nobody but its owner may read it.
    ///   - tell: hears, once, that it was open to its group, and is not any more.
    func readKept(
        isSecret: Bool, atMost limit: Int = 1 << 20, tell: (String) -> Void
    ) throws(CommandError) -> [UInt8]? {
        let descriptor = unsafe open(self.path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC)
        guard descriptor >= 0 else {
            switch errno {
            case ENOENT: return nil
            case ELOOP: throw self.error("is a symbolic link: none is followed in a data directory")
            case let number: throw self.unreadable(number)
            }
        }
        defer { close(descriptor) }
        try self.judge(descriptor, as: isSecret ? .keptSecret : .kept, tell: tell)
        return try self.contents(of: descriptor, atMost: limit)
    }

    private func judge(
        _ descriptor: Int32, as role: FileStatus.Role, tell: (String) -> Void
    ) throws(CommandError) {
        switch FileStatus.judge(descriptor, as: role) {
        case .usable(let note): if let note { tell("\(self.name) \(note)") }
        case .refused(let reason): throw self.error(reason)
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
        throw CommandError(.unreadableFile, "\(self.name) is larger than \(limit) bytes")
    }

    private func unreadable(_ number: Int32) -> CommandError {
        CommandError(.unreadableFile, "cannot read \(self.name): \(errorText(number))")
    }

    /// - Parameter what: goes on after the name.
    func error(_ what: String) -> CommandError {
        CommandError(.configuration, "\(self.name) \(what)")
    }
}

/// The name `read` is taken inside ``NamedFile``.
private func readBytes(_ descriptor: Int32, _ space: UnsafeMutableRawPointer?, _ count: Int) -> Int {
    unsafe read(descriptor, space, count)
}
