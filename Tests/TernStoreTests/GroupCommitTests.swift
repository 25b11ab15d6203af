// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Dispatch
import TernStore
import TestTimeLimits
import Testing

@Suite(.untilItHangs) struct GroupCommitTests {
    /// Holds the writer at the commit of one message until the test lets it go on.
    private final class Gate: Sendable {
        private let isHeld = DispatchSemaphore(value: 0)
        private let mayGo = DispatchSemaphore(value: 0)

        func hold(_ events: [CommitEvent]) {
            guard events.messages.contains(where: { $0.draft.key.high == 0xa11 }) else { return }
            self.isHeld.signal()
            self.mayGo.wait()
        }

        func waitUntilHeld() async {
            await withCheckedContinuation { continuation in
                DispatchQueue.global().async {
                    self.isHeld.wait()
                    continuation.resume()
                }
            }
        }

        func open() { self.mayGo.signal() }
    }

    private func withHeldWriter(
        _ options: SQLiteMessageStore.Options,
        _ body: (SQLiteMessageStore, ChannelKey, UInt64, Gate) async throws -> Void
    ) async throws {
        try await withStore(options) { store in
            let (alice, bob) = try await store.pair()
            let gate = Gate()
            store.observeCommits { gate.hold($0) }
            let first = Task { try await store.append(.text("", to: .direct(alice, bob), from: alice, key: 0xa11)) }
            await gate.waitUntilHeld()
            try await body(store, .direct(alice, bob), alice, gate)
            _ = try await first.value
        }
    }

    @Test func whatWaitsForOneCommitSharesTheNext() async throws {
        try await self.withHeldWriter(.init()) { store, channel, alice, gate in
            let before = store.statistics
            let tasks = (0..<300).map { index in
                Task { try await store.append(.text("\(index)", to: channel, from: alice)) }
            }
            while store.statistics.queued < 300 { await Task.yield() }
            #expect(store.statistics.transactions == before.transactions)
            gate.open()
            for task in tasks { _ = try await task.value }
            let after = store.statistics
            #expect(after.messages - before.messages == 300)
            #expect(after.transactions - before.transactions == 1)
            #expect(after.largestBatch == 300)
        }
    }

    @Test func aBatchIsBounded() async throws {
        var options = SQLiteMessageStore.Options()
        options.maximumBatch = 100
        try await self.withHeldWriter(options) { store, channel, alice, gate in
            let before = store.statistics
            let tasks = (0..<250).map { index in
                Task { try await store.append(.text("\(index)", to: channel, from: alice)) }
            }
            while store.statistics.queued < 250 { await Task.yield() }
            gate.open()
            for task in tasks { _ = try await task.value }
            #expect(store.statistics.transactions - before.transactions == 3)
            #expect(store.statistics.largestBatch == 100)
        }
    }

    @Test func aFullQueueSuspendsItsCallers() async throws {
        var options = SQLiteMessageStore.Options()
        options.maximumQueuedOperations = 10
        try await self.withHeldWriter(options) { store, channel, alice, gate in
            let tasks = (0..<50).map { index in
                Task { try await store.append(.text("\(index)", to: channel, from: alice)) }
            }
            while store.statistics.suspended < 40 || store.statistics.queued < 10 { await Task.yield() }
            #expect(store.statistics.queued == 10 && store.statistics.suspended == 40)
            gate.open()
            var sequences: Set<UInt64> = []
            for task in tasks { sequences.insert(try await task.value.sequence) }
            #expect(sequences == Set(2...51))
            #expect(store.statistics.queued == 0 && store.statistics.suspended == 0)
        }
    }

    @Test func aQueueFullOfBytesSuspendsItsCallersToo() async throws {
        var options = SQLiteMessageStore.Options()
        // A text of 400 bytes holds 512.
        options.maximumQueuedBytes = 1_200
        try await self.withHeldWriter(options) { store, channel, alice, gate in
            let text = String(repeating: "x", count: 400)
            let tasks = (0..<5).map { _ in Task { try await store.append(.text(text, to: channel, from: alice)) } }
            while store.statistics.suspended < 3 || store.statistics.queued < 2 { await Task.yield() }
            #expect(store.statistics.queued == 2 && store.statistics.suspended == 3)
            gate.open()
            for task in tasks { _ = try await task.value }
            // Larger than the bound, it passes alone.
            let large = String(repeating: "y", count: 5_000)
            _ = try await store.append(.text(large, to: channel, from: alice))
        }
    }

    @Test func closingServesWhoWaitsInLineAndTurnsAwayTheRest() async throws {
        var options = SQLiteMessageStore.Options()
        options.maximumQueuedOperations = 10
        try await self.withHeldWriter(options) { store, channel, alice, gate in
            let tasks = (0..<20).map { index in
                Task { try? await store.append(.text("\(index)", to: channel, from: alice)) }
            }
            while store.statistics.suspended < 10 { await Task.yield() }
            let closing = Task { await store.close() }
            while store.statistics.suspended > 0 { await Task.yield() }
            gate.open()
            var served = 0
            for task in tasks where await task.value != nil { served += 1 }
            await closing.value
            #expect(served == 10)
        }
    }

    @Test func aMistakeInABatchHurtsNobodyElse() async throws {
        try await self.withHeldWriter(.init()) { store, channel, alice, gate in
            let good = (0..<20).map { index in
                Task { try await store.append(.text("\(index)", to: channel, from: alice)) }
            }
            let bad = (0..<20).map { index in
                Task { try await store.append(.text("other", to: channel, from: alice, key: 0xa11)) }
            }
            while store.statistics.queued < 40 { await Task.yield() }
            gate.open()
            for task in bad { _ = await storeError(.conflict) { try await task.value } }
            var sequences: Set<UInt64> = []
            for task in good { sequences.insert(try await task.value.sequence) }
            #expect(sequences == Set(2...21))
        }
    }
}
