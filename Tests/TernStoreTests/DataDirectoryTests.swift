// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import NIOCore
import TernStore
import Testing

@Suite struct DataDirectoryTests {
    private func contents(_ directory: String) throws -> [String: Data] {
        var files: [String: Data] = [:]
        for name in try FileManager.default.contentsOfDirectory(atPath: directory) where name != "lock" {
            files[name] = FileManager.default.contents(atPath: directory + "/" + name)
        }
        return files
    }

    private func mode(_ path: String) throws -> Int {
        try #require(FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int)
    }

    @Test func makesWhatIsMissingForItsOwnerOnly() async throws {
        try await withTemporaryDirectory { parent in
            let directory = parent + "/deep/data/"
            try await withStore(in: directory) { store in
                _ = try await store.registerUser(named: "alice")
                #expect(try self.mode(parent + "/deep/data") == 0o700)
                for name in try FileManager.default.contentsOfDirectory(atPath: directory) {
                    #expect(try self.mode(directory + name) & 0o077 == 0, "\(name)")
                }
            }
            // A clean end leaves no log beside the tables.
            let names = try FileManager.default.contentsOfDirectory(atPath: directory).sorted()
            #expect(names == ["lock", "messages.sqlite", "stamp"])
        }
    }

    @Test func refusesASecondOpenerInTheSameProcess() async throws {
        try await withTemporaryDirectory { directory in
            try await withStore(in: directory) { _ in
                let error = await storeError(.inUse) { try SQLiteMessageStore(directory: directory, logger: .silent) }
                #expect(error?.message.contains("process \(getpid())") == true)
            }
            try await withStore(in: directory) { #expect($0.status == .writable) }
        }
    }

    /// The file can be removed under who holds it; the directory cannot.
    @Test func refusesASecondOpenerWhenTheLockWasRemoved() async throws {
        try await withTemporaryDirectory { directory in
            try await withStore(in: directory) { store in
                try FileManager.default.removeItem(atPath: directory + "/lock")
                for _ in 0..<2 {
                    await storeError(.inUse) { try SQLiteMessageStore(directory: directory, logger: .silent) }
                }
                _ = try await store.registerUser(named: "alice")
            }
            try await withStore(in: directory) { #expect($0.status == .writable) }
        }
    }

    @Test func refusesAnotherVersionAndTouchesNothing() async throws {
        try await withTemporaryDirectory { directory in
            try await withStore(in: directory) { _ = try await $0.registerUser(named: "alice") }
            let file = directory + "/messages.sqlite"
            var bytes = try #require(FileManager.default.contents(atPath: file))
            bytes.replaceSubrange(60..<64, with: [0, 0, 0, 9])
            try bytes.write(to: URL(fileURLWithPath: file))
            let before = try self.contents(directory)
            let error = await storeError(.otherVersion) {
                try SQLiteMessageStore(directory: directory, logger: .silent)
            }
            let message = error?.message ?? ""
            #expect(
                message.contains("version 9") && message.contains("versions 1 to 3") && message.contains(file),
                "\(message)")
            #expect(try self.contents(directory) == before)
        }
    }

    @Test(arguments: ["", "SQLite format 3\u{0}", String(repeating: "not a database ", count: 1_000)])
    func refusesAFileOfAnotherKind(_ text: String) async throws {
        try await withTemporaryDirectory { directory in
            let file = directory + "/messages.sqlite"
            try Data(text.utf8).write(to: URL(fileURLWithPath: file))
            let error = await storeError(.notADatabase) {
                try SQLiteMessageStore(directory: directory, logger: .silent)
            }
            #expect(error?.message.contains(file) == true)
            #expect(FileManager.default.contents(atPath: file) == Data(text.utf8))
        }
    }

    @Test func refusesTheDatabaseOfAnotherProgram() async throws {
        try await withTemporaryDirectory { directory in
            try await withStore(in: directory) { _ = try await $0.registerUser(named: "alice") }
            let file = directory + "/messages.sqlite"
            var bytes = try #require(FileManager.default.contents(atPath: file))
            bytes.replaceSubrange(68..<72, with: [0, 0, 0, 0])
            try bytes.write(to: URL(fileURLWithPath: file))
            let error = await storeError(.notADatabase) {
                try SQLiteMessageStore(directory: directory, logger: .silent)
            }
            #expect(error?.message.contains("another program") == true)
        }
    }

    @Test func aBrokenDatabaseIsAnErrorAndNoCrash() async throws {
        try await withTemporaryDirectory { directory in
            try await withStore(in: directory) { store in
                let (alice, bob) = try await store.pair()
                _ = try await store.append(.text("a", to: .direct(alice, bob), from: alice))
            }
            let file = directory + "/messages.sqlite"
            var bytes = try #require(FileManager.default.contents(atPath: file))
            bytes.replaceSubrange(100..<bytes.count, with: Data(repeating: 0x5a, count: bytes.count - 100))
            try bytes.write(to: URL(fileURLWithPath: file))
            // The second time too: the failed attempt holds no lock.
            for _ in 0..<2 {
                let error = await storeError(.corrupt) { try SQLiteMessageStore(directory: directory, logger: .silent) }
                #expect(error?.message.contains(file) == true)
            }
        }
    }

    @Test func refusesAFileInPlaceOfTheDirectory() async throws {
        try await withTemporaryDirectory { parent in
            let path = parent + "/file"
            try Data("x".utf8).write(to: URL(fileURLWithPath: path))
            for directory in [path, path + "/below"] {
                let error = await storeError(.unusable) {
                    try SQLiteMessageStore(directory: directory, logger: .silent)
                }
                #expect(error?.message.contains(path) == true, "\(String(describing: error))")
            }
        }
    }

    /// Permissions do not bind root, so another user tries; without root, this one does.
    @Test func refusesADirectoryWithoutPermission() async throws {
        try await withTemporaryDirectory { directory in
            try await withStore(in: directory) { _ = try await $0.registerUser(named: "alice") }
            let before = try self.contents(directory)
            defer { try? FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: directory) }
            try FileManager.default.setAttributes([.posixPermissions: 0o555], ofItemAtPath: directory)
            for name in before.keys.sorted() + ["lock"] {
                try FileManager.default.setAttributes([.posixPermissions: 0o444], ofItemAtPath: directory + "/" + name)
            }
            let arguments = geteuid() == 0 ? [directory, "--uid", "65534"] : [directory]
            let end = try await Victim(arguments).readLines(thenKill: false)
            #expect(end.status == 3 && end.lines.isEmpty)
            #expect(end.errors.contains("unusable") && end.errors.contains(directory), "\(end.errors)")
            #expect(end.errors.contains("Permission denied"), "\(end.errors)")
            #expect(try self.contents(directory) == before)
        }
    }

    @Test(.enabled(if: SmallDisk.isPossible, "mounting a read-only file system needs root"))
    func refusesAReadOnlyFileSystem() async throws {
        try await withTemporaryDirectory { directory in
            let disk = try SmallDisk(at: directory, megabytes: 4)
            defer { disk.unmount() }
            try await withStore(in: directory) { _ = try await $0.registerUser(named: "alice") }
            try SmallDisk.run("mount", ["-o", "remount,ro", directory])
            let error = await storeError(.unusable) { try SQLiteMessageStore(directory: directory, logger: .silent) }
            #expect(
                error?.message.contains("Read-only file system") == true && error?.message.contains(directory) == true)
        }
    }
}
