// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// The name of a user, a device or a group: 1 to 64 bytes of UTF-8 without control characters, compared byte by byte.
public struct Name: Sendable, Hashable, Comparable, CustomStringConvertible {
    public static let maximumBytes = 64

    public let text: String

    /// - Throws: ``ErrorCode/invalidName``.
    public init(_ text: String) throws(WireError) {
        guard (1...Self.maximumBytes).contains(text.utf8.count) else {
            throw WireError(.invalidName, "a name has 1 to \(Self.maximumBytes) bytes of UTF-8, not \(text.utf8.count)")
        }
        guard text.unicodeScalars.allSatisfy({ !Self.isControl($0) }) else {
            throw WireError(.invalidName, "a name has no control characters")
        }
        self.text = text
    }

    /// General category Cc: U+0000 … U+001F and U+007F … U+009F.
    private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value)
    }

    /// A length byte and the UTF-8 bytes.
    public func encode(into buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt8(self.text.utf8.count))
        buffer.writeString(self.text)
    }

    /// - Throws: ``ErrorCode/malformed`` when it is cut short or not UTF-8, ``ErrorCode/invalidName``.
    public init(decoding buffer: inout ByteBuffer) throws(WireError) {
        guard let count = buffer.readInteger(as: UInt8.self), let bytes = buffer.readSlice(length: Int(count)) else {
            throw WireError(.malformed, "a name is cut short")
        }
        guard let text = String(validating: bytes.readableBytesView, as: UTF8.self) else {
            throw WireError(.malformed, "a name is not UTF-8")
        }
        try self.init(text)
    }

    // `String` compares by canonical equivalence, which would make two names of different bytes one.
    public static func == (left: Name, right: Name) -> Bool { left.text.utf8.elementsEqual(right.text.utf8) }
    public static func < (left: Name, right: Name) -> Bool { left.text.utf8.lexicographicallyPrecedes(right.text.utf8) }

    public func hash(into hasher: inout Hasher) {
        for byte in self.text.utf8 { hasher.combine(byte) }
    }

    public var description: String { self.text }
}
