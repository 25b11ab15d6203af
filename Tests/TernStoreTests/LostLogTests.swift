// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import NIOCore
import TestTimeLimits
import Testing

@testable import TernStore

/// What a killed process leaves of a directory: everything but a clean end.
func copyAsKilled(_ directory: String, to copy: String, _ names: [String] = ["", "-wal", "-shm"]) throws {
    try FileManager.default.createDirectory(atPath: copy, withIntermediateDirectories: true)
    for name in names.map({ "messages.sqlite" + $0 }) + ["stamp"] {
        try FileManager.default.copyItem(atPath: directory + "/" + name, toPath: copy + "/" + name)
    }
}

/// A process was killed, and its write-ahead log is not what it was: sequences may be used again, so epochs are new.
@Suite(.untilItHangs) struct LostLogTests {
    enum Damage: String, CaseIterable {
        case nothing, deleted, emptied, cutInTheMiddle, lastCommitCut, overwritten, overwrittenInTheMiddle, zeroed,
            older
        case deletedWithItsIndex, replacedWithoutIndex

        var isLoss: Bool { self != .nothing }

        func apply(to directory: String, olderLog: Data) throws {
            let log = directory + "/messages.sqlite-wal"
            let url = URL(fileURLWithPath: log)
            var bytes = try Data(contentsOf: url)
            let index = directory + "/messages.sqlite-shm"
            switch self {
            case .nothing: return
            case .deleted: return try FileManager.default.removeItem(atPath: log)
            case .deletedWithItsIndex:
                try FileManager.default.removeItem(atPath: log)
                return try FileManager.default.removeItem(atPath: index)
            case .emptied: bytes = Data()
            case .cutInTheMiddle: bytes = bytes.prefix(32 + (bytes.count - 32) / 4_120 / 2 * 4_120)
            // Behind the last commit there may be pages of an earlier filling: what is cut is surely part of it.
            // What was written and not counted yet was never acknowledged.
            case .lastCommitCut: bytes = bytes.prefix(32 + (Self.countedFrames(in: directory) - 1) * 4_120)
            case .overwritten: bytes = Data((0..<bytes.count).map { UInt8(truncatingIfNeeded: $0 &* 31) })
            case .overwrittenInTheMiddle:
                let middle = 32 + Self.frames(in: directory) / 2 * 4_120 + 100
                bytes.replaceSubrange(middle..<middle + 64, with: Data(repeating: 0xa5, count: 64))
            case .zeroed: bytes = Data(repeating: 0, count: bytes.count)
            case .older: bytes = olderLog
            case .replacedWithoutIndex:
                try FileManager.default.removeItem(atPath: index)
                bytes = Data(repeating: 7, count: bytes.count)
            }
            try bytes.write(to: url)
        }

        private static func countedFrames(in directory: String) -> Int {
            Int(WriteAheadLog(of: directory + "/messages.sqlite").index?.committedFrames ?? 0)
        }

        private static func frames(in directory: String) -> Int {
            guard case .file(let file) = WriteAheadLog(of: directory + "/messages.sqlite").remains else { return 0 }
            return Int(file.committedFrames)
        }
    }

    @Test(arguments: Damage.allCases)
    func aDamagedLogOfAKilledProcessMeansNewEpochs(damage: Damage) async throws {
        try await withTemporaryDirectory { directory in
            // Messages that are in the tables already, and a clean end.
            let (before, channel) = try await withStore(in: directory) { store async throws in
                let (alice, bob) = try await store.pair()
                for index in 0..<10 {
                    _ = try await store.append(.text("\(index)", to: .direct(alice, bob), from: alice))
                }
                return (try await store.head(of: .direct(alice, bob)), ChannelKey.direct(alice, bob))
            }
            let early = try await Victim([directory]).readLines(50, thenKill: true)
            #expect(early.wasKilled)
            let olderLog = try Data(contentsOf: URL(fileURLWithPath: directory + "/messages.sqlite-wal"))
            try await withStore(in: directory) { store async throws in
                // A death alone is none.
                #expect(try await store.head(of: channel).epoch == before.epoch)
                _ = try await store.append(.text("", to: channel, from: 1))
            }
            let end = try await Victim([directory]).readLines(200, thenKill: true)
            #expect(end.wasKilled, "\(end.errors)")
            let acknowledged = end.lines.compactMap(Victim.Acknowledgement.init)
            try damage.apply(to: directory, olderLog: olderLog)
            let epochs = try await withStore(in: directory) { store async throws in
                var known: [(old: UInt32, new: UInt32)] = [(before.epoch, try await store.head(of: channel).epoch)]
                for group in Set(acknowledged.map(\.group)) {
                    guard let old = acknowledged.first(where: { $0.group == group })?.epoch,
                        let head = try? await store.head(of: .group(group))
                    else { continue }
                    known.append((old, head.epoch))
                }
                return known
            }
            for epoch in epochs { #expect((epoch.old != epoch.new) == damage.isLoss) }
            // Once is enough.
            try await withStore(in: directory) { store async throws in
                #expect(try await store.head(of: channel).epoch == epochs[0].new)
            }
        }
    }

    /// A store that is killed while nothing happens leaves a log that says so: the epochs stay.
    @Test func dyingWhileIdleLosesNothing() async throws {
        var options = SQLiteMessageStore.Options()
        options.idleDelay = .milliseconds(1)
        try await withTemporaryDirectory { directory in
            var epoch: UInt32?
            for round in 0..<5 {
                let store = try SQLiteMessageStore(directory: directory, options: options, logger: .silent)
                let (alice, bob) = try await store.pair()
                for index in 0..<20 * round {
                    _ = try await store.append(.text("\(index)", to: .direct(alice, bob), from: alice))
                }
                let checkpoints = store.statistics.checkpoints
                let last = try await store.append(.text("", to: .direct(alice, bob), from: alice))
                while store.statistics.checkpoints == checkpoints { await Task.yield() }
                #expect(last.epoch == epoch ?? last.epoch)
                epoch = last.epoch
                let copy = directory + "/copy\(round)"
                try copyAsKilled(directory, to: copy, round % 2 == 0 ? ["", "-wal", "-shm"] : ["", "-wal"])
                await store.close()
                try await withStore(in: copy, options) { store async throws in
                    #expect(try await store.head(of: .direct(alice, bob)).epoch == last.epoch)
                    #expect(try await store.head(of: .direct(alice, bob)).sequence == last.sequence)
                }
            }
        }
    }

    /// A run that could not write its end keeps its log, and the next start believes it.
    @Test func aRunThatEndsOnAFullDiskKeepsItsLog() async throws {
        try await withTemporaryDirectory { directory in
            let epoch = try await withStore(in: directory) { store async throws in
                let (alice, bob) = try await store.pair()
                return try await store.append(.text("1", to: .direct(alice, bob), from: alice)).epoch
            }
            var options = SQLiteMessageStore.Options()
            options.maximumPages = 60
            options.probeInterval = .seconds(3_600)
            try await withStore(in: directory, options) { store async throws in
                let large = String(repeating: "x", count: 20_000)
                while (try? await store.append(.text(large, to: .direct(1, 2), from: 1))) != nil {}
                guard case .readOnly = store.status else {
                    Issue.record("\(store.status)")
                    return
                }
            }
            #expect(FileManager.default.fileExists(atPath: directory + "/messages.sqlite-wal"))
            try await withStore(in: directory) { store async throws in
                #expect(try await store.append(.text("2", to: .direct(1, 2), from: 1)).epoch == epoch)
            }
        }
    }

    /// Nor does one whose probes ended in nothing: what they do to the log must not look like a loss.
    @Test(arguments: [true, false]) func probingAFullDiskKeepsTheLog(isClosed: Bool) async throws {
        try await withTemporaryDirectory { directory in
            let epoch = try await withStore(in: directory) { store async throws in
                let (alice, bob) = try await store.pair()
                return try await store.append(.text("1", to: .direct(alice, bob), from: alice)).epoch
            }
            var options = SQLiteMessageStore.Options()
            options.maximumPages = 60
            options.probeInterval = .milliseconds(1)
            let copy = directory + "/copy"
            try await withStore(in: directory, options) { store async throws in
                let large = String(repeating: "x", count: 20_000)
                while (try? await store.append(.text(large, to: .direct(1, 2), from: 1))) != nil {}
                let before = store.statistics.probes
                while store.statistics.probes < before + 3 { try await Task.sleep(for: .milliseconds(1)) }
                guard case .readOnly = store.status else {
                    Issue.record("\(store.status)")
                    return
                }
                try copyAsKilled(directory, to: copy, ["", "-wal", "-shm"])
            }
            try await withStore(in: isClosed ? directory : copy) { store async throws in
                #expect(try await store.append(.text("2", to: .direct(1, 2), from: 1)).epoch == epoch)
            }
        }
    }

    @Test func whatSpeaksAgainstALog() {
        typealias Log = WriteAheadLog
        let (one, other) = (Log.Salt([1, 2, 3, 4, 5, 6, 7, 8]), Log.Salt([9, 2, 3, 4, 5, 6, 7, 8]))
        let five = Log.Remains.file(.init(salt: one, committedFrames: 5))
        let none = Log.Remains.file(.init(salt: one, committedFrames: 0))
        let cases: [(remains: Log.Remains, index: Log.Index?, sameBoot: Bool, isLoss: Bool)] = [
            (.missing, nil, true, true), (.unreadable, nil, true, true), (none, nil, true, true),
            (five, nil, true, false),
            (five, .init(salt: one, committedFrames: 5), true, false),
            (five, .init(salt: one, committedFrames: 4), true, false),
            (five, .init(salt: one, committedFrames: 6), true, true),
            // Started anew, and died before its first page.
            (none, .init(salt: one, committedFrames: 0), true, false),
            (five, .init(salt: other, committedFrames: 0), true, false),
            // Of an index from before a loss of power nothing is known but what it shares with the log.
            (five, .init(salt: other, committedFrames: 9), true, true),
            (five, .init(salt: other, committedFrames: 9), false, false),
            (five, .init(salt: one, committedFrames: 9), false, true),
        ]
        for (remains, index, sameBoot, isLoss) in cases {
            let log = Log(isExpected: true, remains: remains, index: index)
            #expect((log.loss(sameBoot: sameBoot) != nil) == isLoss, "\(log)")
        }
        #expect(Log(isExpected: false, remains: .missing, index: nil).loss(sameBoot: true) == nil)
    }
}
