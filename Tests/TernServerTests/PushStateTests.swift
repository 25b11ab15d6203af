// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernMessages
import TernStore
import Testing

@testable import TernServer

@Suite struct PushStateTests {
    private func message(_ channel: UInt64, _ sequence: UInt64, bytes: Int = 100, key: UInt64 = 0) -> CommittedMessage {
        let draft = Draft(
            channel: .direct(1, channel), sender: DeviceKey(user: 1, device: 1),
            key: IdempotencyKey(high: channel, low: key == 0 ? sequence : key), type: 32, clientTimestamp: 0,
            payload: ByteBuffer(repeating: 0, count: bytes))
        let receipt = TernStore.Receipt(epoch: 9, sequence: sequence, timestamp: 1, isDuplicate: false)
        return CommittedMessage(draft: draft, receipt: receipt)
    }

    private func taken(_ state: inout PushState, _ start: FeedStart) -> [UInt64]? {
        switch state.takeBatch(for: start) {
        case .messages(let messages): messages.map(\.sequence.rawValue)
        case .wait: []
        case .ended: nil
        }
    }

    @Test func aChannelGetsOneFeedAndKeepsItsOrder() throws {
        var state = PushState(maximumBytes: 10_000, maximumFeeds: 2)
        let start = try #require(state.offer(self.message(2, 1)).start)
        #expect(state.offer(self.message(2, 2)).start == nil)
        #expect(self.taken(&state, start) == [1, 2])
        #expect(self.taken(&state, start) == [])
        #expect(state.offer(self.message(2, 3)).start == nil)
        #expect(self.taken(&state, start) == [3])
    }

    @Test func ownMessagesAreNotPushed() throws {
        var state = PushState(maximumBytes: 10_000, maximumFeeds: 2)
        let own = self.message(2, 1, key: 77)
        state.ownMessages[own.draft.key] = 1
        #expect(state.offer(own).start == nil)
        state.ownMessages = [:]
        let start = try #require(state.offer(self.message(2, 2)).start)
        #expect(self.taken(&state, start) == [2])
    }

    @Test func theFullestChannelIsSwitchedToPullAndComesBack() throws {
        var state = PushState(maximumBytes: 3000, maximumFeeds: 4)
        let small = try #require(state.offer(self.message(3, 1)).start)
        let large = try #require(state.offer(self.message(2, 1, bytes: 1000)).start)
        let outcome = state.offer(self.message(2, 2, bytes: 2000))
        #expect(outcome.switchedToPull == [.direct(1, 2)])
        #expect(state.pulling == [.direct(1, 2): 2])
        #expect(self.taken(&state, small) == [1])
        #expect(self.taken(&state, large) == [])
        #expect(state.offer(self.message(2, 3)).switchedToPull.isEmpty)
        // Read up to 2, but 3 came in the meantime: not yet.
        #expect(state.caughtUp(.direct(1, 2), to: 2) == 3)
        #expect(state.caughtUp(.direct(1, 2), to: 3) == nil)
        _ = state.offer(self.message(2, 4))
        #expect(self.taken(&state, large) == [4])
        // A channel that is live has nothing to catch up.
        #expect(state.caughtUp(.direct(1, 3), to: 0) == nil)
    }

    @Test func anIdleFeedMakesRoomAndABusyOneDoesNot() throws {
        var state = PushState(maximumBytes: 10_000, maximumFeeds: 1)
        let first = try #require(state.offer(self.message(2, 1)).start)
        #expect(state.offer(self.message(3, 1)).switchedToPull == [.direct(1, 3)])
        #expect(self.taken(&state, first) == [1])
        // Still being written.
        #expect(state.offer(self.message(4, 1)).switchedToPull == [.direct(1, 4)])
        #expect(self.taken(&state, first) == [])
        let second = try #require(state.offer(self.message(5, 1)).start)
        #expect(self.taken(&state, first) == nil)
        #expect(self.taken(&state, second) == [1])
    }

    @Test func aFeedThatFailsLeavesItsChannelToPull() throws {
        var state = PushState(maximumBytes: 10_000, maximumFeeds: 1)
        let start = try #require(state.offer(self.message(2, 1)).start)
        #expect(self.taken(&state, start) == [1])
        _ = state.offer(self.message(2, 2))
        #expect(state.fail(start) == 9)
        #expect(state.pulling == [.direct(1, 2): 2])
        #expect(state.fail(start) == nil)
        #expect(state.feeds.isEmpty)
    }

    @Test func nothingIsTakenAfterTheStop() throws {
        var state = PushState(maximumBytes: 10_000, maximumFeeds: 1)
        let start = try #require(state.offer(self.message(2, 1)).start)
        #expect(state.stop().isEmpty)
        #expect(self.taken(&state, start) == nil)
        #expect(state.offer(self.message(2, 2)).start == nil)
    }
}

@Suite struct QueueTests {
    @Test func aTokenBucketRefillsWithTime() {
        let start = ContinuousClock.now
        var bucket = TokenBucket(RateLimit(rate: 2, burst: 3), now: start)
        for _ in 0..<3 { #expect(bucket.take(now: start) == nil) }
        #expect(bucket.take(now: start) == .milliseconds(500))
        #expect(bucket.take(now: start + .milliseconds(500)) == nil)
        #expect(bucket.take(now: start + .milliseconds(500)) != nil)
        for _ in 0..<3 { #expect(bucket.take(now: start + .seconds(100)) == nil) }
        #expect(bucket.take(now: start + .seconds(100)) != nil)
        // A clock that goes back costs nothing and gives nothing.
        #expect(bucket.take(now: start) != nil)
    }

    @Test func whatCostsMoreThanTheBurstLeavesADebt() {
        let start = ContinuousClock.now
        var bucket = TokenBucket(RateLimit(rate: 2, burst: 4), now: start)
        #expect(bucket.take(3, now: start) == nil)
        #expect(bucket.take(3, now: start) == .seconds(1))
        // Ten are allowed when the bucket is full, and paid for afterwards.
        #expect(bucket.take(10, now: start + .seconds(10)) == nil)
        #expect(bucket.take(now: start + .seconds(10)) == .milliseconds(3500))
        #expect(bucket.take(now: start + .milliseconds(13_500)) == nil)
        #expect(bucket.take(0, now: start + .milliseconds(13_500)) == nil)
    }

    @Test func producersWaitForTheConsumer() async {
        let queue = BoundedQueue<Int>(capacity: 10)
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                for value in 0..<1000 { await queue.push(value, cost: 3) }
                queue.finish()
            }
            var found: [Int] = []
            while let values = await queue.takeAll() {
                #expect(values.count <= 4)
                found += values
            }
            #expect(found == Array(0..<1000))
        }
        #expect(await queue.push(1, cost: 1) == false)
    }

    @Test func aCancelledConsumerEndsTheQueue() async {
        let queue = BoundedQueue<Int>(capacity: 10)
        let consumer = Task { await queue.takeAll() == nil }
        consumer.cancel()
        #expect(await consumer.value)
        #expect(await queue.push(1, cost: 1) == false)
    }

    @Test func slotsAreGivenInTurn() async {
        let slots = Slots(count: 2)
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<100 {
                group.addTask {
                    await slots.take()
                    await Task.yield()
                    slots.giveBack()
                }
            }
        }
        await slots.take()
        await slots.take()
    }
}
