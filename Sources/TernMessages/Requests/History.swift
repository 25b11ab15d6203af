// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// A page of a channel's log.
public struct History: RequestBody {
    public static let resource = Resource.history

    public enum Direction: UInt8, Sendable, Hashable {
        /// From `from` on, towards the head.
        case forward = 0
        /// From `from` back, towards the first message.
        case backward = 1
    }

    public var channel: ChannelID
    /// The first sequence that may be in the page, in the direction. Backward from zero: from the head.
    public var from: MessageSequence
    public var direction: Direction
    /// At most this many messages; the server may give fewer. 0: as many as it gives.
    public var limit: UInt16

    public init(channel: ChannelID, from: MessageSequence, direction: Direction = .forward, limit: UInt16 = 0) {
        self.channel = channel
        self.from = from
        self.direction = direction
        self.limit = limit
    }

    public func encode(into buffer: inout ByteBuffer) {
        self.channel.encode(into: &buffer)
        buffer.writeMultipleIntegers(self.from.rawValue, self.direction.rawValue, self.limit)
    }

    public init(decoding buffer: inout ByteBuffer) throws(WireError) {
        self.channel = try ChannelID(decoding: &buffer)
        // No log reaches beyond the largest sequence, wherever a client wants to begin.
        let from = try buffer.readField(UInt64.self)
        self.from = MessageSequence(rawValue: min(from, MessageSequence.maximumRawValue)) ?? .zero
        guard let direction = Direction(rawValue: try buffer.readField()) else {
            throw WireError(.malformed, "a direction is 0 or 1")
        }
        self.direction = direction
        self.limit = try buffer.readField()
    }

    /// Messages by ascending sequence, whatever the direction, without a gap between them.
    public struct Answer: WireBody {
        /// There are more messages in the direction.
        public var hasMore: Bool
        public var epoch: Epoch
        public var head: MessageSequence
        /// The first sequence that the log still holds; head + 1 when it holds none.
        public var first: MessageSequence
        public var messages: [ChannelMessage]

        public init(
            hasMore: Bool, epoch: Epoch, head: MessageSequence, first: MessageSequence, messages: [ChannelMessage]
        ) {
            self.hasMore = hasMore
            self.epoch = epoch
            self.head = head
            self.first = first
            self.messages = messages
        }

        public func encode(into buffer: inout ByteBuffer) {
            buffer.writeMultipleIntegers(
                UInt8(self.hasMore ? 1 : 0), self.epoch.rawValue, self.head.rawValue, self.first.rawValue)
            let count = buffer.writerIndex
            buffer.writeInteger(UInt16(0))
            var written: UInt16 = 0
            for message in self.messages.prefix(Int(UInt16.max)) {
                // A message of a log was read from the wire once, so it has a form.
                guard (try? message.message.encode(into: &buffer)) != nil else { continue }
                written += 1
            }
            buffer.setInteger(written, at: count)
        }

        public init(decoding buffer: inout ByteBuffer) throws(WireError) {
            self.hasMore = try buffer.readField(UInt8.self) & 1 != 0
            self.epoch = Epoch(rawValue: try buffer.readField())
            self.head = try buffer.readSequence()
            self.first = try buffer.readSequence()
            let count = try buffer.readField(UInt16.self)
            var decoder = MessageDecoder()
            decoder.append(buffer)
            self.messages = []
            for _ in 0..<count {
                guard let message = try decoder.next() else { throw WireError(.malformed, "a page is cut short") }
                self.messages.append(try ChannelMessage(message))
            }
            buffer.moveReaderIndex(to: buffer.writerIndex)
        }
    }
}
