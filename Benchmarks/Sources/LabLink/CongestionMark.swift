// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Congestion Experienced (RFC 3168, section 5).
enum CongestionMark {
    /// - Returns: whether the packet is ECN-capable and marked now; one that was marked before counts, too.
    static func set(on packet: PacketBytes) -> Bool {
        guard let headers = PacketHeaders(packet) else { return false }
        switch headers.version {
        case .v4:
            guard packet[1] & 3 != 0 else { return false }
            let before = packet[word: 0]
            packet[1] |= 3
            var change = ChecksumChange()
            change.replaced(before, by: packet[word: 0])
            packet[word: 10] = change.applied(to: packet[word: 10])
        case .v6:
            // The traffic class lies across the first two bytes: ECN is bits 5 and 4 of the second.
            guard packet[1] & 0x30 != 0 else { return false }
            packet[1] |= 0x30
        }
        return true
    }
}
