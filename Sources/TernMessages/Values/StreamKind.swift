// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// What a stream carries: the variable-length integer (RFC 9000, section 16) with which its opener begins it.
public struct StreamKind: RawRepresentable, Sendable, Hashable {
    public let rawValue: UInt64

    public init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    /// Bidirectional, opened by the client, exactly one: authentication, then everything that belongs to no channel.
    public static let control = StreamKind(rawValue: 0)
    /// Bidirectional, opened by the client: messages for one receiver, and their acknowledgements.
    public static let channelSend = StreamKind(rawValue: 1)
    /// Unidirectional, opened by the server: messages of one channel.
    public static let channelPush = StreamKind(rawValue: 2)
    /// Bidirectional, opened by the client: requests and responses.
    public static let requests = StreamKind(rawValue: 3)

    /// The integer at the start of a stream; `nil` when more bytes are needed. The reader index moves only on success.
    public init?(decoding buffer: inout ByteBuffer) {
        guard let first = buffer.getInteger(at: buffer.readerIndex, as: UInt8.self) else { return nil }
        let length = 1 << Int(first >> 6)
        guard let bytes = buffer.readSlice(length: length) else { return nil }
        var value: UInt64 = 0
        for byte in bytes.readableBytesView { value = value << 8 | UInt64(byte) }
        self.rawValue = value & (1 << (UInt64(length) * 8 - 2) - 1)
    }

    /// The shortest form; kinds above 2^62 − 1 have none and are cut.
    public func encode(into buffer: inout ByteBuffer) {
        switch self.rawValue {
        case 0..<1 << 6: buffer.writeInteger(UInt8(self.rawValue))
        case 0..<1 << 14: buffer.writeInteger(UInt16(self.rawValue) | 0x4000)
        case 0..<1 << 30: buffer.writeInteger(UInt32(self.rawValue) | 0x8000_0000)
        default: buffer.writeInteger(self.rawValue | 0xc000_0000_0000_0000)
        }
    }
}
