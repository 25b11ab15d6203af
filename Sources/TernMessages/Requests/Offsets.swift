// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// How far the devices of a channel's members have come, by ascending (user, device), after those given.
public struct Offsets: RequestBody {
    public static let resource = Resource.offsets

    public var channel: ChannelID
    public var afterUser: UserID?
    public var afterDevice: DeviceID?
    /// At most this many; the server may give fewer. 0: as many as it gives.
    public var limit: UInt16

    public init(channel: ChannelID, afterUser: UserID? = nil, afterDevice: DeviceID? = nil, limit: UInt16 = 0) {
        self.channel = channel
        self.afterUser = afterUser
        self.afterDevice = afterDevice
        self.limit = limit
    }

    public func encode(into buffer: inout ByteBuffer) {
        self.channel.encode(into: &buffer)
        buffer.writeMultipleIntegers(self.afterUser?.rawValue ?? 0, self.afterDevice?.rawValue ?? 0, self.limit)
    }

    public init(decoding buffer: inout ByteBuffer) throws(WireError) {
        self.channel = try ChannelID(decoding: &buffer)
        self.afterUser = try buffer.readOptionalUser()
        self.afterDevice = DeviceID(rawValue: try buffer.readField())
        self.limit = try buffer.readField()
    }

    /// How far one device has come.
    public struct Entry: WireBody {
        public var user: UserID
        public var device: DeviceID
        public var delivered: MessageSequence
        public var read: MessageSequence

        public init(user: UserID, device: DeviceID, delivered: MessageSequence, read: MessageSequence) {
            self.user = user
            self.device = device
            self.delivered = delivered
            self.read = read
        }

        public func encode(into buffer: inout ByteBuffer) {
            buffer.writeMultipleIntegers(
                self.user.rawValue, self.device.rawValue, self.delivered.rawValue, self.read.rawValue)
        }

        public init(decoding buffer: inout ByteBuffer) throws(WireError) {
            self.user = try buffer.readUser()
            guard let device = DeviceID(rawValue: try buffer.readField()) else {
                throw WireError(.malformed, "no device")
            }
            self.device = device
            self.delivered = try buffer.readSequence()
            self.read = try buffer.readSequence()
        }
    }

    public struct Answer: WireBody {
        public var hasMore: Bool
        public var entries: [Entry]

        public init(hasMore: Bool, entries: [Entry]) {
            self.hasMore = hasMore
            self.entries = entries
        }

        public func encode(into buffer: inout ByteBuffer) {
            buffer.writeInteger(UInt8(self.hasMore ? 1 : 0))
            buffer.writeEntries(self.entries) { $0.encode(into: &$1) }
        }

        public init(decoding buffer: inout ByteBuffer) throws(WireError) {
            self.hasMore = try buffer.readField(UInt8.self) & 1 != 0
            self.entries = try buffer.readEntries { bytes throws(WireError) in try Entry(decoding: &bytes) }
        }
    }
}
