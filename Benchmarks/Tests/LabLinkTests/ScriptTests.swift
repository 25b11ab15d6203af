// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import LabLink
import Testing

struct ScriptTests {
    private static let steady = DirectionConditions(bitsPerSecond: 8e6, delay: 0.01)

    @Test
    func changesHappenAtTheirTimesHoweverLateTheLinkIsAsked() {
        let link = TestLink(up: Self.steady)
        link.link.begin(
            [
                NetworkChange(at: 0.02, .up(DirectionConditions(bitsPerSecond: 80e6, delay: 0.05))),
                NetworkChange(at: 0.0025, .up(DirectionConditions(bitsPerSecond: 4e6, delay: 0.01))),
            ], at: 100 * millisecond)
        for _ in 0..<4 { link.send(plainPacket(1_000), at: 100 * millisecond) }
        // Three at 8 Mbit/s until 103 ms, one at 4 Mbit/s until 105 ms, then one at 80 Mbit/s with the longer delay.
        link.send(plainPacket(1_000), at: 130 * millisecond)
        #expect(link.arrivals().map(\.due) == milliseconds(111, 112, 113, 115, 180.1))
        let applied = link.link.takeAppliedChanges()
        #expect(applied.map(\.time) == milliseconds(102.5, 120))
        #expect(applied.map(\.change.at) == [0.0025, 0.02])
        #expect(link.link.takeAppliedChanges().isEmpty)
    }

    @Test
    func aCutTakesWhatIsUnderWayAndNothingThatArrivedBefore() {
        let link = TestLink(up: Self.steady)
        link.link.begin(
            [NetworkChange(at: 0.0125, .link(isUp: false)), NetworkChange(at: 0.1, .link(isUp: true))], at: 0)
        for mark in 0..<9 { link.send(plainPacket(1_000, UInt8(mark))) }
        link.send(plainPacket(1_000, 9), at: 50 * millisecond)
        link.send(plainPacket(1_000, 10), at: 100 * millisecond)
        let arrivals = link.arrivals()
        #expect(arrivals.map { $0.packet[20] } == [0, 1, 10])
        #expect(arrivals.map(\.due) == milliseconds(11, 12, 111))
        #expect(link.link.counters[0].up.lostWhileDown == 8)
        #expect(link.link.counters[0].up.deliveredPackets == 3)
        #expect(link.link.pool.takenBuffers == 0)
    }

    @Test
    func aLinkCanBeDownFromTheBeginning() {
        let link = TestLink([AccessConditions(up: DirectionConditions(), down: DirectionConditions(), isUp: false)])
        link.send(plainPacket(100))
        #expect(link.arrivals().isEmpty)
        #expect(link.link.counters[0].up.lostWhileDown == 1)
    }

    @Test
    func accessesAreIndependent() {
        let access = AccessConditions(up: Self.steady, down: Self.steady)
        let link = TestLink([access, access])
        link.link.begin([NetworkChange(at: 0, access: 1, .link(isUp: false))], at: 0)
        link.send(plainPacket(1_000), access: 0)
        link.send(plainPacket(1_000), access: 1)
        link.send(plainPacket(1_000), access: 2)
        #expect(link.arrivals().map(\.access) == [0])
        #expect(link.link.counters.map(\.up.packets) == [1, 1])
    }

    @Test
    func whatIsTooLargeVanishes() {
        let link = TestLink([
            AccessConditions(up: DirectionConditions(), down: DirectionConditions(), mtu: 1_400, silentMTU: 1_300)
        ])
        for count in [1_300, 1_301, 1_400, 1_401] { link.send(plainPacket(count)) }
        #expect(link.arrivals().map(\.packet.count) == [1_300])
        link.link.begin([NetworkChange(at: 0, .silentMTU(nil))], at: millisecond)
        for count in [1_301, 1_400, 1_401] { link.send(plainPacket(count), at: millisecond) }
        #expect(link.arrivals().map(\.packet.count) == [1_301, 1_400])
        #expect(link.link.counters[0].up.tooLarge == 4)
    }

    @Test
    func anotherScriptReplacesTheFirst() {
        let link = TestLink(up: Self.steady)
        link.link.begin([NetworkChange(at: 1, .link(isUp: false))], at: 0)
        link.link.begin([NetworkChange(at: 2, .rebind), NetworkChange(at: -1, access: 7, .preferred)], at: 0)
        #expect(link.link.nextTime == 2_000 * millisecond)
        link.send(plainPacket(100), at: 1_500 * millisecond)
        #expect(link.arrivals().count == 1)
        #expect(link.link.takeAppliedChanges().map(\.change.what) == [.preferred, .rebind])
    }

    @Test
    func hostsTalkToTheirNeighboursOnTheirOwn() {
        let link = TestLink(up: DirectionConditions(loss: .random(0.5)))
        var solicitation = TestPacket.icmp(
            from: TestPacket.client6, to: [0xff, 2] + [UInt8](repeating: 0, count: 13) + [2], type: 133,
            body: [0, 0, 0, 0])
        #expect(link.carried(solicitation) == nil)
        solicitation.replaceSubrange(8..<10, with: [0xfe, 0x80])
        #expect(link.carried(solicitation) == nil)
        #expect(link.carried(TestPacket.udp(from: TestPacket.client4, 1, to: [224, 0, 0, 251], 5_353)) == nil)
        #expect(link.link.counters == [AccessCounters()])
        #expect(link.link.pool.takenBuffers == 0)
    }

    @Test
    func changesSayInWordsWhatTheyDo() {
        let texts = [
            NetworkChange.What.down(
                DirectionConditions(bitsPerSecond: 2.5e6, delay: 0.04, jitter: 0.005, loss: .random(0.01))),
            .up(DirectionConditions(loss: .bursts(enter: 0.01, leave: 0.09, inside: 0.5))),
            .udp(.throttled(bitsPerSecond: 800e3)), .silentMTU(1_300), .link(isUp: false),
        ].map(\.text)
        #expect(
            texts == [
                "down: 2.5 Mbit/s, 40 ± 5 ms, 1 % loss", "up: no limit, 0 ms, 5 % loss in bursts",
                "UDP throttled to 800 kbit/s", "packets above 1300 bytes vanish", "link down",
            ])
    }
}
