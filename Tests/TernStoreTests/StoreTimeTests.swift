// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import TestTimeLimits
import Testing

@testable import TernStore

/// The clock of the machine may be set by years, at any moment: a message is stored once.
@Suite(.untilItHangs) struct StoreTimeTests {
    private static let day: UInt64 = 86_400_000

    @Test func itFollowsTheSteadyClock() {
        var time = StoreTime(milliseconds: 1_000, steady: 50)
        time.advance(steady: 60, wall: 0)
        #expect(time.milliseconds == 1_010)
        // Not back, whatever the clocks do.
        time.advance(steady: 55, wall: 0)
        #expect(time.milliseconds == 1_010)
        time.advance(steady: .max, wall: .max)
        #expect(time.milliseconds == 1 << 56)
        time.advance(steady: .max, wall: 0)
        #expect(time.milliseconds == 1 << 56)
    }

    /// In small steps as in large ones, it gains an eighth until it has caught up.
    @Test(arguments: [1, 3, 8, 1_000] as [UInt64])
    func itGainsAnEighthWhileItIsBehind(step: UInt64) {
        var time = StoreTime(milliseconds: 0, steady: 0)
        for steady in stride(from: step, through: 240_000, by: Int(step)) {
            time.advance(steady: steady, wall: 1 << 50)
        }
        let expected = 240_000 / step * step * 9 / 8
        #expect(time.milliseconds <= expected && time.milliseconds + 1 >= expected)
        var near = StoreTime(milliseconds: 0, steady: 0)
        for steady in stride(from: step, through: 240_000, by: Int(step)) {
            near.advance(steady: steady, wall: steady + 900)
        }
        #expect(near.milliseconds == 240_000 / step * step + 900)
    }

    @Test func aKeyLivesForItsWindow() {
        let window = 7 * Self.day
        for wall in [0, 1 << 45, .max] as [UInt64] {
            var time = StoreTime(milliseconds: 1 << 40, steady: 0)
            let stored = time.milliseconds
            for hour in 1...(7 * 24) as ClosedRange<UInt64> { time.advance(steady: hour * 3_600_000, wall: wall) }
            #expect(time.edge(of: window) <= stored)
        }
    }

    /// Days in both directions, with and without a restart in between.
    @Test(arguments: [-56 * 365, -8, 8, 56 * 365], [false, true])
    func aJumpOfTheClockForgetsNothing(days: Int, restarts: Bool) async throws {
        let wall = ManualDate(milliseconds: 60 * 365 * Self.day)
        let steady = ManualDate(milliseconds: 5_000)
        var options = SQLiteMessageStore.Options()
        options.now = { wall.milliseconds }
        options.steadyNow = { steady.milliseconds }
        try await withTemporaryDirectory { directory in
            var store = try SQLiteMessageStore(directory: directory, options: options, logger: .silent)
            let (alice, bob) = try await store.pair()
            var drafts: [Draft] = []
            for round in 0..<6 {
                let draft = Draft.text("\(round)", to: .direct(alice, bob), from: alice, key: UInt64(round))
                drafts.append(draft)
                #expect(try await store.append(draft).sequence == UInt64(round + 1))
                // There and back again.
                let jump = round % 2 == 0 ? days : -days
                wall.set(UInt64(Int(wall.milliseconds) + jump * Int(Self.day)))
                steady.advance(3_600_000)
                if restarts {
                    await store.close()
                    // The steady clock of another boot.
                    steady.set(7)
                    store = try SQLiteMessageStore(directory: directory, options: options, logger: .silent)
                }
                for _ in 0..<3 { try await store.flush() }
                for (index, known) in drafts.enumerated() {
                    let again = try await store.append(known)
                    #expect(again.isDuplicate && again.sequence == UInt64(index + 1))
                }
            }
            #expect(try await store.log(of: .direct(alice, bob)).count == 6)
            await store.close()
        }
    }

    /// Booted in 1970, corrected, and the window is over long since by the clock.
    @Test func aClockThatBeganIn1970IsCorrected() async throws {
        let wall = ManualDate(milliseconds: 20_000)
        let steady = ManualDate(milliseconds: 20_000)
        var options = SQLiteMessageStore.Options()
        options.now = { wall.milliseconds }
        options.steadyNow = { steady.milliseconds }
        try await withStore(options) { store in
            let (alice, bob) = try await store.pair()
            let draft = Draft.text("once", to: .direct(alice, bob), from: alice, key: 1)
            #expect(try await store.append(draft).timestamp == 20_000)
            wall.set(56 * 365 * Self.day)
            for _ in 0..<6 {
                steady.advance(24 * 3_600_000)
                try await store.flush()
                #expect(try await store.append(draft).isDuplicate)
            }
            #expect(
                try await store.append(.text("", to: .direct(alice, bob), from: alice)).timestamp == 56 * 365 * Self.day
            )
            // And what is really old is forgotten, some time.
            steady.advance(3 * 24 * 3_600_000)
            try await store.flush()
            #expect(try await store.append(draft).sequence == 3)
        }
    }

    /// What the store was told of the time is not lost with a process that dies: keys never come from the future.
    @Test func theTimeGoesOnAfterADeath() async throws {
        let steady = ManualDate(milliseconds: 0)
        var options = SQLiteMessageStore.Options()
        options.now = { 1_000_000 }
        options.steadyNow = { steady.milliseconds }
        try await withTemporaryDirectory { directory in
            let store = try SQLiteMessageStore(directory: directory, options: options, logger: .silent)
            let (alice, bob) = try await store.pair()
            for index in 0..<200 {
                // Sometimes less than is noted at a time, sometimes much more.
                steady.advance(index % 50 == 49 ? 5_000_000 : 100_000)
                _ = try await store.append(.text("\(index)", to: .direct(alice, bob), from: alice))
            }
            let passed = steady.milliseconds
            let copy = directory + "/copy"
            try copyAsKilled(directory, to: copy)
            await store.close()
            try await withStore(in: copy, options) { store in
                let connection = try SQLiteConnection(path: copy + "/messages.sqlite", mode: .readOnly)
                let newest = try #require(try connection.integer("SELECT max(time) FROM known_key"))
                #expect(UInt64(newest) == 1_000_000 + passed)
                let time = try #require(try connection.integer("SELECT time FROM run"))
                #expect(time >= newest)
                withExtendedLifetime(store) {}
            }
        }
    }
}
