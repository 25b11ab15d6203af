// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import LabLink
import Testing

struct LinkTimeTests {
    @Test
    func aPacketTakesItsSendingTimeAndTheDelay() {
        // 1,250 bytes at 10 Mbit/s: a millisecond.
        let link = TestLink(up: DirectionConditions(bitsPerSecond: 10e6, delay: 0.02))
        link.send(plainPacket(1_250), at: 5 * millisecond)
        #expect(link.arrivals(by: 26 * millisecond - 1).isEmpty)
        #expect(link.link.nextTime == 26 * millisecond)
        #expect(link.arrivals(by: 26 * millisecond).map(\.due) == [26 * millisecond])
        #expect(link.link.nextTime == nil)
        #expect(link.link.pool.takenBuffers == 0)
    }

    @Test
    func packetsThatWaitFollowEachOtherAtTheRate() {
        let link = TestLink(up: DirectionConditions(bitsPerSecond: 10e6, delay: 0.02))
        for mark in 0..<5 { link.send(plainPacket(1_250, UInt8(mark)), at: 0) }
        link.send(plainPacket(625, 5), at: 2 * millisecond)
        // An idle bottleneck saves nothing up.
        link.send(plainPacket(1_250, 6), at: 10 * millisecond)
        let arrivals = link.arrivals()
        #expect(arrivals.map(\.due) == milliseconds(21, 22, 23, 24, 25, 25.5, 31))
        #expect(arrivals.map { $0.packet[20] } == Array(0...6))
    }

    @Test(arguments: [1, 7, 1_000])
    func timesDoNotDependOnHowOftenTheLinkIsAsked(step: Int) {
        let asked = TestLink(
            up: DirectionConditions(bitsPerSecond: 3e6, delay: 0.01, jitter: 0.002, loss: .random(0.1)))
        let unasked = TestLink(
            up: DirectionConditions(bitsPerSecond: 3e6, delay: 0.01, jitter: 0.002, loss: .random(0.1)))
        var arrivals: [TestLink.Arrival] = []
        for time in 0..<1_000 {
            if time % 3 == 0 {
                asked.send(plainPacket(700 + time % 600), at: UInt64(time) * millisecond)
                unasked.send(plainPacket(700 + time % 600), at: UInt64(time) * millisecond)
            }
            if time % step == 0 { arrivals += asked.arrivals(by: UInt64(time) * millisecond) }
        }
        #expect(arrivals + asked.arrivals() == unasked.arrivals())
    }

    @Test
    func bothDirectionsAreIndependent() {
        let link = TestLink(
            up: DirectionConditions(bitsPerSecond: 1e6, delay: 0.1), down: DirectionConditions(delay: 0.005))
        link.send(plainPacket(1_000), .up)
        link.send(plainPacket(1_000), .down)
        let arrivals = link.arrivals()
        #expect(
            arrivals.filter { $0.direction == .up }.map(\.due) == milliseconds(108))
        #expect(arrivals.filter { $0.direction == .down }.map(\.due) == milliseconds(5))
    }

    @Test
    func withoutALimitPacketsArriveAtOnce() {
        let link = TestLink()
        for _ in 0..<100 { link.send(plainPacket(1_500), at: 7) }
        #expect(link.arrivals(by: 7).count == 100)
    }

    @Test
    func jitterStaysWithinItsBoundsAndKeepsTheOrder() {
        let link = TestLink(up: DirectionConditions(delay: 0.05, jitter: 0.01))
        for packet in 0..<2_000 {
            link.send(plainPacket(100, UInt8(packet % 256)), at: UInt64(packet) * 100 * millisecond)
        }
        let arrivals = link.arrivals()
        let delays = arrivals.enumerated().map { $1.due - UInt64($0) * 100 * millisecond }
        #expect(delays.allSatisfy { (40 * millisecond...60 * millisecond).contains($0) })
        #expect(delays.contains { $0 < 41 * millisecond } && delays.contains { $0 > 59 * millisecond })
        let mean = Double(delays.reduce(0, +)) / 2_000
        // Standard deviation of the mean: 20 ms / sqrt(12 * 2000) = 0.13 ms.
        #expect(abs(mean - 50e6) < 0.5e6)
    }

    @Test(arguments: [false, true])
    func packetsOvertakeEachOtherOnlyWhereTheyMay(reorders: Bool) {
        let link = TestLink(up: DirectionConditions(delay: 0.05, jitter: 0.01, reorders: reorders))
        for packet in 0..<200 { link.send(plainPacket(100, UInt8(packet)), at: UInt64(packet) * millisecond) }
        let arrivals = link.arrivals()
        #expect(arrivals.count == 200)
        #expect(arrivals.map(\.due) == arrivals.map(\.due).sorted())
        let order = arrivals.map { $0.packet[20] }
        #expect((order == order.sorted()) == !reorders)
    }

    @Test
    func theSameSeedGivesTheSameAndAnotherDoesNot() {
        func run(_ seed: UInt64) -> [TestLink.Arrival] {
            let conditions = DirectionConditions(
                bitsPerSecond: 8e6, delay: 0.02, jitter: 0.01, reorders: true,
                loss: .bursts(enter: 0.02, leave: 0.3, inside: 0.9))
            let link = TestLink(up: conditions, down: conditions, seed: seed)
            for packet in 0..<1_000 {
                link.send(plainPacket(900), packet % 3 == 0 ? .down : .up, at: UInt64(packet) * 800_000)
            }
            return link.arrivals()
        }
        #expect(run(3) == run(3))
        #expect(run(3).map(\.due) != run(4).map(\.due))
    }

    @Test
    func resettingBeginsAnew() {
        let conditions = DirectionConditions(bitsPerSecond: 8e6, delay: 0.02, loss: .random(0.2))
        let link = TestLink(up: conditions)
        var outcomes: [[UInt8]] = []
        for round in 0..<2 {
            let start = UInt64(round) * 1_000 * millisecond
            for packet in 0..<100 { link.send(plainPacket(500, UInt8(packet)), at: start) }
            outcomes.append(link.arrivals(by: start + 30 * millisecond).map { $0.packet[20] })
            link.link.reset(
                NetworkConditions(AccessConditions(up: conditions, down: DirectionConditions())), seed: 1)
            #expect(link.link.counters == [AccessCounters()])
            #expect(link.link.nextTime == nil)
            #expect(link.link.pool.takenBuffers == 0)
        }
        #expect(outcomes[0] == outcomes[1])
        #expect(outcomes[0].count == 20 || outcomes[0].count == 21)
    }

    @Test(arguments: [0, -5, .nan, .infinity, 1e-300])
    func ridiculousRatesHarmNobody(rate: Double) {
        let link = TestLink(up: DirectionConditions(bitsPerSecond: rate, delay: rate, jitter: rate))
        for _ in 0..<10 { link.send(plainPacket(1_500), at: millisecond) }
        _ = link.arrivals()
        #expect(link.link.counters[0].up.packets == 10)
    }
}
