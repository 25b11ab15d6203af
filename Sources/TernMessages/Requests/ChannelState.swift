// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// Where a channel stands, for the user and the device that ask.
public struct ChannelState: WireBody {
    public var channel: ChannelID
    public var epoch: Epoch
    /// The last sequence of the log; zero when it is empty.
    public var head: MessageSequence
    /// The first sequence that the log still holds; head + 1 when it holds none.
    public var first: MessageSequence
    /// Up to where this device said that it received.
    public var delivered: MessageSequence
    /// Up to where the user said, on any device, that they read.
    public var read: MessageSequence
    /// Messages after `read`.
    public var unread: UInt32
    /// When the last message was stored.
    public var timestamp: MessageTimestamp
    /// The group's name, or that of the other user.
    public var name: Name
    /// Of a group: the first sequence that was given after the user joined it. `nil` when the server does not say.
    public var since: MessageSequence?

    public init(
        channel: ChannelID, epoch: Epoch, head: MessageSequence, first: MessageSequence, delivered: MessageSequence,
        read: MessageSequence, unread: UInt32, timestamp: MessageTimestamp, name: Name,
        since: MessageSequence? = nil
    ) {
        self.channel = channel
        self.epoch = epoch
        self.head = head
        self.first = first
        self.delivered = delivered
        self.read = read
        self.unread = unread
        self.timestamp = timestamp
        self.name = name
        self.since = since
    }

    public func encode(into buffer: inout ByteBuffer) {
        self.channel.encode(into: &buffer)
        buffer.writeMultipleIntegers(
            self.epoch.rawValue, self.head.rawValue, self.first.rawValue, self.delivered.rawValue, self.read.rawValue,
            self.unread, self.timestamp.rawValue)
        self.name.encode(into: &buffer)
        if let since { buffer.writeInteger(since.rawValue) }
    }

    public init(decoding buffer: inout ByteBuffer) throws(WireError) {
        self.channel = try ChannelID(decoding: &buffer)
        self.epoch = Epoch(rawValue: try buffer.readField())
        self.head = try buffer.readSequence()
        self.first = try buffer.readSequence()
        self.delivered = try buffer.readSequence()
        self.read = try buffer.readSequence()
        self.unread = try buffer.readField()
        self.timestamp = try buffer.readTimestamp()
        self.name = try Name(decoding: &buffer)
        self.since = buffer.readableBytes >= MemoryLayout<UInt64>.size ? try buffer.readSequence() : nil
    }
}

/// Where one channel stands. An empty state, and no error, for a direct channel that was never used.
public struct ReadChannelState: RequestBody {
    public typealias Answer = ChannelState
    public static let resource = Resource.channelState

    public var channel: ChannelID

    public init(channel: ChannelID) {
        self.channel = channel
    }

    public func encode(into buffer: inout ByteBuffer) {
        self.channel.encode(into: &buffer)
    }

    public init(decoding buffer: inout ByteBuffer) throws(WireError) {
        self.channel = try ChannelID(decoding: &buffer)
    }
}

/// A page of the states of all channels of the user who asks.
public struct SyncIndex: RequestBody {
    public static let resource = Resource.syncIndex

    /// 0 for the first page, then ``Answer/next``.
    public var cursor: UInt64
    /// At most this many; the server may give fewer. 0: as many as it gives.
    public var limit: UInt16

    public init(cursor: UInt64 = 0, limit: UInt16 = 0) {
        self.cursor = cursor
        self.limit = limit
    }

    public func encode(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(self.cursor, self.limit)
    }

    public init(decoding buffer: inout ByteBuffer) throws(WireError) {
        self.cursor = try buffer.readField()
        self.limit = try buffer.readField()
    }

    public struct Answer: WireBody {
        /// What to ask the next page with; 0 on the last page.
        public var next: UInt64
        public var channels: [ChannelState]

        public init(next: UInt64, channels: [ChannelState]) {
            self.next = next
            self.channels = channels
        }

        public func encode(into buffer: inout ByteBuffer) {
            buffer.writeInteger(self.next)
            buffer.writeEntries(self.channels) { $0.encode(into: &$1) }
        }

        public init(decoding buffer: inout ByteBuffer) throws(WireError) {
            self.next = try buffer.readField()
            self.channels = try buffer.readEntries { bytes throws(WireError) in try ChannelState(decoding: &bytes) }
        }
    }
}
