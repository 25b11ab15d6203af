// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernStore
import TestTimeLimits
import Testing

@Suite(.untilItHangs) struct CrashTests {
    @Test func whatWasAcknowledgedSurvivesBeingKilled() async throws {
        var random = SplitMix(seed: 20_261_121)
        try await withTemporaryDirectory { directory in
            var acknowledged: Set<Victim.Acknowledgement> = []
            for _ in 0..<12 {
                let victim = try Victim([directory])
                let end = await victim.readLines(Int.random(in: 0...400, using: &random), thenKill: true)
                #expect(end.wasKilled, "\(end.errors)")
                let fresh = end.lines.compactMap(Victim.Acknowledgement.init)
                #expect(fresh.count == end.lines.count)
                acknowledged.formUnion(fresh)
                try await withStore(in: directory) { store in
                    try await Self.check(store, against: acknowledged)
                    if let last = fresh.last { try await Self.sendAgain(last, to: store) }
                }
            }
            #expect(acknowledged.count > 500)
        }
    }

    /// Everything acknowledged is there, in its place, once; and every log is contiguous.
    private static func check(
        _ store: SQLiteMessageStore, against acknowledged: Set<Victim.Acknowledgement>
    ) async throws {
        var stored: [UInt64: [StoredMessage]] = [:]
        for group in Set(acknowledged.map(\.group)) {
            let log = try await store.log(of: .group(group))
            stored[group] = log
            #expect(log.map(\.sequence) == Array(1...UInt64(log.count)))
            #expect(Set(log.map(\.key)).count == log.count)
            let head = try await store.head(of: .group(group))
            #expect(head.sequence == UInt64(log.count))
            #expect(acknowledged.allSatisfy { $0.group != group || $0.epoch == head.epoch })
        }
        var missing = 0
        for message in acknowledged {
            let log = stored[message.group] ?? []
            guard message.sequence <= UInt64(log.count) else {
                missing += 1
                continue
            }
            let found = log[Int(message.sequence) - 1]
            let isTheSame = found.key == IdempotencyKey(high: message.high, low: message.low)
            if !isTheSame || found.text != "\(message.high) \(message.low)" { missing += 1 }
        }
        #expect(missing == 0)
    }

    private static func sendAgain(_ last: Victim.Acknowledgement, to store: SQLiteMessageStore) async throws {
        let log = try await store.log(of: .group(last.group))
        let message = log[Int(last.sequence) - 1]
        let again = try await store.append(
            Draft(
                channel: .group(last.group), sender: message.sender, key: message.key, type: message.type,
                clientTimestamp: 1, payload: message.payload))
        #expect(again.isDuplicate && again.sequence == last.sequence)
    }

    @Test func theDirectoryOfAKilledProcessIsFree() async throws {
        try await withTemporaryDirectory { directory in
            let victim = try Victim([directory, "--hold"])
            let started = await victim.readLines(1, thenKill: false)
            #expect(started.lines == ["open"])
            let error = await storeError(.inUse) { try SQLiteMessageStore(directory: directory, logger: .silent) }
            #expect(error?.message.contains("process \(victim.identifier)") == true, "\(String(describing: error))")
            #expect(error?.message.contains(directory) == true)
            _ = await victim.readLines(0, thenKill: true)
            try await withStore(in: directory) { store async throws in
                #expect(try await store.registerUser(named: "alice") == 1)
            }
        }
    }

    /// A file that may not grow is a disk that is full, as far as SQLite can see.
    @Test func aLimitOnFilesEndsAcknowledgementsAndLosesNothing() async throws {
        try await withTemporaryDirectory { directory in
            let end = try await Victim([directory, "--file-size", "1000000"]).readLines(thenKill: false)
            #expect(end.status == 3)
            #expect(end.errors.contains("readOnly"), "\(end.errors)")
            let acknowledged = Set(end.lines.compactMap(Victim.Acknowledgement.init))
            #expect(acknowledged.count == end.lines.count && acknowledged.count > 10)
            try await withStore(in: directory) { try await Self.check($0, against: acknowledged) }
        }
    }
}

/// SplitMix64: the same numbers for the same seed, everywhere.
struct SplitMix: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { self.state = seed }

    mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var word = self.state
        word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
        return word ^ (word >> 31)
    }
}
