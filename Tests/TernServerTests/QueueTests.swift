// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Testing

@testable import TernServer

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
