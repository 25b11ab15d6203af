// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// The checksum of IP, TCP, UDP and ICMP (RFC 1071), as far as a sum without carries was already added up.
struct InternetChecksum {
    private var sum: UInt64 = 0

    mutating func add(_ packet: PacketBytes, _ range: Range<Int>) {
        var offset = range.lowerBound
        while offset + 1 < range.upperBound {
            self.sum += UInt64(packet[word: offset])
            offset += 2
        }
        if offset < range.upperBound { self.sum += UInt64(packet[offset]) << 8 }
    }

    mutating func add(_ word: UInt16) {
        self.sum += UInt64(word)
    }

    /// What stands in a header, whose checksum was added up as zero.
    var value: UInt16 {
        var sum = self.sum
        while sum > 0xffff { sum = (sum & 0xffff) + (sum >> 16) }
        return ~UInt16(sum)
    }
}

/// How a checksum changes with the words that it covers (RFC 1624): what is wrong before stays wrong.
struct ChecksumChange {
    private var sum: UInt64 = 0

    mutating func replaced(_ before: UInt16, by after: UInt16) {
        self.sum += UInt64(~before) + UInt64(after)
    }

    mutating func add(_ other: ChecksumChange) {
        self.sum += other.sum
    }

    func applied(to checksum: UInt16) -> UInt16 {
        var sum = self.sum + UInt64(~checksum)
        while sum > 0xffff { sum = (sum & 0xffff) + (sum >> 16) }
        return ~UInt16(sum)
    }
}
