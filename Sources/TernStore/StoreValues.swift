// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// Names a log: of a pair of users (or of one with themselves), or of a group.
public struct ChannelKey: Sendable, Hashable {
    /// The first identifier that a group may have.
    public static let firstGroup: UInt64 = 1 << 36

    /// The smaller user of a direct channel, or the group.
    public let low: UInt64
    /// The larger user of a direct channel, or the group again.
    public let high: UInt64

    init(low: UInt64, high: UInt64) {
        self.low = low
        self.high = high
    }

    /// The channel of two users, in either order. Both identifiers must be those of users, otherwise no store knows the channel.
    public static func direct(_ one: UInt64, _ other: UInt64) -> ChannelKey {
        ChannelKey(low: min(one, other), high: max(one, other))
    }

    public static func group(_ group: UInt64) -> ChannelKey {
        ChannelKey(low: group, high: group)
    }

    /// The group's identifier, or `nil` for a direct channel.
    public var group: UInt64? { self.low >= Self.firstGroup && self.low == self.high ? self.low : nil }

    /// The other end of a direct channel as `user` sees it (themselves in a channel with themselves), or the group.
    public func peer(of user: UInt64) -> UInt64 { self.low == user ? self.high : self.low }
}

/// One device of one user.
public struct DeviceKey: Sendable, Hashable {
    public var user: UInt64
    public var device: UInt32

    public init(user: UInt64, device: UInt32) {
        self.user = user
        self.device = device
    }
}

/// The 16 bytes by which a sender names a message of theirs, so that sending it again does not store it again.
public struct IdempotencyKey: Sendable, Hashable {
    /// Bytes 0 to 7, big-endian.
    public var high: UInt64
    /// Bytes 8 to 15, big-endian.
    public var low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }
}

/// A message that is not in the log yet.
public struct Draft: Sendable, Hashable {
    public var channel: ChannelKey
    public var sender: DeviceKey
    public var key: IdempotencyKey
    public var type: UInt16
    public var flags: UInt16
    /// When the sender says it wrote the message.
    public var clientTimestamp: UInt64
    /// Kept and given back as they are.
    public var extensions: ByteBuffer
    /// Kept and given back as it is; may be empty.
    public var payload: ByteBuffer

    public init(
        channel: ChannelKey, sender: DeviceKey, key: IdempotencyKey, type: UInt16, flags: UInt16 = 0,
        clientTimestamp: UInt64, extensions: ByteBuffer = ByteBuffer(), payload: ByteBuffer
    ) {
        self.channel = channel
        self.sender = sender
        self.key = key
        self.type = type
        self.flags = flags
        self.clientTimestamp = clientTimestamp
        self.extensions = extensions
        self.payload = payload
    }
}

/// Where a message stands in the log.
public struct Receipt: Sendable, Hashable {
    public var epoch: UInt32
    public var sequence: UInt64
    /// When the store took it, by the clock of the machine: it goes back when that clock is set back.
    public var timestamp: UInt64
    /// Whether the message was in the log already.
    public var isDuplicate: Bool

    public init(epoch: UInt32, sequence: UInt64, timestamp: UInt64, isDuplicate: Bool) {
        self.epoch = epoch
        self.sequence = sequence
        self.timestamp = timestamp
        self.isDuplicate = isDuplicate
    }
}

/// A message that was just committed: what came in, and where it stands.
public struct CommittedMessage: Sendable, Hashable {
    public var draft: Draft
    public var receipt: Receipt

    public init(draft: Draft, receipt: Receipt) {
        self.draft = draft
        self.receipt = receipt
    }
}

/// What one user is in, and from where on they read it.
public struct GroupMembership: Sendable, Hashable {
    public var group: UInt64
    /// The first message of the log that is theirs to read.
    public var first: UInt64

    public init(group: UInt64, first: UInt64) {
        self.group = group
        self.first = first
    }
}

/// One thing that a commit changed, as the one who observes the commits is told.
public enum CommitEvent: Sendable, Hashable {
    case message(CommittedMessage)
    /// A user became a member of a group.
    case joined(user: UInt64, membership: GroupMembership)
    /// A user is no member of a group any more.
    case left(user: UInt64, group: UInt64)
}

/// A message as the log has it.
public struct StoredMessage: Sendable, Hashable {
    public var sequence: UInt64
    public var timestamp: UInt64
    public var sender: DeviceKey
    public var key: IdempotencyKey
    public var type: UInt16
    public var flags: UInt16
    public var clientTimestamp: UInt64
    public var extensions: ByteBuffer
    public var payload: ByteBuffer

    public init(
        sequence: UInt64, timestamp: UInt64, sender: DeviceKey, key: IdempotencyKey, type: UInt16, flags: UInt16,
        clientTimestamp: UInt64, extensions: ByteBuffer, payload: ByteBuffer
    ) {
        self.sequence = sequence
        self.timestamp = timestamp
        self.sender = sender
        self.key = key
        self.type = type
        self.flags = flags
        self.clientTimestamp = clientTimestamp
        self.extensions = extensions
        self.payload = payload
    }
}

/// The end of a log.
public struct ChannelHead: Sendable, Hashable {
    /// 0 for a log that has not begun.
    public var epoch: UInt32
    /// The sequence of the last message; 0 if there is none.
    public var sequence: UInt64
    /// When the last message was taken; 0 if there is none.
    public var timestamp: UInt64

    public init(epoch: UInt32, sequence: UInt64, timestamp: UInt64) {
        self.epoch = epoch
        self.sequence = sequence
        self.timestamp = timestamp
    }
}

public enum HistoryDirection: Sendable, Hashable {
    /// Towards larger sequences.
    case forward
    /// Towards sequence 1.
    case backward
}

public struct HistoryPage: Sendable, Hashable {
    /// The log at the moment of the page.
    public var head: ChannelHead
    /// In the direction that was asked for.
    public var messages: [StoredMessage]
    /// Whether the log goes on in that direction.
    public var hasMore: Bool
    /// The first message that whoever asked may read; one beyond the head if there is none.
    public var first: UInt64

    public init(head: ChannelHead, messages: [StoredMessage], hasMore: Bool, first: UInt64 = 1) {
        self.head = head
        self.messages = messages
        self.hasMore = hasMore
        self.first = first
    }
}

/// How far a device got in a channel: everything up to and including these sequences.
public struct Offsets: Sendable, Hashable {
    public var delivered: UInt64
    public var read: UInt64

    public init(delivered: UInt64 = 0, read: UInt64 = 0) {
        self.delivered = delivered
        self.read = read
    }
}

/// How far the devices of a channel's members got, a page at a time.
public struct OffsetPage: Sendable, Hashable {
    public struct Entry: Sendable, Hashable {
        public var device: DeviceKey
        public var offsets: Offsets

        public init(device: DeviceKey, offsets: Offsets) {
            self.device = device
            self.offsets = offsets
        }
    }

    /// By ascending user and device.
    public var entries: [Entry]
    /// Whether there are more behind the last one.
    public var hasMore: Bool

    public init(entries: [Entry], hasMore: Bool) {
        self.entries = entries
        self.hasMore = hasMore
    }
}

/// What a device needs to know of one channel to catch up.
public struct SyncEntry: Sendable, Hashable {
    public var channel: ChannelKey
    public var head: ChannelHead
    /// The first message that the user may read; one beyond the head if there is none.
    public var first: UInt64
    /// The first message after the user joined; 1 in a direct channel.
    public var since: UInt64
    /// What this device told.
    public var own: Offsets
    /// How far the user read, on any device.
    public var userRead: UInt64
    /// How many messages came after the last one that the user read or sent, and after they joined.
    public var unread: UInt64

    public init(
        channel: ChannelKey, head: ChannelHead, first: UInt64 = 1, since: UInt64 = 1, own: Offsets, userRead: UInt64,
        unread: UInt64
    ) {
        self.channel = channel
        self.head = head
        self.first = first
        self.since = since
        self.own = own
        self.userRead = userRead
        self.unread = unread
    }
}

public struct SyncPage: Sendable, Hashable {
    public var entries: [SyncEntry]
    /// What to ask the next page with; `nil` on the last page.
    public var next: UInt64?

    public init(entries: [SyncEntry], next: UInt64?) {
        self.entries = entries
        self.next = next
    }
}

/// Who may enter a group, and what they find there. Said once, when the group is made.
public struct GroupRules: Sendable, Hashable {
    /// Whether everybody may join; otherwise a member has to invite them.
    public var isOpen: Bool
    /// Whether a new member reads what was written before they joined.
    public var sharesHistory: Bool

    public init(isOpen: Bool = false, sharesHistory: Bool = false) {
        self.isOpen = isOpen
        self.sharesHistory = sharesHistory
    }

    /// Only who was invited may join, and reads from then on.
    public static let closed = GroupRules()
}

/// A group as one user sees it.
public struct GroupView: Sendable, Hashable {
    public var group: UInt64
    public var name: String
    public var rules: GroupRules
    public var memberCount: Int
    public var isMember: Bool
    /// A member invited the user, who has not joined since.
    public var isInvited: Bool

    public init(
        group: UInt64, name: String, rules: GroupRules, memberCount: Int, isMember: Bool, isInvited: Bool
    ) {
        self.group = group
        self.name = name
        self.rules = rules
        self.memberCount = memberCount
        self.isMember = isMember
        self.isInvited = isInvited
    }
}

/// What joining a group did.
public struct GroupJoining: Sendable, Hashable {
    /// False for who was a member before.
    public var isNew: Bool
    /// The log at that moment.
    public var head: ChannelHead

    public init(isNew: Bool, head: ChannelHead) {
        self.isNew = isNew
        self.head = head
    }
}

public struct GroupCreation: Sendable, Hashable {
    public var group: UInt64
    /// False if there was a group of that name.
    public var isNew: Bool

    public init(group: UInt64, isNew: Bool) {
        self.group = group
        self.isNew = isNew
    }
}

/// When a receipt is given.
public enum Durability: String, Sendable, Hashable {
    /// After the commit reached the disk (fsync): it survives a loss of power.
    case full
    /// After the commit reached the kernel: it survives the death of the process; a loss of power may cost the last moments, never
    /// the consistency of the data.
    case normal
}

/// Whether a store takes writes.
public enum StoreStatus: Sendable, Hashable {
    case writable
    /// Writing failed (disk full, failing or read-only): everything that was acknowledged is there and can be read, nothing more is
    /// taken until a probe succeeds. The text says what failed.
    case readOnly(reason: String)
    /// The files of the store were deleted or replaced while it had them open: what is written would be lost with the process, so
    /// nothing more is taken. It does not heal; open the store anew. The text says which file.
    case lost(reason: String)
    case closed
}
