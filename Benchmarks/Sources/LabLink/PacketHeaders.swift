// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// What the link must know of a packet's headers (RFC 791, RFC 8200), found without trusting a single length in them.
struct PacketHeaders {
    enum Version {
        case v4
        case v6
    }

    let version: Version
    /// The number of the protocol inside: 6 TCP, 17 UDP, 1 ICMP, 58 ICMPv6.
    let transport: UInt8
    /// Where the transport's header begins; `nil` in all fragments but the first, which have none.
    let transportOffset: Int?
    /// Where the packet ends by its own account; never beyond its bytes.
    let end: Int

    static let icmp: UInt8 = 1
    static let tcp: UInt8 = 6
    static let udp: UInt8 = 17
    static let icmp6: UInt8 = 58

    /// - Parameters:
    ///   - isQuote: whether these are the first bytes of a packet inside an ICMP error, so that its end may be missing.
    /// - Returns: `nil` for what is not a whole IP packet.
    init?(_ packet: PacketBytes, from start: Int = 0, isQuote: Bool = false) {
        guard packet.count > start else { return nil }
        switch packet[start] >> 4 {
        case 4: self.init(v4: packet, from: start, isQuote: isQuote)
        case 6: self.init(v6: packet, from: start, isQuote: isQuote)
        default: return nil
        }
    }

    private init?(v4 packet: PacketBytes, from start: Int, isQuote: Bool) {
        guard packet.count - start >= 20 else { return nil }
        let headerLength = Int(packet[start] & 0xf) * 4
        let end = start + Int(packet[word: start + 2])
        guard headerLength >= 20, start + headerLength <= packet.count, end >= start + headerLength,
            isQuote || end <= packet.count
        else { return nil }
        self.version = .v4
        self.transport = packet[start + 9]
        self.transportOffset = packet[word: start + 6] & 0x1fff == 0 ? start + headerLength : nil
        self.end = min(end, packet.count)
    }

    private init?(v6 packet: PacketBytes, from start: Int, isQuote: Bool) {
        guard packet.count - start >= 40 else { return nil }
        let end = start + 40 + Int(packet[word: start + 4])
        guard isQuote || end <= packet.count else { return nil }
        self.version = .v6
        self.end = min(end, packet.count)
        var next = packet[start + 6]
        var offset = start + 40
        // Hop-by-hop options, routing, destination options, fragment (RFC 8200, section 4.1). Each has at least 8
        // bytes.
        while [0, 43, 44, 60].contains(next) {
            guard self.end - offset >= 8 else { return nil }
            let isFragment = next == 44
            next = packet[offset]
            if isFragment, packet[word: offset + 2] & 0xfff8 != 0 {
                self.transport = next
                self.transportOffset = nil
                return
            }
            offset += isFragment ? 8 : (Int(packet[offset + 1]) + 1) * 8
        }
        guard offset <= self.end else { return nil }
        self.transport = next
        self.transportOffset = offset
    }

    /// Where the addresses are, in the header of a packet that begins at `start`.
    func sourceOffset(from start: Int = 0) -> Int { start + (self.version == .v4 ? 12 : 8) }
    func destinationOffset(from start: Int = 0) -> Int { start + (self.version == .v4 ? 16 : 24) }

    /// What hosts tell their neighbours and nobody else: multicast, and IPv6 from a link-local address. A link carries
    /// none of it, else such packets would take their turn in what is lost and what is delayed.
    static func isOfNeighbours(_ packet: PacketBytes) -> Bool {
        switch packet.count > 0 ? packet[0] >> 4 : 0 {
        case 4: packet.count >= 20 && packet[16] >> 4 == 14
        case 6: packet.count >= 40 && (packet[24] == 0xff || packet[word: 8] & 0xffc0 == 0xfe80)
        default: false
        }
    }
}
