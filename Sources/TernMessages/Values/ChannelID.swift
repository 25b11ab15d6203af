// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// A conversation with one log: two users (or one with themselves), or a group.
///
/// Both ends derive it from a message's sender and receiver, so it needs no field of its own in the header. In bodies
/// it is 16 bytes: the lower user then the higher one, or the group twice.
public struct ChannelID: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// The lower user, or the group.
    public let first: UInt64
    /// The higher user, or the group.
    public let second: UInt64

    /// Bytes of its form in bodies.
    public static let encodedSize = 16

    public init(group: GroupID) {
        self.first = group.rawValue
        self.second = group.rawValue
    }

    /// The order of the two does not matter; both may be the same user.
    public init(direct one: UserID, _ other: UserID) {
        self.first = min(one, other).rawValue
        self.second = max(one, other).rawValue
    }

    /// The channel of a message: the receiver's when it is a group, else the one of both users; `nil` when they name
    /// neither.
    public init?(sender: PartyID, receiver: PartyID) {
        if let group = receiver.group {
            self.init(group: group)
        } else if let one = sender.user, let other = receiver.user {
            self.init(direct: one, other)
        } else {
            return nil
        }
    }

    /// From the form in bodies; `nil` when the two numbers are neither an ordered pair of users nor one group twice.
    public init?(first: UInt64, second: UInt64) {
        if let group = GroupID(rawValue: first), first == second {
            self.init(group: group)
        } else if first <= second, let one = UserID(rawValue: first), let other = UserID(rawValue: second) {
            self.init(direct: one, other)
        } else {
            return nil
        }
    }

    /// The group, unless this is a direct channel.
    public var group: GroupID? { GroupID(rawValue: self.first) }

    /// Both users of a direct channel; the same one twice in a channel with oneself.
    public var users: (UserID, UserID)? {
        guard let one = UserID(rawValue: self.first), let other = UserID(rawValue: self.second) else { return nil }
        return (one, other)
    }

    /// The other user of a direct channel as `user` sees it; `nil` for a group and for a channel that `user` is not in.
    public func peer(of user: UserID) -> UserID? {
        guard let (one, other) = self.users else { return nil }
        if one == user { return other }
        return other == user ? one : nil
    }

    /// Who `user` addresses to reach this channel.
    public func receiver(for user: UserID) -> PartyID? {
        if let group { return PartyID(group) }
        return self.peer(of: user).map { PartyID($0) }
    }

    public func encode(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(self.first, self.second)
    }

    /// - Throws: ``ErrorCode/malformed``.
    public init(decoding buffer: inout ByteBuffer) throws(WireError) {
        guard let (first, second) = buffer.readMultipleIntegers(as: (UInt64, UInt64).self),
            let channel = ChannelID(first: first, second: second)
        else { throw WireError(.malformed, "no valid channel") }
        self = channel
    }

    public static func < (left: ChannelID, right: ChannelID) -> Bool {
        (left.first, left.second) < (right.first, right.second)
    }

    public var description: String {
        if let group { return "group:\(group.rawValue)" }
        return "direct:\(self.first):\(self.second)"
    }
}
