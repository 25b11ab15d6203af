// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import LabLink

/// Packets as hosts make them, and a judge of their checksums that shares nothing with the link.
enum TestPacket {
    static let client4: [UInt8] = [10, 0, 0, 2]
    static let outside4: [UInt8] = [192, 0, 2, 7]
    static let server4: [UInt8] = [198, 51, 100, 1]
    static let client6: [UInt8] = [0xfd, 1] + [UInt8](repeating: 0, count: 13) + [2]
    static let outside6: [UInt8] = [0x20, 1, 0x0d, 0xb8] + [UInt8](repeating: 0, count: 11) + [7]
    static let server6: [UInt8] = [0x20, 1, 0x0d, 0xb8] + [UInt8](repeating: 0xee, count: 11) + [1]
    static let addresses = AccessAddresses(
        client4: client4, client6: client6, outside4: outside4, outside6: outside6)

    static func udp(
        from source: [UInt8], _ sourcePort: UInt16, to destination: [UInt8], _ port: UInt16, payload: Int = 40,
        hasChecksum: Bool = true, ecn: UInt8 = 0
    ) -> [UInt8] {
        let data = (0..<payload).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ 11) }
        var message = words(sourcePort, port, UInt16(8 + payload), 0) + data
        if hasChecksum { message.set(6, transportSum(source, destination, 17, message)) }
        return ip(source, destination, 17, message, ecn: ecn)
    }

    static func tcp(
        from source: [UInt8], _ sourcePort: UInt16, to destination: [UInt8], _ port: UInt16, payload: Int = 40,
        ecn: UInt8 = 0
    ) -> [UInt8] {
        let data = (0..<payload).map { UInt8(truncatingIfNeeded: $0 &* 91 &+ 5) }
        var message = words(sourcePort, port, 0x1234, 0x5678, 0x9abc, 0xdef0, 0x5018, 500, 0, 0) + data
        message.set(16, transportSum(source, destination, 6, message))
        return ip(source, destination, 6, message, ecn: ecn)
    }

    /// - Parameter body: what follows the checksum.
    static func icmp(
        from source: [UInt8], to destination: [UInt8], type: UInt8, code: UInt8 = 0, body: [UInt8]
    ) -> [UInt8] {
        let number: UInt8 = source.count == 4 ? 1 : 58
        var message = [type, code, 0, 0] + body
        message.set(2, number == 1 ? checksum(message) : transportSum(source, destination, 58, message))
        return ip(source, destination, number, message)
    }

    static func ip(
        _ source: [UInt8], _ destination: [UInt8], _ transport: UInt8, _ message: [UInt8], ecn: UInt8 = 0
    ) -> [UInt8] {
        if source.count == 4 {
            var header: [UInt8] = [0x45, ecn] + words(UInt16(20 + message.count), 0xbeef, 0x4000)
            header += [63, transport, 0, 0] + source + destination
            header.set(10, checksum(header))
            return header + message
        }
        return [0x60, ecn << 4, 0, 0] + words(UInt16(message.count)) + [transport, 63] + source + destination + message
    }

    /// Whether all checksums of a packet are right; of the packet that an ICMP error quotes, too, as far as it is
    /// whole.
    static func isIntact(_ packet: [UInt8]) -> Bool {
        let isV4 = packet[0] >> 4 == 4
        if isV4, checksum(Array(packet[..<20])) != 0 { return false }
        let (start, transport) = isV4 ? (20, packet[9]) : (40, packet[6])
        let (source, destination) = addresses(of: packet)
        let message = Array(packet[start...])
        switch transport {
        case 17 where message.word(6) == 0 && isV4:
            return true
        case 6, 17, 58:
            guard transportSum(source, destination, transport, message) == 0 else { return false }
        default:
            guard checksum(message) == 0 else { return false }
        }
        let isError = transport == 1 && message[0] == 3 || transport == 58 && message[0] < 128
        return !isError || isIntact(Array(message[8...]))
    }

    /// Zero when it is right.
    static func checksumOfICMP(_ packet: [UInt8]) -> UInt16 {
        let (source, destination) = addresses(of: packet)
        return packet[0] >> 4 == 4
            ? checksum(Array(packet[20...])) : transportSum(source, destination, 58, Array(packet[40...]))
    }

    /// A UDP message with its checksum made anew.
    static func repaired(_ packet: [UInt8], from start: Int) -> [UInt8] {
        let (source, destination) = addresses(of: packet)
        var message = Array(packet[start...])
        message.set(6, 0)
        message.set(6, transportSum(source, destination, 17, message))
        return message
    }

    static func addresses(of packet: [UInt8]) -> (source: [UInt8], destination: [UInt8]) {
        packet[0] >> 4 == 4
            ? (Array(packet[12..<16]), Array(packet[16..<20])) : (Array(packet[8..<24]), Array(packet[24..<40]))
    }

    static func ports(of packet: [UInt8]) -> (source: UInt16, destination: UInt16) {
        let start = packet[0] >> 4 == 4 ? 20 : 40
        return (packet.word(start), packet.word(start + 2))
    }

    static func words(_ words: UInt16...) -> [UInt8] { words.flatMap { [UInt8($0 >> 8), UInt8($0 & 0xff)] } }

    static func checksum(_ bytes: [UInt8]) -> UInt16 {
        var sum = 0
        for place in stride(from: 0, to: bytes.count, by: 2) {
            sum += Int(bytes[place]) * 256 + (place + 1 < bytes.count ? Int(bytes[place + 1]) : 0)
        }
        return UInt16(0xffff - (sum % 0xffff == 0 && sum > 0 ? 0xffff : sum % 0xffff))
    }

    private static func transportSum(
        _ source: [UInt8], _ destination: [UInt8], _ number: UInt8, _ message: [UInt8]
    ) -> UInt16 {
        checksum(source + destination + [0, number] + words(UInt16(message.count)) + message)
    }
}

extension [UInt8] {
    func word(_ offset: Int) -> UInt16 { UInt16(self[offset]) << 8 | UInt16(self[offset + 1]) }

    mutating func set(_ offset: Int, _ word: UInt16) {
        self[offset] = UInt8(word >> 8)
        self[offset + 1] = UInt8(word & 0xff)
    }
}

/// A link with arrays for packets and milliseconds for times.
final class TestLink {
    struct Arrival: Equatable {
        var packet: [UInt8]
        var access: Int
        var direction: Direction
        /// Nanoseconds.
        var due: UInt64
    }

    var link: EmulatedLink

    init(_ conditions: [AccessConditions], seed: UInt64 = 1) {
        self.link = EmulatedLink(
            NetworkConditions(accesses: conditions), addresses: conditions.map { _ in TestPacket.addresses }, seed: seed
        )
    }

    convenience init(
        up: DirectionConditions = DirectionConditions(), down: DirectionConditions = DirectionConditions(),
        seed: UInt64 = 1
    ) {
        self.init([AccessConditions(up: up, down: down)], seed: seed)
    }

    func send(_ packet: [UInt8], access: Int = 0, _ direction: Direction = .up, at nanoseconds: UInt64 = 0) {
        guard let buffer = self.link.pool.take() else { return }
        self.link.pool.space(of: buffer).copyBytes(from: packet)
        self.link.sent(buffer, count: packet.count, access: access, direction: direction, at: nanoseconds)
    }

    func arrivals(by nanoseconds: UInt64 = .max / 2) -> [Arrival] {
        var arrivals: [Arrival] = []
        while let arrival = self.link.takeArrival(by: nanoseconds) {
            let bytes = self.link.pool.bytes(of: arrival.buffer, count: arrival.count)
            arrivals.append(
                Arrival(
                    packet: Array(bytes.raw), access: arrival.access, direction: arrival.direction, due: arrival.due))
            self.link.pool.giveBack(arrival.buffer)
        }
        return arrivals
    }

    /// What one packet becomes on its way through a link without delay.
    func carried(
        _ packet: [UInt8], access: Int = 0, _ direction: Direction = .up, at now: UInt64 = 0
    ) -> [UInt8]? {
        self.send(packet, access: access, direction, at: now)
        return self.arrivals(by: now).first { $0.direction == direction }?.packet
    }
}

/// Of no protocol that the link looks into.
func plainPacket(_ count: Int, _ mark: UInt8 = 0) -> [UInt8] {
    TestPacket.ip(TestPacket.client4, TestPacket.server4, 253, [UInt8](repeating: mark, count: count - 20))
}

let millisecond: UInt64 = 1_000_000

func milliseconds(_ times: Double...) -> [UInt64] { times.map { UInt64($0 * 1e6) } }
