// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// A connection ID: 0 to 20 bytes (RFC 9000, section 17.2), stored inline.
package struct QUICConnectionID: Hashable, Sendable {
    /// The most bytes that QUIC v1 allows.
    package static let maximumLength = 20
    /// The length of every connection ID that a server of ours issues: short headers do not say it, so it is one
    /// constant.
    package static let serverLength = 18
    /// The length of every connection ID that a client of ours issues.
    package static let clientLength = 8

    private var low: UInt64 = 0
    private var middle: UInt64 = 0
    private var high: UInt32 = 0
    private let length: UInt8

    /// - Parameter bytes: what follows the 20th byte is ignored.
    package init(_ bytes: some Sequence<UInt8>) {
        var low: UInt64 = 0
        var middle: UInt64 = 0
        var high: UInt32 = 0
        var length: UInt8 = 0
        for byte in bytes.prefix(Self.maximumLength) {
            switch length {
            case 0..<8: low |= UInt64(byte) << (8 * UInt64(length))
            case 8..<16: middle |= UInt64(byte) << (8 * UInt64(length - 8))
            default: high |= UInt32(byte) << (8 * UInt32(length - 16))
            }
            length += 1
        }
        self.low = low
        self.middle = middle
        self.high = high
        self.length = length
    }

    /// The same for bytes in memory; every datagram needs it once or twice.
    package init(copying bytes: UnsafeRawBufferPointer) {
        let bytes = UnsafeRawBufferPointer(rebasing: bytes.prefix(Self.maximumLength))
        var words: (UInt64, UInt64, UInt32) = (0, 0, 0)
        withUnsafeMutableBytes(of: &words) { $0.copyMemory(from: bytes) }
        self.low = UInt64(littleEndian: words.0)
        self.middle = UInt64(littleEndian: words.1)
        self.high = UInt32(littleEndian: words.2)
        self.length = UInt8(bytes.count)
    }

    /// The bytes, followed by zeros.
    var words: (UInt64, UInt64, UInt32) {
        (self.low.littleEndian, self.middle.littleEndian, self.high.littleEndian)
    }

    package var count: Int { Int(self.length) }

    /// The byte at `position`; 0 outside the connection ID, so that a short one never traps.
    package subscript(position: Int) -> UInt8 {
        guard position >= 0, position < self.count else { return 0 }
        switch position {
        case 0..<8: return UInt8(truncatingIfNeeded: self.low >> (8 * UInt64(position)))
        case 8..<16: return UInt8(truncatingIfNeeded: self.middle >> (8 * UInt64(position - 8)))
        default: return UInt8(truncatingIfNeeded: self.high >> (8 * UInt32(position - 16)))
        }
    }
}

extension QUICConnectionID: CustomStringConvertible {
    package var description: String {
        (0..<self.count).map { position in
            let text = String(self[position], radix: 16)
            return text.count == 1 ? "0" + text : text
        }.joined()
    }
}
