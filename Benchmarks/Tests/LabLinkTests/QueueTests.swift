// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import LabLink
import Testing

struct QueueTests {
    @Test
    func aFullQueueDropsWhatComesLast() {
        let link = TestLink(up: DirectionConditions(bitsPerSecond: 8e6, queueBytes: 3_000))
        // The first is being sent, three wait, one too many comes; a smaller one does not fit either.
        for mark in 0..<5 { link.send(plainPacket(1_000, UInt8(mark))) }
        link.send(plainPacket(100, 5))
        // After a millisecond there is room for one.
        link.send(plainPacket(1_000, 6), at: millisecond)
        link.send(plainPacket(1_000, 7), at: millisecond)
        let arrivals = link.arrivals()
        #expect(arrivals.map { $0.packet[20] } == [0, 1, 2, 3, 6])
        #expect(arrivals.map(\.due) == milliseconds(1, 2, 3, 4, 5))
        let counters = link.link.counters[0].up
        #expect(counters.dropped == 3)
        #expect(counters.longestQueueBytes == 3_000)
        #expect(link.link.pool.takenBuffers == 0)
    }

    @Test
    func aQueueOfNoLengthHoldsNothing() {
        let link = TestLink(up: DirectionConditions(bitsPerSecond: 8e6, queueBytes: 0))
        for _ in 0..<3 { link.send(plainPacket(1_000)) }
        #expect(link.arrivals().count == 1)
        #expect(link.link.counters[0].up.dropped == 2)
    }

    @Test(arguments: [0, 1, 2, 3] as [UInt8], [4, 6])
    func capablePacketsAreMarkedInALongQueue(ecn: UInt8, version: Int) {
        let link = TestLink(up: DirectionConditions(bitsPerSecond: 8e6, markingBytes: 2_500))
        let (client, server) =
            version == 4
            ? (TestPacket.client4, TestPacket.server4) : (TestPacket.client6, TestPacket.server6)
        let packet = TestPacket.tcp(
            from: client, 5_000, to: server, 443, payload: version == 4 ? 960 : 940, ecn: ecn)
        #expect(packet.count == 1_000)
        for _ in 0..<6 { link.send(packet) }
        let arrivals = link.arrivals()
        // One is being sent, two wait below the threshold, three above it.
        let marks = arrivals.map { version == 4 ? $0.packet[1] & 3 : $0.packet[1] >> 4 & 3 }
        let marked: UInt8 = ecn == 0 ? 0 : 3
        #expect(marks == [ecn, ecn, ecn, marked, marked, marked])
        #expect(arrivals.allSatisfy { TestPacket.isIntact($0.packet) })
        #expect(arrivals.allSatisfy { $0.packet.dropFirst(12) == packet.dropFirst(12) })
        #expect(link.link.counters[0].up.marked == (ecn == 0 ? 0 : 3))
    }

    @Test
    func aMarkLeavesOtherBitsOfTheTrafficClassAlone() {
        for version in [4, 6] {
            let link = TestLink(up: DirectionConditions(bitsPerSecond: 8e6, markingBytes: 0))
            var packet = TestPacket.udp(
                from: version == 4 ? TestPacket.client4 : TestPacket.client6, 1,
                to: version == 4 ? TestPacket.server4 : TestPacket.server6, 2)
            if version == 4 {
                packet[1] = 0b1011_1001
                packet.set(10, 0)
                packet.set(10, TestPacket.checksum(Array(packet[..<20])))
            } else {
                packet[0] = 0x6b
                packet[1] = 0b1001_1010
            }
            link.send(packet)
            link.send(packet)
            let marked = link.arrivals()[1].packet
            #expect(TestPacket.isIntact(marked))
            #expect(Array(marked[..<2]) == (version == 4 ? [0x45, 0b1011_1011] : [0x6b, 0b1011_1010]))
        }
    }

    @Test
    func withoutAThresholdNothingIsMarked() {
        let link = TestLink(up: DirectionConditions(bitsPerSecond: 8e6))
        let packet = TestPacket.udp(from: TestPacket.client4, 1, to: TestPacket.server4, 2, ecn: 2)
        for _ in 0..<100 { link.send(packet) }
        #expect(link.arrivals().allSatisfy { $0.packet == packet })
    }
}
