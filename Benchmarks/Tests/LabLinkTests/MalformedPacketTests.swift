// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import LabLink
import Testing

/// Whatever programs send, the link carries it or drops it.
struct MalformedPacketTests {
    private static let strictest: [AccessConditions] = [UDPTreatment.refused, .throttled(bitsPerSecond: 1e6), .carried]
        .map {
            let conditions = DirectionConditions(bitsPerSecond: 1e9, markingBytes: 0)
            return AccessConditions(up: conditions, down: conditions, udp: $0, hasNAT: true)
        }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func noisePasses(seed: UInt64) {
        let link = TestLink(Self.strictest)
        var generator = Noise(state: seed)
        for time in 0..<4_000 {
            var packet = (0..<Int.random(in: 0...120, using: &generator)).map { _ in
                UInt8.random(in: 0...255, using: &generator)
            }
            if !packet.isEmpty {
                packet[0] = [0x45, 0x46, 0x4f, 0x60, 0x6f, packet[0]].randomElement(using: &generator) ?? 0
            }
            link.send(packet, access: time % 3, time % 2 == 0 ? .up : .down, at: UInt64(time))
        }
        _ = link.arrivals()
        #expect(link.link.pool.takenBuffers == 0)
    }

    /// Every length and single bytes of good packets: noise alone does not get past the first checks.
    @Test
    func cutAndDamagedPacketsPass() {
        let link = TestLink(Self.strictest)
        var generator = Noise(state: 7)
        var time: UInt64 = 0
        for (client, outside, server) in [
            (TestPacket.client4, TestPacket.outside4, TestPacket.server4),
            (TestPacket.client6, TestPacket.outside6, TestPacket.server6),
        ] {
            let isV4 = client.count == 4
            let quoted = TestPacket.tcp(from: server, 443, to: client, 5_000)
            let good: [(packet: [UInt8], direction: Direction)] = [
                (TestPacket.udp(from: client, 5_000, to: server, 443, ecn: 2), .up),
                (TestPacket.tcp(from: client, 5_000, to: server, 443, ecn: 1), .up),
                (TestPacket.udp(from: server, 443, to: outside, 30_000, ecn: 2), .down),
                (TestPacket.icmp(from: client, to: server, type: isV4 ? 3 : 1, body: [0, 0, 0, 0] + quoted), .up),
                (TestPacket.icmp(from: client, to: server, type: isV4 ? 8 : 128, body: [1, 2, 3, 4]), .up),
                (TestPacket.ip(client, server, 44, [17, 0, 0, 1, 0, 0, 0, 1] + quoted), .up),
                (TestPacket.ip(client, server, 0, [43, 0, 1, 4, 0, 0, 0, 0] + [UInt8](repeating: 0, count: 40)), .up),
            ]
            for (packet, direction) in good {
                for count in 0...packet.count {
                    for damage in 0..<6 {
                        var damaged = Array(packet.prefix(count))
                        if damage > 0, count > 0 {
                            damaged[Int.random(in: 0..<count, using: &generator)] = .random(
                                in: 0...255, using: &generator)
                        }
                        time += 1
                        link.send(damaged, access: Int(time % 3), direction, at: time)
                    }
                }
                _ = link.arrivals(by: time)
            }
        }
        _ = link.arrivals()
        #expect(link.link.pool.takenBuffers == 0)
    }

    @Test
    func headersWithoutAnEndEnd() {
        // Extension headers as long as the packet, one after the other.
        let link = TestLink(Self.strictest)
        for next in [0, 43, 44, 60] as [UInt8] {
            let chain = [UInt8]((0..<150).flatMap { _ in [next, 0, 0, 0, 0, 0, 0, 0] as [UInt8] })
            link.send(TestPacket.ip(TestPacket.client6, TestPacket.server6, next, chain))
            link.send(TestPacket.ip(TestPacket.client6, TestPacket.server6, next, [next, 255] + chain))
        }
        _ = link.arrivals()
        #expect(link.link.pool.takenBuffers == 0)
    }
}

private struct Noise: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        self.state = self.state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return self.state ^ (self.state >> 29)
    }
}
