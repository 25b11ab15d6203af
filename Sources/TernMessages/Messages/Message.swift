// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// A message as it crosses the wire: header, extensions, payload.
///
/// The lengths are not part of the value: the encoder takes them from the content.
public struct Message: Sendable, Hashable {
    public var type: MessageType
    public var flags: MessageFlags
    public var sender: PartyID
    public var receiver: PartyID
    public var sequence: MessageSequence
    public var timestamp: MessageTimestamp
    public var node: NodeID
    public var extensions: MessageExtensions
    public var payload: ByteBuffer

    public init(
        type: MessageType, flags: MessageFlags = [], sender: PartyID = .server, receiver: PartyID = .server,
        sequence: MessageSequence = .zero, timestamp: MessageTimestamp = .none, node: NodeID = .none,
        extensions: [MessageExtension] = [], payload: ByteBuffer = ByteBuffer()
    ) {
        self.type = type
        self.flags = flags
        self.sender = sender
        self.receiver = receiver
        self.sequence = sequence
        self.timestamp = timestamp
        self.node = node
        self.extensions = MessageExtensions(extensions)
        self.payload = payload
    }

    init(header: MessageHeader, extensions: MessageExtensions, payload: ByteBuffer) {
        self.init(
            type: header.type, flags: header.flags, sender: header.sender, receiver: header.receiver,
            sequence: header.sequence, timestamp: header.timestamp, node: header.node, payload: payload)
        self.extensions = extensions
    }

    /// The header as it is written.
    public var header: MessageHeader {
        MessageHeader(
            type: self.type, flags: self.flags, sender: self.sender, receiver: self.receiver, sequence: self.sequence,
            timestamp: self.timestamp, node: self.node, extensionLength: self.extensions.encodedLength,
            payloadLength: self.payload.readableBytes)
    }

    /// The channel that sender and receiver name; `nil` when they name none.
    public var channel: ChannelID? { ChannelID(sender: self.sender, receiver: self.receiver) }

    /// Bytes on the wire.
    public var encodedLength: Int {
        MessageHeader.size + self.extensions.encodedLength + self.payload.readableBytes
    }

    /// Appends header, extensions and payload; nothing when it throws.
    ///
    /// - Throws: ``ErrorCode/malformed`` when the extensions are too long, ``ErrorCode/payloadTooLarge``.
    public func encode(into buffer: inout ByteBuffer) throws(WireError) {
        let start = buffer.writerIndex
        do throws(WireError) {
            try self.header.encode(into: &buffer)
            try self.extensions.encode(into: &buffer)
        } catch {
            buffer.moveWriterIndex(to: start)
            throw error
        }
        buffer.writeImmutableBuffer(self.payload)
    }

    /// The message in a buffer of its own.
    public func encoded() throws(WireError) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(self.encodedLength)
        try self.encode(into: &buffer)
        return buffer
    }

    /// Exactly one message, as in a datagram.
    ///
    /// - Throws: what ``MessageDecoder`` throws, and ``ErrorCode/malformed`` when bytes are missing or left.
    public init(
        decoding buffer: ByteBuffer, maximumPayloadLength: Int = MessageHeader.maximumPayloadLength
    )
        throws(WireError)
    {
        var decoder = MessageDecoder(maximumPayloadLength: maximumPayloadLength)
        decoder.append(buffer)
        guard let message = try decoder.next(), decoder.isEmpty else {
            throw WireError(.malformed, "not exactly one message")
        }
        self = message
    }
}
