// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// What a group is, to the user who asks.
public struct GroupState: WireBody {
    public var group: GroupID
    /// The user who asked is in it.
    public var isMember: Bool
    /// Everybody may join it; otherwise only who was invited.
    public var isOpen: Bool
    /// Whoever joins reads what was written before.
    public var sharesHistory: Bool
    /// A member invited the user who asked, who has not joined since.
    public var isInvited: Bool
    public var memberCount: UInt32
    public var name: Name

    public init(
        group: GroupID, isMember: Bool, isOpen: Bool = false, sharesHistory: Bool = false, isInvited: Bool = false,
        memberCount: UInt32, name: Name
    ) {
        self.group = group
        self.isMember = isMember
        self.isOpen = isOpen
        self.sharesHistory = sharesHistory
        self.isInvited = isInvited
        self.memberCount = memberCount
        self.name = name
    }

    public func encode(into buffer: inout ByteBuffer) {
        let flags = [self.isMember, self.isOpen, self.sharesHistory, self.isInvited]
        let bits = flags.enumerated().reduce(UInt8(0)) { $1.element ? $0 | 1 << $1.offset : $0 }
        buffer.writeMultipleIntegers(self.group.rawValue, bits, self.memberCount)
        self.name.encode(into: &buffer)
    }

    public init(decoding buffer: inout ByteBuffer) throws(WireError) {
        self.group = try buffer.readGroup()
        let bits = try buffer.readField(UInt8.self)
        self.isMember = bits & 1 != 0
        self.isOpen = bits & 2 != 0
        self.sharesHistory = bits & 4 != 0
        self.isInvited = bits & 8 != 0
        self.memberCount = try buffer.readField()
        self.name = try Name(decoding: &buffer)
    }
}

/// Makes a group of that name, with the user who asks as its first member. ``ErrorCode/alreadyExists`` when there is
/// one.
public struct CreateGroup: RequestBody {
    public typealias Answer = GroupState
    public static let resource = Resource.createGroup

    public var name: Name
    /// Everybody may join; otherwise only who was invited by a member.
    public var isOpen: Bool
    /// Whoever joins reads what was written before; otherwise only what comes from then on.
    public var sharesHistory: Bool

    public init(name: Name, isOpen: Bool = false, sharesHistory: Bool = false) {
        self.name = name
        self.isOpen = isOpen
        self.sharesHistory = sharesHistory
    }

    public func encode(into buffer: inout ByteBuffer) {
        self.name.encode(into: &buffer)
        buffer.writeInteger(UInt8(self.isOpen ? 1 : 0) | (self.sharesHistory ? 2 : 0))
    }

    public init(decoding buffer: inout ByteBuffer) throws(WireError) {
        self.name = try Name(decoding: &buffer)
        // Clients that know nothing of rules end here.
        let bits = buffer.readInteger(as: UInt8.self) ?? 0
        self.isOpen = bits & 1 != 0
        self.sharesHistory = bits & 2 != 0
    }
}

/// The group of that name, or ``ErrorCode/noSuchChannel``: also for a closed group that the user is neither in nor invited to.
public struct FindGroup: RequestBody {
    public typealias Answer = GroupState
    public static let resource = Resource.findGroup

    public var name: Name

    public init(name: Name) {
        self.name = name
    }

    public func encode(into buffer: inout ByteBuffer) {
        self.name.encode(into: &buffer)
    }

    public init(decoding buffer: inout ByteBuffer) throws(WireError) {
        self.name = try Name(decoding: &buffer)
    }
}

/// Lets a user join a closed group. For members only; no error for who is a member, or was invited before.
public struct InviteMember: RequestBody {
    public typealias Answer = EmptyBody
    public static let resource = Resource.inviteMember

    public var group: GroupID
    public var user: UserID

    public init(group: GroupID, user: UserID) {
        self.group = group
        self.user = user
    }

    public func encode(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(self.group.rawValue, self.user.rawValue)
    }

    public init(decoding buffer: inout ByteBuffer) throws(WireError) {
        self.group = try buffer.readGroup()
        self.user = try buffer.readUser()
    }
}

/// Makes the user who asks a member; no error when they are one. ``ErrorCode/notInvited`` for a closed group without an
/// invitation, and for a group that does not exist.
public struct JoinGroup: RequestBody {
    public typealias Answer = GroupState
    public static let resource = Resource.joinGroup

    public var group: GroupID

    public init(group: GroupID) {
        self.group = group
    }

    public func encode(into buffer: inout ByteBuffer) {
        buffer.writeInteger(self.group.rawValue)
    }

    public init(decoding buffer: inout ByteBuffer) throws(WireError) {
        self.group = try buffer.readGroup()
    }
}

/// Ends the membership of the user who asks; no error when there was none.
public struct LeaveGroup: RequestBody {
    public typealias Answer = EmptyBody
    public static let resource = Resource.leaveGroup

    public var group: GroupID

    public init(group: GroupID) {
        self.group = group
    }

    public func encode(into buffer: inout ByteBuffer) {
        buffer.writeInteger(self.group.rawValue)
    }

    public init(decoding buffer: inout ByteBuffer) throws(WireError) {
        self.group = try buffer.readGroup()
    }
}

/// A page of a group's members, by ascending user, after `after`. For members only.
public struct ListMembers: RequestBody {
    public static let resource = Resource.listMembers

    public var group: GroupID
    public var after: UserID?
    /// At most this many; the server may give fewer. 0: as many as it gives.
    public var limit: UInt16

    public init(group: GroupID, after: UserID? = nil, limit: UInt16 = 0) {
        self.group = group
        self.after = after
        self.limit = limit
    }

    public func encode(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(self.group.rawValue, self.after?.rawValue ?? 0, self.limit)
    }

    public init(decoding buffer: inout ByteBuffer) throws(WireError) {
        self.group = try buffer.readGroup()
        self.after = try buffer.readOptionalUser()
        self.limit = try buffer.readField()
    }

    public struct Answer: WireBody {
        public var hasMore: Bool
        public var members: [Member]

        public init(hasMore: Bool, members: [Member]) {
            self.hasMore = hasMore
            self.members = members
        }

        public func encode(into buffer: inout ByteBuffer) {
            buffer.writeInteger(UInt8(self.hasMore ? 1 : 0))
            buffer.writeEntries(self.members) { $0.encode(into: &$1) }
        }

        public init(decoding buffer: inout ByteBuffer) throws(WireError) {
            self.hasMore = try buffer.readField(UInt8.self) & 1 != 0
            self.members = try buffer.readEntries { bytes throws(WireError) in try Member(decoding: &bytes) }
        }
    }
}
