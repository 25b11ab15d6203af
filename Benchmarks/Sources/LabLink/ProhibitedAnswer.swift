// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// The answer of a firewall that refuses a packet: ICMP "communication administratively prohibited" (RFC 1812, section
/// 5.2.7.1; RFC 4443, section 3.1).
enum ProhibitedAnswer {
    /// - Parameters:
    ///   - answer: where it is written to. It comes from the address that the packet went to.
    /// - Returns: how long it is; `nil` when such a packet gets none.
    static func write(to answer: PacketBytes, about packet: PacketBytes, _ headers: PacketHeaders) -> Int? {
        guard headers.transportOffset != nil, headers.transport != PacketHeaders.icmp,
            headers.transport != PacketHeaders.icmp6
        else { return nil }
        switch headers.version {
        case .v4: return self.write4(to: answer, about: packet, headers)
        case .v6: return self.write6(to: answer, about: packet, headers)
        }
    }

    private static func write4(to answer: PacketBytes, about packet: PacketBytes, _ headers: PacketHeaders) -> Int? {
        // No more than every host can receive (RFC 1812, section 4.3.2.3).
        let quoted = min(headers.end, 576 - 28)
        let count = 28 + quoted
        guard answer.count >= count else { return nil }
        self.clear(answer, 28)
        answer[0] = 0x45
        answer[word: 2] = UInt16(count)
        answer[8] = 64
        answer[9] = PacketHeaders.icmp
        answer.copy(from: packet, 16..<20, to: 12)
        answer.copy(from: packet, 12..<16, to: 16)
        var header = InternetChecksum()
        header.add(answer, 0..<20)
        answer[word: 10] = header.value
        answer[20] = 3
        answer[21] = 13
        answer.copy(from: packet, 0..<quoted, to: 28)
        var message = InternetChecksum()
        message.add(answer, 20..<count)
        answer[word: 22] = message.value
        return count
    }

    private static func write6(to answer: PacketBytes, about packet: PacketBytes, _ headers: PacketHeaders) -> Int? {
        let quoted = min(headers.end, 1_280 - 48)
        let count = 48 + quoted
        guard answer.count >= count else { return nil }
        self.clear(answer, 48)
        answer[0] = 0x60
        answer[word: 4] = UInt16(count - 40)
        answer[6] = PacketHeaders.icmp6
        answer[7] = 64
        answer.copy(from: packet, 24..<40, to: 8)
        answer.copy(from: packet, 8..<24, to: 24)
        answer[40] = 1
        answer[41] = 1
        answer.copy(from: packet, 0..<quoted, to: 48)
        var message = InternetChecksum()
        // The pseudo-header (RFC 8200, section 8.1): both addresses, length, protocol.
        message.add(answer, 8..<40)
        message.add(UInt16(count - 40))
        message.add(UInt16(PacketHeaders.icmp6))
        message.add(answer, 40..<count)
        answer[word: 42] = message.value
        return count
    }

    private static func clear(_ bytes: PacketBytes, _ count: Int) {
        for offset in 0..<count { bytes[offset] = 0 }
    }
}
