// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import NIOCore
import TernStore
import TestTimeLimits
import Testing

@Suite(.untilItHangs) struct FullDiskTests {
    private static var quickProbes: SQLiteMessageStore.Options {
        var options = SQLiteMessageStore.Options()
        options.probeInterval = .milliseconds(20)
        return options
    }

    /// Writes until the store refuses; says how many messages were acknowledged.
    private static func fill(_ store: SQLiteMessageStore, _ channel: ChannelKey, _ user: UInt64) async throws -> Int {
        var acknowledged = 0
        let text = String(repeating: "x", count: 20_000)
        while acknowledged < 10_000 {
            do {
                let receipt = try await store.append(.text(text, to: channel, from: user))
                acknowledged += 1
                #expect(receipt.sequence == UInt64(acknowledged))
            } catch {
                #expect(error.code == .readOnly, "\(error)")
                return acknowledged
            }
        }
        Issue.record("The disk never filled up")
        return acknowledged
    }

    @Test func aDatabaseThatMayNotGrowTurnsReadOnly() async throws {
        try await withTemporaryDirectory { directory in
            var options = SQLiteMessageStore.Options()
            options.maximumPages = 400
            let acknowledged = try await withStore(in: directory, options) { store in
                let (alice, bob) = try await store.pair()
                let channel = ChannelKey.direct(alice, bob)
                var updates = store.statusUpdates().makeAsyncIterator()
                #expect(await updates.next() == .writable)
                let acknowledged = try await Self.fill(store, channel, alice)
                #expect(acknowledged > 10)
                guard case .readOnly(let reason)? = await updates.next() else {
                    Issue.record("The store did not say that it is read-only")
                    return acknowledged
                }
                #expect(reason.contains("full"), "\(reason)")
                #expect(store.status == .readOnly(reason: reason))

                // Nothing is taken, everything can be read.
                _ = await storeError(.readOnly) { try await store.append(.text("", to: channel, from: alice)) }
                _ = await storeError(.readOnly) { try await store.registerUser(named: "carol") }
                _ = await storeError(.readOnly) {
                    try await store.advanceOffsets(Offsets(read: 1), of: DeviceKey(user: bob, device: 1), in: channel)
                }
                #expect(try await store.registerUser(named: "alice") == alice)
                #expect(try await store.log(of: channel, pageSize: 10).count == acknowledged)
                return acknowledged
            }
            // With room again, the log goes on where it stood.
            try await withStore(in: directory) { store in
                let (alice, bob) = try await store.pair()
                let receipt = try await store.append(.text("more", to: .direct(alice, bob), from: alice))
                #expect(receipt.sequence == UInt64(acknowledged + 1))
            }
        }
    }

    @Test(.enabled(if: SmallDisk.isPossible, "mounting a small file system needs root"))
    func aFullDiskTurnsReadOnlyAndRecovers() async throws {
        try await withTemporaryDirectory { directory in
            let disk = try SmallDisk(at: directory, megabytes: 4)
            defer { disk.unmount() }
            let ballast = directory + "/ballast"
            #expect(FileManager.default.createFile(atPath: ballast, contents: Data(count: 2 << 20)))

            try await withStore(in: directory + "/data", Self.quickProbes) { store in
                let (alice, bob) = try await store.pair()
                let channel = ChannelKey.direct(alice, bob)
                let acknowledged = try await Self.fill(store, channel, alice)
                #expect(acknowledged > 10)
                #expect(try await store.log(of: channel, pageSize: 10).count == acknowledged)

                var updates = store.statusUpdates().makeAsyncIterator()
                try FileManager.default.removeItem(atPath: ballast)
                while let status = await updates.next(), status != .writable {}
                let receipt = try await store.append(.text("more", to: channel, from: bob))
                // What was refused may not have taken a number.
                #expect(receipt.sequence == UInt64(acknowledged + 1))
                #expect(try await store.log(of: channel, pageSize: 10).count == acknowledged + 1)
            }
        }
    }

    @Test(.enabled(if: SmallDisk.isPossible, "mounting a small file system needs root"))
    func openingOnAFullDiskSaysSoAndHarmsNothing() async throws {
        try await withTemporaryDirectory { directory in
            let disk = try SmallDisk(at: directory, megabytes: 4)
            defer { disk.unmount() }
            try await withStore(in: directory + "/data") { store in
                let (alice, bob) = try await store.pair()
                _ = try await store.append(.text("kept", to: .direct(alice, bob), from: alice))
            }
            let ballast = directory + "/ballast"
            #expect(FileManager.default.createFile(atPath: ballast, contents: nil))
            let handle = try #require(FileHandle(forWritingAtPath: ballast))
            // A page at a time, to the last one.
            while (try? handle.write(contentsOf: Data(count: 4_096))) != nil {}
            try handle.close()

            let error = await storeError(.readOnly) {
                try SQLiteMessageStore(directory: directory + "/data", logger: .silent)
            }
            #expect(error?.message.contains(directory) == true, "\(String(describing: error))")
            try FileManager.default.removeItem(atPath: ballast)
            try await withStore(in: directory + "/data") { store in
                let (alice, bob) = try await store.pair()
                #expect(try await store.append(.text("on", to: .direct(alice, bob), from: bob)).sequence == 2)
                #expect(try await store.log(of: .direct(alice, bob)).map(\.text) == ["kept", "on"])
            }
        }
    }
}

/// A file system in memory, of a few megabytes.
struct SmallDisk {
    static var isPossible: Bool {
        #if os(Linux)
        geteuid() == 0 && (try? withUnmountedProbe()) != nil
        #else
        false
        #endif
    }

    private let path: String

    init(at path: String, megabytes: Int) throws {
        try Self.run("mount", ["-t", "tmpfs", "-o", "size=\(megabytes)m,mode=0755", "tmpfs", path])
        self.path = path
    }

    func unmount() {
        try? Self.run("umount", [self.path])
    }

    /// A container may forbid mounting even to root.
    private static func withUnmountedProbe() throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("tern-mount-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: path) }
        try SmallDisk(at: path, megabytes: 1).unmount()
    }

    static func run(_ command: String, _ arguments: [String]) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [command] + arguments
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw CocoaError(.featureUnsupported) }
    }
}
