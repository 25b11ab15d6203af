// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import NIOCore
import TestTimeLimits
import Testing

@testable import TernStore

@Suite(.untilItHangs) struct EpochTests {
    private func write(
        _ count: Int, in directory: String, _ options: SQLiteMessageStore.Options = .init()
    ) async throws -> ChannelHead {
        try await withStore(in: directory, options) { store in
            let (alice, bob) = try await store.pair()
            for _ in 0..<count { _ = try await store.append(.text("x", to: .direct(alice, bob), from: alice)) }
            return try await store.head(of: .direct(alice, bob))
        }
    }

    @Test func closingAndOpeningKeepsTheEpoch() async throws {
        try await withTemporaryDirectory { directory in
            let first = try await self.write(2, in: directory)
            let second = try await self.write(1, in: directory)
            #expect(second.epoch == first.epoch && second.sequence == 3)
        }
    }

    @Test func anOlderCopyInItsPlaceIsNoticed() async throws {
        try await withTemporaryDirectory { directory in
            let file = directory + "/messages.sqlite"
            let first = try await self.write(2, in: directory)
            let copy = try #require(FileManager.default.contents(atPath: file))
            let second = try await self.write(3, in: directory)
            #expect(second == ChannelHead(epoch: first.epoch, sequence: 5, timestamp: second.timestamp))
            try copy.write(to: URL(fileURLWithPath: file))
            let restored = try await self.write(1, in: directory)
            #expect(restored.epoch != first.epoch && restored.epoch != 0 && restored.sequence == 3)
            // Once is enough.
            #expect(try await self.write(1, in: directory).epoch == restored.epoch)
        }
    }

    @Test func aLogWithFewerMessagesThanTheStampKnowsIsNoticed() async throws {
        try await withTemporaryDirectory { directory in
            let first = try await self.write(5, in: directory)
            let stamp = directory + "/stamp"
            let text = String(decoding: try #require(FileManager.default.contents(atPath: stamp)), as: UTF8.self)
            #expect(text.hasPrefix("5 "))
            try Data(("6 " + text.dropFirst(2)).utf8).write(to: URL(fileURLWithPath: stamp))
            #expect(try await self.write(1, in: directory).epoch != first.epoch)
        }
    }

    @Test func aMarkerAsksForNewEpochs() async throws {
        try await withTemporaryDirectory { directory in
            let first = try await self.write(2, in: directory)
            #expect(FileManager.default.createFile(atPath: directory + "/restored", contents: nil))
            let second = try await self.write(1, in: directory)
            #expect(second.epoch != first.epoch && second.sequence == 3)
            #expect(!FileManager.default.fileExists(atPath: directory + "/restored"))
        }
    }

    @Test func aCallAsksForNewEpochs() async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            let first = try await store.append(.text("a", to: .direct(alice, bob), from: alice, key: 1))
            try await store.startNewEpochs()
            let again = try await store.append(.text("a", to: .direct(alice, bob), from: alice, key: 1))
            #expect(again.isDuplicate && again.sequence == 1 && again.epoch != first.epoch)
            let second = try await store.append(.text("b", to: .direct(alice, bob), from: alice))
            #expect(second.epoch == again.epoch && second.sequence == 2)
        }
    }

    /// With durability `normal`, only a machine that went down can have lost commits; a process that was killed has not.
    @Test func normalDurabilityDoubtsTheLogOnlyAfterTheMachineWentDown() async throws {
        var options = SQLiteMessageStore.Options()
        options.durability = .normal
        try await withTemporaryDirectory { directory in
            let first = try await self.write(2, in: directory, options)
            let live = try SQLiteMessageStore(directory: directory, options: options, logger: .silent)
            let (alice, bob) = try await live.pair()
            _ = try await live.append(.text("x", to: .direct(alice, bob), from: alice))
            // What a killed process leaves behind: everything but a clean end.
            let crashed = directory + "/crashed"
            try FileManager.default.createDirectory(atPath: crashed, withIntermediateDirectories: true)
            for name in ["messages.sqlite", "messages.sqlite-wal", "stamp"] {
                try FileManager.default.copyItem(atPath: directory + "/" + name, toPath: crashed + "/" + name)
            }
            await live.close()
            let killed = try await self.write(1, in: crashed, options)
            #expect(killed.epoch == first.epoch && killed.sequence == 4)
        }
    }

    /// Neither zero, which says that there is no log, nor the one from before, which says that nothing happened.
    @Test func aNewEpochIsAnother() async throws {
        try await withTemporaryDirectory { directory in
            let channels = try await withStore(in: directory) { store async throws in
                let (alice, bob) = try await store.pair()
                let channel = ChannelKey.direct(alice, bob)
                _ = try await store.append(.text("x", to: channel, from: alice))
                return [channel]
            }
            for old in [1, 2, 77, UInt32.max - 1, .max] {
                let connection = try SQLiteConnection(path: directory + "/messages.sqlite", mode: .readWrite)
                for _ in 0..<200 {
                    try connection.execute("UPDATE channel SET epoch = \(old); \(WriteSession.epochRenewal)")
                    let new = try #require(try connection.integer("SELECT epoch FROM channel"))
                    #expect(new != Int64(old) && (1...Int64(UInt32.max)).contains(new))
                }
            }
            // Even ones too.
            let connection = try SQLiteConnection(path: directory + "/messages.sqlite", mode: .readWrite)
            var parities: Set<Int64> = []
            for _ in 0..<64 {
                try connection.execute(WriteSession.epochRenewal)
                parities.insert(try #require(try connection.integer("SELECT epoch & 1 FROM channel")))
            }
            #expect(parities.count == 2 && channels.count == 1)
        }
    }
}
