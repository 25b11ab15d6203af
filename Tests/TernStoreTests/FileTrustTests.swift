// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import Logging
import Synchronization
import TernStore
import Testing

private final class Flag: Sendable {
    let isUp = Atomic(false)
}

/// What somebody else made, or can change, is not trusted.
@Suite struct DataDirectoryTrustTests {
    private func setMode(_ mode: Int, of path: String) throws {
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
    }

    @Test(arguments: [0o777, 0o1777, 0o702, 0o722, 0o2772])
    func refusesADirectoryThatOthersCanWrite(mode: Int) async throws {
        try await withTemporaryDirectory { parent in
            let directory = parent + "/data"
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
            try self.setMode(mode, of: directory)
            let error = await storeError(.unusable) { try SQLiteMessageStore(directory: directory, logger: .silent) }
            let message = error?.message ?? ""
            #expect(message.contains(directory) && message.contains("chmod"), "\(message)")
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory).isEmpty)
            try self.setMode(0o755, of: directory)
            try await withStore(in: directory) { #expect($0.status == .writable) }
        }
    }

    @Test(.enabled(if: geteuid() == 0, "giving a file to another user needs root"))
    func refusesADirectoryOfSomebodyElse() async throws {
        try await withTemporaryDirectory { parent in
            let directory = parent + "/data"
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
            #expect(chown(directory, 12_345, 12_345) == 0)
            let error = await storeError(.unusable) { try SQLiteMessageStore(directory: directory, logger: .silent) }
            let message = error?.message ?? ""
            #expect(message.contains("12345") && message.contains("chown"), "\(message)")
        }
    }

    #if os(Linux)
    /// Two names change places at once: renameat2(2) with RENAME_EXCHANGE, which the library's module does not show.
    private static var exchange: (@Sendable (String, String) -> Void)? {
        typealias Rename =
            @convention(c) @Sendable (Int32, UnsafePointer<CChar>, Int32, UnsafePointer<CChar>, UInt32) -> Int32
        guard let function = dlsym(nil, "renameat2") else { return nil }
        let rename = unsafeBitCast(function, to: Rename.self)
        return { _ = rename(AT_FDCWD, $0, AT_FDCWD, $1, 2) }
    }

    /// What was looked at is what is opened, however fast somebody else changes what the name means.
    @Test(.enabled(if: geteuid() == 0, "giving files to another user needs root"))
    func whatIsJudgedIsWhatIsOpened() async throws {
        try await withTemporaryDirectory { parent in
            let (name, other, ours) = (parent + "/data", parent + "/other", parent + "/ours")
            try FileManager.default.createDirectory(atPath: name, withIntermediateDirectories: false)
            #expect(chown(name, 12_345, 12_345) == 0)
            try FileManager.default.createDirectory(atPath: ours, withIntermediateDirectories: false)
            try FileManager.default.createSymbolicLink(atPath: other, withDestinationPath: ours)
            #expect(lchown(other, 12_345, 12_345) == 0)
            let isOver = Flag()
            let exchange = try #require(Self.exchange)
            let flipping = Thread {
                while !isOver.isUp.load(ordering: .relaxed) { exchange(name, other) }
            }
            flipping.start()
            defer { isOver.isUp.store(true, ordering: .relaxed) }
            for _ in 0..<300 {
                _ = await storeError(.unusable) { try SQLiteMessageStore(directory: name, logger: .silent) }
            }
            #expect(try FileManager.default.contentsOfDirectory(atPath: ours).isEmpty)
        }
    }
    #endif

    @Test(arguments: ["lock", "messages.sqlite", "stamp"])
    func doesNotFollowALinkThatWasPlantedInIt(name: String) async throws {
        try await withTemporaryDirectory { parent in
            let (directory, victim) = (parent + "/data", parent + "/victim")
            try await withStore(in: directory) { _ = try await $0.registerUser(named: "alice") }
            let precious = Data(repeating: 7, count: 5_000)
            try precious.write(to: URL(fileURLWithPath: victim))
            try? FileManager.default.removeItem(atPath: directory + "/" + name)
            try FileManager.default.createSymbolicLink(atPath: directory + "/" + name, withDestinationPath: victim)
            let error = await storeError(.unusable) { try SQLiteMessageStore(directory: directory, logger: .silent) }
            #expect(error?.message.contains(directory + "/" + name) == true, "\(error?.message ?? "")")
            #expect(FileManager.default.contents(atPath: victim) == precious)
        }
    }

    @Test func doesNotWriteThroughALinkInThePlaceOfAFreshFile() async throws {
        try await withTemporaryDirectory { parent in
            let (directory, victim) = (parent + "/data", parent + "/victim")
            try await withStore(in: directory) { _ = try await $0.registerUser(named: "alice") }
            let precious = Data(repeating: 7, count: 5_000)
            try precious.write(to: URL(fileURLWithPath: victim))
            for name in ["stamp.new", "messages.sqlite.new"] {
                try FileManager.default.createSymbolicLink(
                    atPath: directory + "/" + name, withDestinationPath: victim)
            }
            try await withStore(in: directory) { #expect($0.status == .writable) }
            #expect(FileManager.default.contents(atPath: victim) == precious)
        }
    }

    /// Volumes of Kubernetes are mounted so, at each start (fsGroup).
    @Test(arguments: [(0o770, 0o750), (0o2770, 0o2750), (0o720, 0o700)])
    func closesADirectoryOfItsOwnThatItsGroupCanWrite(mode: Int, closed: Int) async throws {
        try await withTemporaryDirectory { parent in
            let directory = parent + "/data"
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
            try #require(chmod(directory, mode_t(mode)) == 0)
            let log = RecordedLog()
            for run in 0..<3 {
                // The second time with files, which a mount opens with the directory.
                if run == 1 {
                    for name in ["lock", "stamp", "messages.sqlite"] {
                        try self.setMode(0o660, of: directory + "/" + name)
                    }
                    try #require(chmod(directory, mode_t(mode)) == 0)
                }
                let store = try SQLiteMessageStore(directory: directory, logger: log.logger)
                await store.close()
            }
            #expect(FileStatus(at: directory)?.mode == UInt32(closed))
            // Its files are not warned of, too.
            #expect(log.warnings.count == 2, "\(log.warnings)")
            let said = log.lines.filter { $0.contains(directory) && $0.contains("group") }
            #expect(said.count == 5, "once each, and not when there is nothing to be done: \(log.lines)")
        }
    }

    @Test(arguments: ["messages.sqlite", "messages.sqlite-wal", "messages.sqlite-shm", "lock", "stamp"])
    func closesItsFilesToTheirGroupAndRefusesWhatAllCanWrite(name: String) async throws {
        try await withTemporaryDirectory { directory in
            try await withStore(in: directory) { _ = try await $0.registerUser(named: "alice") }
            let file = directory + "/" + name
            // After a clean end there is no log, and SQLite takes an empty one for none.
            if !FileManager.default.fileExists(atPath: file) { try Data().write(to: URL(fileURLWithPath: file)) }
            try self.setMode(0o666, of: file)
            let error = await storeError(.unusable) { try SQLiteMessageStore(directory: directory, logger: .silent) }
            let message = error?.message ?? ""
            #expect(message.contains(file) && message.contains("666") && message.contains("chmod"), "\(message)")
            try self.setMode(0o660, of: file)
            let log = RecordedLog()
            let store = try SQLiteMessageStore(directory: directory, logger: log.logger)
            await store.close()
            #expect(log.lines.contains { $0.contains(file) && $0.contains("660") }, "\(log.lines)")
            if let status = FileStatus(at: file) { #expect(status.mode & 0o022 == 0) }
        }
    }

    @Test(arguments: ["-wal", "-shm", "-journal"])
    func doesNotLetSQLiteFollowALink(suffix: String) async throws {
        try await withTemporaryDirectory { parent in
            let (directory, victim) = (parent + "/data", parent + "/victim")
            try await withStore(in: directory) { _ = try await $0.registerUser(named: "alice") }
            try Data("precious".utf8).write(to: URL(fileURLWithPath: victim))
            let file = directory + "/messages.sqlite" + suffix
            try FileManager.default.createSymbolicLink(atPath: file, withDestinationPath: victim)
            let error = await storeError(.unusable) { try SQLiteMessageStore(directory: directory, logger: .silent) }
            #expect(error?.message.contains(file) == true, "\(error?.message ?? "")")
            #expect(FileManager.default.contents(atPath: victim) == Data("precious".utf8))
        }
    }

    /// As "cp -al" and snapshots on one file system make them.
    @Test func startsWhereItsFilesHaveOtherNamesAndSaysSo() async throws {
        try await withTemporaryDirectory { parent in
            let (directory, copy) = (parent + "/data", parent + "/copy")
            try await withStore(in: directory) { _ = try await $0.registerUser(named: "alice") }
            try FileManager.default.createDirectory(atPath: copy, withIntermediateDirectories: false)
            for name in try FileManager.default.contentsOfDirectory(atPath: directory) {
                try FileManager.default.linkItem(atPath: directory + "/" + name, toPath: copy + "/" + name)
            }
            let log = RecordedLog()
            let store = try SQLiteMessageStore(directory: directory, logger: log.logger)
            #expect(log.lines.contains { $0.contains("messages.sqlite has 2 names (hard links)") }, "\(log.lines)")
            // It is one database: two servers must not have it by its two names.
            await storeError(.inUse) { try SQLiteMessageStore(directory: copy, logger: .silent) }
            await store.close()
        }
    }

    @Test func doesNotTruncateAFileThatHasAnotherName() async throws {
        try await withTemporaryDirectory { parent in
            let (directory, victim) = (parent + "/data", parent + "/victim")
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
            try self.setMode(0o700, of: directory)
            let precious = Data(repeating: 7, count: 5_000)
            try precious.write(to: URL(fileURLWithPath: victim))
            try FileManager.default.linkItem(atPath: victim, toPath: directory + "/lock")
            try await withStore(in: directory) { #expect($0.status == .writable) }
            #expect(FileManager.default.contents(atPath: victim) == precious)
        }
    }
}

/// The rules by themselves.
@Suite struct FileStatusTests {
    typealias Verdict = FileStatus.Verdict

    private func verdict(
        _ role: FileStatus.Role, _ mode: UInt32, owner: UInt32 = 5, user: UInt32 = 5
    ) -> Verdict {
        FileStatus(kind: role == .directory ? .directory : .regular, owner: owner, mode: mode)
            .verdict(for: role, user: user)
    }

    private func isRefused(_ verdict: Verdict) -> Bool {
        if case .refused = verdict { true } else { false }
    }

    @Test(arguments: FileStatus.Role.allCases) func everybodyMayWriteIsRefused(role: FileStatus.Role) {
        for mode: UInt32 in [0o602, 0o666, 0o777, 0o1777] {
            #expect(self.isRefused(self.verdict(role, mode)))
            #expect(self.isRefused(self.verdict(role, mode, owner: 0)))
        }
    }

    @Test(arguments: FileStatus.Role.allCases) func strangersAreRefused(role: FileStatus.Role) {
        #expect(self.isRefused(self.verdict(role, 0o600, owner: 6)))
        #expect(self.isRefused(self.verdict(role, 0o600, owner: 6, user: 0)), "root's process, another's file")
        #expect(self.verdict(role, 0o600, owner: 0) == .trusted)
        #expect(self.verdict(role, 0o700) == .trusted)
    }

    @Test func whatIsOursIsClosedToItsGroup() {
        #expect(self.verdict(.directory, 0o2770) == .mendable(mode: 0o2750))
        #expect(self.verdict(.kept, 0o660) == .mendable(mode: 0o640))
        #expect(self.verdict(.kept, 0o644) == .trusted)
        #expect(self.verdict(.keptSecret, 0o660) == .mendable(mode: 0o600))
        #expect(self.verdict(.keptSecret, 0o640) == .mendable(mode: 0o600))
        #expect(self.isRefused(self.verdict(.keptSecret, 0o644)))
        // Root's is not ours to change.
        #expect(self.isRefused(self.verdict(.directory, 0o2770, owner: 0)))
        #expect(self.verdict(.keptSecret, 0o640, owner: 0) == .trusted)
    }

    @Test func whatTheCommandLineNamesIsNotChanged() {
        #expect(self.verdict(.namedSecret, 0o440) == .trusted)
        #expect(self.isRefused(self.verdict(.namedSecret, 0o620)))
        for mode: UInt32 in [0o444, 0o644] {
            guard case .exposed = self.verdict(.namedSecret, mode) else {
                Issue.record("\(self.verdict(.namedSecret, mode))")
                continue
            }
        }
    }

    @Test func otherKindsAreRefused() {
        for kind in [FileStatus.Kind.other, .symbolicLink, .directory] {
            #expect(self.isRefused(FileStatus(kind: kind, owner: 5, mode: 0o600).verdict(for: .kept, user: 5)))
        }
        #expect(self.isRefused(FileStatus(kind: .regular, owner: 5, mode: 0o600).verdict(for: .directory, user: 5)))
    }
}

/// A logger that keeps what it hears.
private final class RecordedLog: Sendable {
    private let messages = Mutex<[(level: Logger.Level, text: String)]>([])

    var lines: [String] { self.messages.withLock { $0.map(\.text) } }
    var warnings: [String] { self.messages.withLock { $0.filter { $0.level >= .warning }.map(\.text) } }
    var logger: Logger { Logger(label: "test") { _ in Handler(log: self) } }

    private struct Handler: LogHandler {
        let log: RecordedLog
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { self.metadata[key] }
            set { self.metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            self.log.messages.withLock { $0.append((event.level, event.message.description)) }
        }
    }
}
