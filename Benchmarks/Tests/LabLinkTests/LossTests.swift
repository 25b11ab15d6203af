// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Testing

@testable import LabLink

struct LossTests {
    /// Which of many packets are lost.
    private static func fates(_ loss: Loss, seed: UInt64, count: Int = 100_000) -> [Bool] {
        var process = LossProcess(loss, generator: SeededGenerator(seed: seed, stream: 0))
        return (0..<count).map { _ in process.losesNext() }
    }

    @Test(arguments: [0.001, 0.01, 0.1, 0.5], [1, 2, 99] as [UInt64])
    func singleLossesAreAsFrequentAsTheyShouldBe(probability: Double, seed: UInt64) {
        let fates = Self.fates(.random(probability), seed: seed)
        let lost = Double(fates.count { $0 })
        // Four standard deviations.
        let bound = 4 * (1e5 * probability * (1 - probability)).squareRoot()
        #expect(abs(lost - 1e5 * probability) < bound)
        // Nothing is learned from the packet before.
        let pairs = Double(zip(fates, fates.dropFirst()).count { $0 && $1 })
        let expected = 1e5 * probability * probability
        #expect(abs(pairs - expected) < 5 * expected.squareRoot() + 5)
    }

    @Test(arguments: [1, 2, 99] as [UInt64])
    func burstsAreAsLongAndAsFrequentAsTheyShouldBe(seed: UInt64) {
        // A bad spell begins once in 200 packets and lasts 10/3 packets: 1.64 % of all packets.
        let fates = Self.fates(.bursts(enter: 0.005, leave: 0.3, inside: 1), seed: seed)
        var bursts: [Int] = []
        var length = 0
        for isLost in fates {
            if isLost {
                length += 1
            } else if length > 0 {
                bursts.append(length)
                length = 0
            }
        }
        let share = Double(fates.count { $0 }) / 1e5
        #expect(abs(share - 0.005 / 0.305) < 0.002)
        let mean = Double(bursts.reduce(0, +)) / Double(bursts.count)
        // About 490 bursts; the standard deviation of one is 2.8, of their mean 0.13.
        #expect(abs(mean - 1 / 0.3) < 0.5)
        let expected = 1e5 * 0.3 * 0.005 / 0.305
        #expect(abs(Double(bursts.count) - expected) < 90)
        #expect((bursts.max() ?? 0) > 8)
    }

    @Test
    func insideABadSpellNotEverythingIsLost() {
        let fates = Self.fates(.bursts(enter: 1, leave: 0, inside: 0.25), seed: 5)
        #expect(abs(Double(fates.count { $0 }) / 1e5 - 0.25) < 0.01)
    }

    @Test
    func whatIsLostDoesNotDependOnJitterOrTheOtherDirection() {
        let alone = TestLink(up: DirectionConditions(loss: .random(0.3)))
        let together = TestLink(
            up: DirectionConditions(delay: 0.1, jitter: 0.05, loss: .random(0.3)),
            down: DirectionConditions(loss: .random(0.7)))
        for packet in 0..<200 {
            alone.send(plainPacket(100, UInt8(packet)), at: UInt64(packet) * millisecond)
            together.send(plainPacket(100, UInt8(packet)), at: UInt64(packet) * millisecond)
            together.send(plainPacket(100, UInt8(packet)), .down, at: UInt64(packet) * millisecond)
        }
        let expected = alone.arrivals().map { $0.packet[20] }
        #expect(together.arrivals().filter { $0.direction == .up }.map { $0.packet[20] } == expected)
    }

    @Test
    func lossIsCountedAndTakesNoneOfTheRate() {
        let link = TestLink(up: DirectionConditions(bitsPerSecond: 8e6, loss: .random(1)))
        link.send(plainPacket(1_000), at: 0)
        link.link.begin([NetworkChange(at: 0, .up(DirectionConditions(bitsPerSecond: 8e6)))], at: 0)
        link.send(plainPacket(1_000), at: 0)
        #expect(link.arrivals().map(\.due) == [millisecond])
        let counters = link.link.counters[0].up
        #expect([counters.packets, counters.lost, counters.deliveredPackets] == [2, 1, 1])
        #expect([counters.bytes, counters.deliveredBytes] == [2_000, 1_000])
    }
}
