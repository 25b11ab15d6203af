// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernStore
import TestTimeLimits
import Testing

@Suite(.untilItHangs) struct HistoryTests {
    /// A log of ten messages of ten bytes.
    private func withTen(_ body: (SQLiteMessageStore, ChannelKey) async throws -> Void) async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            for index in 1...10 {
                let text = "message " + (index < 10 ? "0" : "") + "\(index)"
                _ = try await store.append(.text(text, to: .direct(alice, bob), from: alice))
            }
            // Its neighbour must never show.
            _ = try await store.append(.text("neighbour", to: .direct(bob, bob), from: bob))
            try await body(store, .direct(alice, bob))
        }
    }

    struct Page: Sendable {
        var from: UInt64
        var direction: HistoryDirection
        var limit: Int
        var bytes = Int.max
        var sequences: [UInt64]
        var hasMore: Bool
    }

    static let pages: [Page] = [
        Page(from: 1, direction: .forward, limit: 3, sequences: [1, 2, 3], hasMore: true),
        Page(from: 0, direction: .forward, limit: 3, sequences: [1, 2, 3], hasMore: true),
        Page(from: 8, direction: .forward, limit: 3, sequences: [8, 9, 10], hasMore: false),
        Page(from: 8, direction: .forward, limit: 2, sequences: [8, 9], hasMore: true),
        Page(from: 10, direction: .forward, limit: 3, sequences: [10], hasMore: false),
        Page(from: 11, direction: .forward, limit: 3, sequences: [], hasMore: false),
        Page(from: .max, direction: .forward, limit: 3, sequences: [], hasMore: false),
        Page(from: 10, direction: .backward, limit: 3, sequences: [10, 9, 8], hasMore: true),
        Page(from: .max, direction: .backward, limit: 3, sequences: [10, 9, 8], hasMore: true),
        Page(from: 3, direction: .backward, limit: 3, sequences: [3, 2, 1], hasMore: false),
        Page(from: 3, direction: .backward, limit: 2, sequences: [3, 2], hasMore: true),
        Page(from: 1, direction: .backward, limit: 3, sequences: [1], hasMore: false),
        Page(from: 0, direction: .backward, limit: 3, sequences: [], hasMore: false),
        Page(from: 1, direction: .forward, limit: 100, sequences: Array(1...10), hasMore: false),
        Page(from: 2, direction: .forward, limit: 0, sequences: [2], hasMore: true),
        Page(from: 2, direction: .forward, limit: 9, bytes: 30, sequences: [2, 3, 4], hasMore: true),
        Page(from: 2, direction: .forward, limit: 9, bytes: 29, sequences: [2, 3], hasMore: true),
        Page(from: 2, direction: .backward, limit: 9, bytes: 0, sequences: [2], hasMore: true),
    ]

    @Test(arguments: Self.pages) func pagesEndWhereTheyShould(_ expected: Page) async throws {
        try await self.withTen { store, channel in
            let page = try await store.history(
                of: channel, from: expected.from, expected.direction, limit: expected.limit, byteLimit: expected.bytes)
            #expect(page.messages.map(\.sequence) == expected.sequences)
            #expect(page.hasMore == expected.hasMore)
            #expect(page.head.sequence == 10)
            #expect(page.messages.allSatisfy { $0.text.hasSuffix("\($0.sequence)") })
        }
    }

    @Test func aChannelThatHasNotBegunIsEmpty() async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            let page = try await store.history(of: .direct(alice, bob), from: 1, .forward, limit: 5, byteLimit: 5)
            #expect(
                page
                    == HistoryPage(head: ChannelHead(epoch: 0, sequence: 0, timestamp: 0), messages: [], hasMore: false)
            )
            let group = try await store.createGroup(named: "g", owner: alice).group
            let head = try await store.head(of: .group(group))
            #expect(head.epoch != 0 && head.sequence == 0)
        }
    }

    @Test func commitsAreObservedInTheOrderOfTheLogBeforeTheirReceipts() async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            let (stream, continuation) = AsyncStream.makeStream(of: CommittedMessage.self)
            store.observeCommits { for message in $0.messages { continuation.yield(message) } }
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                for index in 0..<200 {
                    tasks.addTask {
                        _ = try await store.append(.text("\(index)", to: .direct(alice, bob), from: alice))
                    }
                }
                try await tasks.waitForAll()
            }
            // Every receipt is out, so every commit was observed: nothing more may come.
            continuation.finish()
            var sequences: [UInt64] = []
            for await message in stream { sequences.append(message.receipt.sequence) }
            #expect(sequences == Array(1...200))
        }
    }
}
