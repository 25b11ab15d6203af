// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// The 32 bytes before every message: four big-endian 64-bit words.
///
/// | word | high | middle | low |
/// | --- | --- | --- | --- |
/// | 0 | version 6 | flags 12 | sender 46 |
/// | 1 | node 18 | | receiver 46 |
/// | 2 | type 12 | extension length 6, in units of 4 bytes | timestamp 46, ms since 1970 |
/// | 3 | payload length 20 | | sequence 44 |
///
/// Every combination of bits is a header; what it means is checked by who reads it.
public struct MessageHeader: Sendable, Hashable {
    /// Bytes of a header.
    public static let size = 32
    /// Bytes of extensions that the length field can say.
    public static let maximumExtensionLength = 63 * 4
    /// Bytes of payload that the length field can say.
    public static let maximumPayloadLength = 1 << 20 - 1

    public var version: ProtocolVersion
    public var flags: MessageFlags
    public var sender: PartyID
    public var node: NodeID
    public var receiver: PartyID
    public var type: MessageType
    /// Bytes, a multiple of 4 up to ``maximumExtensionLength``.
    public var extensionLength: Int
    public var timestamp: MessageTimestamp
    /// Bytes, up to ``maximumPayloadLength``.
    public var payloadLength: Int
    public var sequence: MessageSequence

    public init(
        type: MessageType, flags: MessageFlags = [], sender: PartyID = .server, receiver: PartyID = .server,
        sequence: MessageSequence = .zero, timestamp: MessageTimestamp = .none, node: NodeID = .none,
        extensionLength: Int = 0, payloadLength: Int = 0, version: ProtocolVersion = .one
    ) {
        self.version = version
        self.flags = flags
        self.sender = sender
        self.node = node
        self.receiver = receiver
        self.type = type
        self.extensionLength = extensionLength
        self.timestamp = timestamp
        self.payloadLength = payloadLength
        self.sequence = sequence
    }

    /// The channel that sender and receiver name; `nil` when they name none.
    public var channel: ChannelID? { ChannelID(sender: self.sender, receiver: self.receiver) }

    /// Appends the 32 bytes.
    ///
    /// - Throws: ``ErrorCode/malformed`` or ``ErrorCode/payloadTooLarge`` when a length has no form on the wire.
    public func encode(into buffer: inout ByteBuffer) throws(WireError) {
        guard self.extensionLength >= 0, self.extensionLength <= Self.maximumExtensionLength,
            self.extensionLength % 4 == 0
        else { throw WireError(.malformed, "\(self.extensionLength) bytes of extensions cannot be said") }
        guard self.payloadLength >= 0, self.payloadLength <= Self.maximumPayloadLength else {
            throw WireError(.payloadTooLarge, "a payload of \(self.payloadLength) bytes cannot be said")
        }
        buffer.writeMultipleIntegers(
            UInt64(self.version.rawValue) << 58 | UInt64(self.flags.rawValue) << 46 | self.sender.rawValue,
            UInt64(self.node.rawValue) << 46 | self.receiver.rawValue,
            UInt64(self.type.rawValue) << 52 | UInt64(self.extensionLength / 4) << 46 | self.timestamp.rawValue,
            UInt64(self.payloadLength) << 44 | self.sequence.rawValue)
    }

    /// Takes 32 bytes; `nil`, and nothing taken, when there are fewer.
    public init?(decoding buffer: inout ByteBuffer) {
        typealias Words = (UInt64, UInt64, UInt64, UInt64)
        guard let words = buffer.readMultipleIntegers(as: Words.self) else { return nil }
        guard let version = ProtocolVersion(rawValue: UInt8(words.0 >> 58)) else { return nil }
        self.init(
            type: MessageType(masking: words.2 >> 52),
            flags: MessageFlags(rawValue: UInt16(truncatingIfNeeded: words.0 >> 46)),
            sender: PartyID(masking: words.0), receiver: PartyID(masking: words.1),
            sequence: MessageSequence(masking: words.3), timestamp: MessageTimestamp(masking: words.2),
            node: NodeID(masking: words.1 >> 46), extensionLength: Int(words.2 >> 46 & 0x3f) * 4,
            payloadLength: Int(words.3 >> 44), version: version)
    }
}
