// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// A translator in front of one client (RFC 4787, RFC 5382, RFC 5508): what the client sends leaves with the
/// translator's address and a port of its own, and what comes to that port goes to the client. A port stands for the
/// client's port whomever it talks to, and whoever knows it may send there.
///
/// It takes up TCP connections whose beginning it did not see, as Linux does: after it forgot everything, the client's
/// next segment reaches the server from a port that the server does not know, and the server resets the connection.
struct AddressTranslator {
    private let addresses: AccessAddresses
    private var tables: [PortTable]

    init(_ addresses: AccessAddresses, seed: UInt64, stream: UInt64) {
        self.addresses = addresses
        var generator = SeededGenerator(seed: seed, stream: stream)
        self.tables = (0..<6).map { _ in PortTable(start: UInt16.random(in: 1_024...65_535, using: &generator)) }
    }

    /// All mappings are gone; new ones get ports that were not in use.
    mutating func forget() {
        for table in self.tables.indices { self.tables[table].forget() }
    }

    /// Changes a packet's addresses, ports and checksums.
    ///
    /// - Returns: `false` when it cannot pass; then it is unchanged.
    mutating func translate(_ packet: PacketBytes, _ direction: Direction) -> Bool {
        guard let headers = PacketHeaders(packet) else { return false }
        let (from, to) = self.addresses(of: headers.version, direction)
        let address = direction == .up ? headers.sourceOffset() : headers.destinationOffset()
        guard packet.holds(from, at: address) else { return false }
        var message = ChecksumChange()
        if let offset = headers.transportOffset {
            guard let change = self.translateMessage(packet, headers, at: offset, direction) else { return false }
            message = change
        }
        let change = packet.replace(at: address, by: to)
        if headers.version == .v4 { packet[word: 10] = change.applied(to: packet[word: 10]) }
        // ICMP for IPv4 is alone in not covering the addresses.
        if headers.transport != PacketHeaders.icmp { message.add(change) }
        if let offset = headers.transportOffset { Self.mend(packet, headers, at: offset, message) }
        return true
    }

    /// - Returns: how that changes the message's checksum, or `nil` when there is no mapping.
    private mutating func translateMessage(
        _ packet: PacketBytes, _ headers: PacketHeaders, at offset: Int, _ direction: Direction
    ) -> ChecksumChange? {
        switch headers.transport {
        case PacketHeaders.udp, PacketHeaders.tcp:
            guard headers.end - offset >= (headers.transport == PacketHeaders.udp ? 8 : 20) else { return nil }
            let port = direction == .up ? offset : offset + 2
            return self.replacePort(packet, at: port, headers, direction, mayMap: true)
        case PacketHeaders.icmp where headers.version == .v4, PacketHeaders.icmp6 where headers.version == .v6:
            guard headers.end - offset >= 8 else { return nil }
            switch ICMPKind(packet[offset], headers.version) {
            case .echoRequest where direction == .up, .echoReply where direction == .down:
                return self.replacePort(packet, at: offset + 4, headers, direction, mayMap: true)
            case .error:
                return self.translateQuote(packet, from: offset + 8, end: headers.end, direction)
            default:
                return nil
            }
        default:
            // Without ports there is nothing to tell apart.
            return ChecksumChange()
        }
    }

    /// An error tells of a packet that went the other way, so that its other address and port are to be translated.
    private mutating func translateQuote(
        _ packet: PacketBytes, from start: Int, end: Int, _ direction: Direction
    ) -> ChecksumChange? {
        guard let quoted = PacketHeaders(packet, from: start, isQuote: true), let offset = quoted.transportOffset,
            quoted.transport == PacketHeaders.udp || quoted.transport == PacketHeaders.tcp, offset + 8 <= end
        else { return nil }
        let (from, to) = self.addresses(of: quoted.version, direction)
        let address = direction == .up ? quoted.destinationOffset(from: start) : quoted.sourceOffset(from: start)
        let port = direction == .up ? offset + 2 : offset
        guard packet.holds(from, at: address),
            var change = self.replacePort(packet, at: port, quoted, direction, mayMap: false)
        else { return nil }
        let addressChange = packet.replace(at: address, by: to)
        var all = change
        all.add(addressChange)
        if quoted.version == .v4 {
            let header = addressChange.applied(to: packet[word: start + 10])
            all.add(packet.replace(word: start + 10, by: header))
        }
        change.add(addressChange)
        all.add(Self.mend(packet, quoted, at: offset, change))
        return all
    }

    private mutating func replacePort(
        _ packet: PacketBytes, at offset: Int, _ headers: PacketHeaders, _ direction: Direction, mayMap: Bool
    ) -> ChecksumChange? {
        let kind = headers.transport == PacketHeaders.udp ? 0 : headers.transport == PacketHeaders.tcp ? 1 : 2
        let table = headers.version == .v4 ? kind : 3 + kind
        let port = packet[word: offset]
        let translated =
            direction == .down
            ? self.tables[table].inside(of: port)
            : mayMap ? self.tables[table].map(port) : self.tables[table].outside(of: port)
        return translated.map { packet.replace(word: offset, by: $0) }
    }

    /// Mends the checksum of a transport's header, if it is there.
    @discardableResult
    private static func mend(
        _ packet: PacketBytes, _ headers: PacketHeaders, at offset: Int, _ change: ChecksumChange
    ) -> ChecksumChange {
        let place: Int
        switch headers.transport {
        case PacketHeaders.udp: place = offset + 6
        case PacketHeaders.tcp: place = offset + 16
        case PacketHeaders.icmp, PacketHeaders.icmp6: place = offset + 2
        default: return ChecksumChange()
        }
        guard place + 2 <= headers.end else { return ChecksumChange() }
        let before = packet[word: place]
        let isUDP = headers.transport == PacketHeaders.udp
        // Zero says that there is no checksum (RFC 768).
        guard !isUDP || before != 0 else { return ChecksumChange() }
        let after = change.applied(to: before)
        return packet.replace(word: place, by: isUDP && after == 0 ? 0xffff : after)
    }

    private func addresses(of version: PacketHeaders.Version, _ direction: Direction) -> (from: [UInt8], to: [UInt8]) {
        let (inside, outside) =
            version == .v4
            ? (self.addresses.client4, self.addresses.outside4) : (self.addresses.client6, self.addresses.outside6)
        return direction == .up ? (inside, outside) : (outside, inside)
    }
}

private enum ICMPKind {
    case echoRequest
    case echoReply
    case error
    case other

    init(_ type: UInt8, _ version: PacketHeaders.Version) {
        switch (version, type) {
        case (.v4, 8), (.v6, 128): self = .echoRequest
        case (.v4, 0), (.v6, 129): self = .echoReply
        // Unreachable, time exceeded, parameter problem; too big is a kind of its own in IPv6.
        case (.v4, 3), (.v4, 11), (.v4, 12), (.v6, 1...4): self = .error
        default: self = .other
        }
    }
}

extension PacketBytes {
    fileprivate func holds(_ bytes: [UInt8], at offset: Int) -> Bool {
        offset + bytes.count <= self.count && bytes.indices.allSatisfy { self[offset + $0] == bytes[$0] }
    }

    fileprivate func replace(word offset: Int, by word: UInt16) -> ChecksumChange {
        var change = ChecksumChange()
        change.replaced(self[word: offset], by: word)
        self[word: offset] = word
        return change
    }

    fileprivate func replace(at offset: Int, by bytes: [UInt8]) -> ChecksumChange {
        var change = ChecksumChange()
        for place in stride(from: 0, to: bytes.count, by: 2) {
            let word = UInt16(bytes[place]) << 8 | UInt16(bytes[place + 1])
            change.add(self.replace(word: offset + place, by: word))
        }
        return change
    }
}
