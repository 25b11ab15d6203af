// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import LabLink
import Testing

struct TranslatorTests {
    private struct Ends {
        var client: [UInt8]
        var outside: [UInt8]
        var server: [UInt8]

        init(_ version: Int) {
            self.client = version == 4 ? TestPacket.client4 : TestPacket.client6
            self.outside = version == 4 ? TestPacket.outside4 : TestPacket.outside6
            self.server = version == 4 ? TestPacket.server4 : TestPacket.server6
        }
    }

    enum Transport: CaseIterable {
        case udp
        case tcp

        func packet(
            from source: [UInt8], _ sourcePort: UInt16, to destination: [UInt8], _ port: UInt16, payload: Int = 40
        )
            -> [UInt8]
        {
            switch self {
            case .udp: TestPacket.udp(from: source, sourcePort, to: destination, port, payload: payload)
            case .tcp: TestPacket.tcp(from: source, sourcePort, to: destination, port, payload: payload)
            }
        }
    }

    private static func link(seed: UInt64 = 1) -> TestLink {
        TestLink([AccessConditions(up: DirectionConditions(), down: DirectionConditions(), hasNAT: true)], seed: seed)
    }

    @Test(arguments: [4, 6], Transport.allCases)
    func packetsLeaveWithAnotherAddressAndAnswersComeBack(version: Int, transport: Transport) throws {
        let ends = Ends(version)
        let link = Self.link()
        for payload in [0, 1, 40, 1_399] {
            let packet = transport.packet(from: ends.client, 5_000, to: ends.server, 443, payload: payload)
            let outside = try #require(link.carried(packet))
            #expect(TestPacket.isIntact(outside))
            #expect(TestPacket.addresses(of: outside).source == ends.outside)
            #expect(TestPacket.addresses(of: outside).destination == ends.server)
            let port = TestPacket.ports(of: outside).source
            // The same as made from scratch, so nothing else was changed.
            #expect(outside == transport.packet(from: ends.outside, port, to: ends.server, 443, payload: payload))
            let answer = transport.packet(from: ends.server, 443, to: ends.outside, port, payload: payload)
            #expect(
                link.carried(answer, .down)
                    == transport.packet(from: ends.server, 443, to: ends.client, 5_000, payload: payload))
        }
    }

    @Test
    func aPortStandsForOnePortOfTheClientWhomeverItTalksTo() throws {
        let ends = Ends(4)
        let link = Self.link()
        var ports: [UInt16] = []
        for (source, destination) in [(5_000, 443), (5_000, 53), (5_001, 443)] as [(UInt16, UInt16)] {
            let packet = TestPacket.udp(from: ends.client, source, to: ends.server, destination)
            ports.append(TestPacket.ports(of: try #require(link.carried(packet))).source)
        }
        #expect(ports[0] == ports[1])
        #expect(ports[0] != ports[2])
    }

    @Test
    func checksumsThatAreNotThereStayAway() throws {
        let ends = Ends(4)
        let link = Self.link()
        let packet = TestPacket.udp(from: ends.client, 5_000, to: ends.server, 443, hasChecksum: false)
        let outside = try #require(link.carried(packet))
        #expect(outside.word(26) == 0)
        #expect(TestPacket.isIntact(outside))
    }

    /// One of the 65,536 payloads makes the checksum zero, which is written as all ones (RFC 768).
    @Test(arguments: [4, 6])
    func aChecksumOfZeroIsWrittenAsAllOnes(version: Int) throws {
        let ends = Ends(version)
        let link = Self.link()
        let probe = try #require(
            link.carried(TestPacket.udp(from: ends.client, 5_000, to: ends.server, 443, payload: 2)))
        let start = version == 4 ? 20 : 40
        // Move what the checksum lacks into the payload: then it lacks nothing.
        var packet = TestPacket.udp(from: ends.client, 5_000, to: ends.server, 443, payload: 2)
        let (payload, missing) = (Int(packet.word(start + 8)), Int(probe.word(start + 6)))
        let sum = (payload + missing) % 0xffff
        packet.set(start + 8, UInt16(sum))
        let whole = TestPacket.ip(ends.client, ends.server, 17, TestPacket.repaired(packet, from: start))
        let outside = try #require(link.carried(whole))
        #expect(outside.word(start + 6) == 0xffff)
        #expect(TestPacket.isIntact(outside))
    }

    @Test
    func damageStaysVisible() throws {
        let ends = Ends(4)
        let link = Self.link()
        var packet = TestPacket.tcp(from: ends.client, 5_000, to: ends.server, 443)
        packet[50] ^= 0x40
        #expect(!TestPacket.isIntact(try #require(link.carried(packet))))
    }

    @Test(arguments: Transport.allCases)
    func afterARebindTheClientComesFromAnotherPort(transport: Transport) throws {
        let ends = Ends(4)
        let link = Self.link()
        let packet = transport.packet(from: ends.client, 5_000, to: ends.server, 443)
        let before = TestPacket.ports(of: try #require(link.carried(packet))).source
        link.link.begin([NetworkChange(at: 0, .rebind)], at: 10)
        let late = transport.packet(from: ends.server, 443, to: ends.outside, before)
        #expect(link.carried(late, .down, at: 20) == nil)
        #expect(link.link.counters[0].down.untranslated == 1)
        // Established TCP, too: the server does not know the new port and answers with a reset.
        let after = TestPacket.ports(of: try #require(link.carried(packet, at: 30))).source
        #expect(after != before)
        let reset = transport.packet(from: ends.server, 443, to: ends.outside, after, payload: 0)
        #expect(link.carried(reset, .down, at: 40).map { TestPacket.ports(of: $0).destination } == 5_000)
    }

    @Test
    func whatNobodyAskedForDoesNotComeIn() {
        let ends = Ends(4)
        let link = Self.link()
        #expect(link.carried(TestPacket.udp(from: ends.server, 443, to: ends.outside, 6_000), .down) == nil)
        #expect(link.carried(TestPacket.udp(from: ends.server, 443, to: ends.client, 6_000), .down) == nil)
        #expect(link.carried(TestPacket.udp(from: ends.server, 443, to: ends.outside, 0), .down) == nil)
        #expect(link.link.counters[0].down.untranslated == 3)
        // Nor does anything leave that is not the client's.
        #expect(link.carried(TestPacket.udp(from: [10, 9, 9, 9], 5_000, to: ends.server, 443)) == nil)
        #expect(link.carried(TestPacket.udp(from: ends.client, 0, to: ends.server, 443)) == nil)
        #expect(link.link.counters[0].up.untranslated == 2)
    }

    @Test(arguments: [4, 6])
    func echoesAreTranslated(version: Int) throws {
        let ends = Ends(version)
        let link = Self.link()
        let (request, reply): (UInt8, UInt8) = version == 4 ? (8, 0) : (128, 129)
        let body: [UInt8] = [0x12, 0x34, 0, 1, 9, 9, 9]
        let outside = try #require(
            link.carried(TestPacket.icmp(from: ends.client, to: ends.server, type: request, body: body)))
        #expect(TestPacket.isIntact(outside))
        let identifier = Array(outside[(version == 4 ? 24 : 44)...].prefix(2))
        let answer = TestPacket.icmp(
            from: ends.server, to: ends.outside, type: reply, body: identifier + [0, 1, 9, 9, 9])
        #expect(
            link.carried(answer, .down) == TestPacket.icmp(from: ends.server, to: ends.client, type: reply, body: body))
    }

    @Test(arguments: [4, 6], Transport.allCases)
    func errorsComingInTellOfWhatTheClientSent(version: Int, transport: Transport) throws {
        let ends = Ends(version)
        let link = Self.link()
        let packet = transport.packet(from: ends.client, 5_000, to: ends.server, 443)
        let outside = try #require(link.carried(packet))
        let (type, code): (UInt8, UInt8) = version == 4 ? (3, 4) : (2, 0)
        for quoted in [outside.count, (version == 4 ? 20 : 40) + 8] {
            let error = TestPacket.icmp(
                from: ends.server, to: ends.outside, type: type, code: code,
                body: [0, 0, 5, 0] + outside.prefix(quoted))
            let translated = try #require(link.carried(error, .down))
            let expected = TestPacket.icmp(
                from: ends.server, to: ends.client, type: type, code: code, body: [0, 0, 5, 0] + packet.prefix(quoted))
            #expect(translated.prefix(version == 4 ? 20 : 40) == expected.prefix(version == 4 ? 20 : 40))
            if quoted == outside.count || transport == .udp { #expect(translated == expected) }
            #expect(TestPacket.checksumOfICMP(translated) == 0)
        }
    }

    @Test(arguments: [4, 6], Transport.allCases)
    func errorsGoingOutTellOfWhatTheServerSent(version: Int, transport: Transport) throws {
        let ends = Ends(version)
        let link = Self.link()
        let outside = try #require(
            link.carried(transport.packet(from: ends.client, 5_000, to: ends.server, 443)))
        let port = TestPacket.ports(of: outside).source
        let (type, code): (UInt8, UInt8) = version == 4 ? (3, 3) : (1, 4)
        func error(_ address: [UInt8], _ port: UInt16) -> [UInt8] {
            TestPacket.icmp(
                from: address, to: ends.server, type: type, code: code,
                body: [0, 0, 0, 0] + transport.packet(from: ends.server, 443, to: address, port))
        }
        #expect(link.carried(error(ends.client, 5_000)) == error(ends.outside, port))
        // Of a port that has no mapping there is nothing to tell.
        #expect(link.carried(error(ends.client, 5_001)) == nil)
    }

    @Test
    func laterFragmentsFollowByTheirAddress() throws {
        let ends = Ends(4)
        let link = Self.link()
        var fragment = TestPacket.ip(ends.client, ends.server, 17, [1, 2, 3, 4])
        fragment.set(6, 0x0020)
        fragment.set(10, 0)
        fragment.set(10, TestPacket.checksum(Array(fragment[..<20])))
        let outside = try #require(link.carried(fragment))
        #expect(TestPacket.checksum(Array(outside[..<20])) == 0)
        #expect(TestPacket.addresses(of: outside).source == ends.outside)
        #expect(outside.suffix(4) == [1, 2, 3, 4])
    }

    @Test
    func thereAreAsManyMappingsAsPorts() {
        let ends = Ends(4)
        let link = Self.link()
        var ports: Set<UInt16> = []
        var refused = 0
        for port in UInt16(1)...65_535 {
            let packet = TestPacket.udp(from: ends.client, port, to: ends.server, 443, payload: 0)
            if let outside = link.carried(packet) {
                ports.insert(TestPacket.ports(of: outside).source)
            } else {
                refused += 1
            }
        }
        #expect(ports.count == 64_511)
        #expect(refused == 65_535 - 64_511)
        #expect(ports.min() ?? 0 >= 1_024)
    }
}
