// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import HeldWriterSupport
import TestTimeLimits
import Testing

@testable import TernStore

/// Another program has the database locked, as a shell or a backup may.
@Suite(.untilItHangs) struct ForeignLockTests {
    @Test func aLockCostsNobodyMoreThanOneWait() async throws {
        var options = SQLiteMessageStore.Options()
        options.probeInterval = .milliseconds(5)
        options.lockPatience = .milliseconds(20)
        try await withTemporaryDirectory { directory in
            try await withStore(in: directory, options) { store in
                let (alice, bob) = try await store.pair()
                let channel = ChannelKey.direct(alice, bob)
                _ = try await store.append(.text("before", to: channel, from: alice))
                let other = try SQLiteConnection(path: directory + "/messages.sqlite", mode: .readWrite)
                try other.execute("BEGIN IMMEDIATE")
                let drafts = (0..<50).map { Draft.text("\($0)", to: channel, from: alice, key: UInt64($0) + 100) }
                let results = await store.append(contentsOf: drafts)
                // Nobody is at fault: all are told to come again, and the first wait is the only one.
                for result in results {
                    guard case .failure(let error) = result else {
                        Issue.record("\(result)")
                        continue
                    }
                    #expect(error.code == .readOnly)
                }
                #expect(store.statistics.begun <= 4, "\(store.statistics)")
                var updates = store.statusUpdates().makeAsyncIterator()
                try other.execute("COMMIT")
                while let status = await updates.next(), status != .writable {}
                for result in await store.append(contentsOf: drafts) { #expect(!(try result.get().isDuplicate)) }
                #expect(try await store.head(of: channel).sequence == 51)
            }
        }
    }

    /// What one item breaks is found by halves, not by asking each of its neighbours alone.
    @Test func oneFaultDoesNotMakeATransactionForEach() async throws {
        try await withTemporaryDirectory { directory in
            try await withStore(in: directory) { store in
                let (alice, bob) = try await store.pair()
                let channel = ChannelKey.direct(alice, bob)
                _ = try await store.append(.text("before", to: channel, from: alice))
                let other = try SQLiteConnection(path: directory + "/messages.sqlite", mode: .readWrite)
                try other.execute(
                    """
                    CREATE TRIGGER fault BEFORE INSERT ON message WHEN new.payload = CAST('fault' AS BLOB)
                    BEGIN SELECT RAISE(ABORT, 'a fault'); END
                    """)
                let held = try await HeldWriter(of: store)
                let before = store.statistics.transactions
                let all = await held.queue {
                    await store.append(
                        contentsOf: (0..<256).map {
                            .text($0 == 100 ? "fault" : "\($0)", to: channel, from: alice, key: UInt64($0) + 100)
                        })
                }
                while store.statistics.queued < 256 { await Task.yield() }
                held.letGo()
                let results = try await all.value
                #expect(results.count { if case .failure = $0 { true } else { false } } == 1)
                #expect(store.statistics.transactions - before < 40)
                try other.execute("DROP TRIGGER fault")
            }
        }
    }
}
