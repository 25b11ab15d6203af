// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// 16 bytes that the sending client chooses once per message and repeats when it sends the message again; with the
/// sender they make a send idempotent. Random bytes or a UUID.
public struct ClientMessageID: Sendable, Hashable, CustomStringConvertible {
    public static let size = 16

    /// Bytes 0 to 7, big-endian.
    public let high: UInt64
    /// Bytes 8 to 15, big-endian.
    public let low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    public static func random(using generator: inout some RandomNumberGenerator) -> ClientMessageID {
        ClientMessageID(high: generator.next(), low: generator.next())
    }

    public static func random() -> ClientMessageID {
        var generator = SystemRandomNumberGenerator()
        return .random(using: &generator)
    }

    /// From 32 hexadecimal digits; `nil` for anything else.
    public init?(hexadecimal text: String) {
        guard text.utf8.count == 32, text.utf8.allSatisfy({ $0 != UInt8(ascii: "+") && $0 != UInt8(ascii: "-") }),
            let high = UInt64(text.prefix(16), radix: 16), let low = UInt64(text.suffix(16), radix: 16)
        else { return nil }
        self.init(high: high, low: low)
    }

    /// 16 bytes.
    public var bytes: ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeMultipleIntegers(self.high, self.low)
        return buffer
    }

    /// 32 lower-case hexadecimal digits.
    public var description: String {
        [self.high, self.low].map { word in
            let digits = String(word, radix: 16)
            return String(repeating: "0", count: 16 - digits.utf8.count) + digits
        }.joined()
    }
}
