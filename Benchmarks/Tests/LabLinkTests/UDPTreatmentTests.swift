// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import LabLink
import Testing

struct UDPTreatmentTests {
    private static func access(_ treatment: UDPTreatment, hasNAT: Bool = false) -> AccessConditions {
        let delay = DirectionConditions(delay: 0.01)
        return AccessConditions(up: delay, down: delay, udp: treatment, hasNAT: hasNAT)
    }

    private static let udp4 = TestPacket.udp(from: TestPacket.client4, 5_000, to: TestPacket.server4, 443)
    private static let udp6 = TestPacket.udp(from: TestPacket.client6, 5_000, to: TestPacket.server6, 443)
    private static let tcp4 = TestPacket.tcp(from: TestPacket.client4, 5_000, to: TestPacket.server4, 443)

    @Test
    func blockedUDPVanishesAndTCPPasses() {
        let link = TestLink([Self.access(.blocked)])
        for packet in [Self.udp4, Self.udp6, Self.tcp4] { link.send(packet) }
        #expect(link.arrivals().map(\.packet) == [Self.tcp4])
        #expect(link.link.counters[0].up.udpDropped == 2)
        #expect(link.link.pool.takenBuffers == 0)
    }

    @Test
    func blockedUDPIsFoundBehindExtensionHeadersAndInFragments() {
        let link = TestLink([Self.access(.blocked)])
        let message = Array(Self.udp6[40...])
        func packet(_ headers: [UInt8], first: UInt8) -> [UInt8] {
            TestPacket.ip(TestPacket.client6, TestPacket.server6, first, headers + message)
        }
        // Hop-by-hop options, then destination options of 16 bytes.
        let options: [UInt8] = [60, 0, 1, 4, 0, 0, 0, 0] + [17, 1, 1, 12] + [UInt8](repeating: 0, count: 12)
        #expect(link.carried(packet(options, first: 0)) == nil)
        #expect(link.carried(packet([17, 0, 0, 0, 0, 0, 0, 1], first: 44)) == nil)
        #expect(link.carried(packet([17, 0, 0, 8, 0, 0, 0, 1], first: 44)) == nil)
        var fragment = Self.udp4
        fragment.set(6, 0x0010)
        #expect(link.carried(fragment) == nil)
        #expect(link.link.counters[0].up.udpDropped == 4)
    }

    @Test(arguments: [4, 6], [10, 1_400])
    func refusedUDPIsAnsweredByICMP(version: Int, payload: Int) throws {
        let (client, server) =
            version == 4
            ? (TestPacket.client4, TestPacket.server4) : (TestPacket.client6, TestPacket.server6)
        let link = TestLink([Self.access(.refused)])
        let packet = TestPacket.udp(from: client, 5_000, to: server, 443, payload: payload)
        link.send(packet)
        let arrivals = link.arrivals()
        let answer = try #require(arrivals.first)
        #expect(arrivals.count == 1)
        #expect(answer.direction == .down)
        #expect(answer.due == 10 * millisecond)
        #expect(TestPacket.addresses(of: answer.packet).source == server)
        #expect(TestPacket.addresses(of: answer.packet).destination == client)
        let start = version == 4 ? 20 : 40
        #expect(Array(answer.packet[start..<start + 2]) == (version == 4 ? [3, 13] : [1, 1]))
        #expect(Array(answer.packet[(start + 8)...]) == Array(packet.prefix(version == 4 ? 548 : 1_232)))
        #expect(payload > 1_000 || TestPacket.isIntact(answer.packet))
        #expect(TestPacket.checksumOfICMP(answer.packet) == 0)
        #expect(link.link.counters[0].up.udpDropped == 1)
    }

    @Test
    func fragmentsThatAreNotTheFirstGetNoAnswer() {
        let link = TestLink([Self.access(.refused)])
        var fragment = Self.udp4
        fragment.set(6, 0x0010)
        link.send(fragment)
        #expect(link.arrivals().isEmpty)
        #expect(link.link.pool.takenBuffers == 0)
    }

    @Test(arguments: [100e3, 1e6, 5e6])
    func throttledUDPGetsItsRateAndNoMore(rate: Double) {
        let link = TestLink([Self.access(.throttled(bitsPerSecond: rate))])
        // Ten seconds at 8 Mbit/s up, and as much TCP.
        let packet = TestPacket.udp(from: TestPacket.client4, 1, to: TestPacket.server4, 2, payload: 972)
        let tcp = TestPacket.tcp(from: TestPacket.client4, 1, to: TestPacket.server4, 2, payload: 960)
        #expect(packet.count == 1_000 && tcp.count == 1_000)
        var passed = (udp: 0, tcp: 0)
        for time in 0..<10_000 {
            link.send(packet, at: UInt64(time) * millisecond)
            link.send(tcp, at: UInt64(time) * millisecond)
            for arrival in link.arrivals(by: UInt64(time) * millisecond) {
                if arrival.packet[9] == 17 { passed.udp += 1 } else { passed.tcp += 1 }
            }
        }
        for arrival in link.arrivals() {
            if arrival.packet[9] == 17 { passed.udp += 1 } else { passed.tcp += 1 }
        }
        let expected = rate * 10 / 8_000
        let depth = max(rate * 0.1 / 8, 1_500) / 1_000
        #expect(Double(passed.udp) <= expected + depth + 1)
        #expect(Double(passed.udp) >= expected + depth - 3)
        #expect(passed.tcp == 10_000)
        #expect(link.link.counters[0].up.udpDropped == 10_000 - passed.udp)
    }

    @Test
    func directionsAreThrottledEachForItself() {
        let link = TestLink([Self.access(.throttled(bitsPerSecond: 8e3))])
        let down = TestPacket.udp(from: TestPacket.server4, 443, to: TestPacket.client4, 5_000, payload: 1_400)
        let up = TestPacket.udp(from: TestPacket.client4, 5_000, to: TestPacket.server4, 443, payload: 1_400)
        for _ in 0..<2 {
            link.send(up, .up)
            link.send(down, .down)
        }
        #expect(Set(link.arrivals().map(\.direction)) == [.up, .down])
        #expect(link.link.counters[0].up.udpDropped == 1)
        #expect(link.link.counters[0].down.udpDropped == 1)
    }

    @Test
    func treatmentChangesWhileTheLinkIsUsed() {
        let link = TestLink([Self.access(.carried)])
        link.link.begin([NetworkChange(at: 1, .udp(.blocked)), NetworkChange(at: 2, .udp(.carried))], at: 0)
        for second in 0..<3 { link.send(Self.udp4, at: UInt64(second) * 1_000 * millisecond + 1) }
        #expect(link.arrivals().map { $0.due / (1_000 * millisecond) } == [0, 2])
    }

    @Test(arguments: [4, 6])
    func aRefusalFindsItsWayThroughATranslator(version: Int) throws {
        let (client, server) =
            version == 4
            ? (TestPacket.client4, TestPacket.server4) : (TestPacket.client6, TestPacket.server6)
        let link = TestLink([Self.access(.refused, hasNAT: true)])
        let packet = TestPacket.udp(from: client, 5_000, to: server, 443)
        link.send(packet)
        let answer = try #require(link.arrivals().first?.packet)
        #expect(TestPacket.isIntact(answer))
        #expect(TestPacket.addresses(of: answer).destination == client)
        #expect(Array(answer[(version == 4 ? 28 : 48)...]) == packet)
    }
}
