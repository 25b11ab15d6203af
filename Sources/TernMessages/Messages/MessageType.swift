// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// What a message is. 12 bits on the wire.
public struct MessageType: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
    public static let maximumRawValue: UInt16 = 1 << 12 - 1

    public let rawValue: UInt16

    /// `nil` when `rawValue` needs more than 12 bits.
    public init?(rawValue: UInt16) {
        guard rawValue <= Self.maximumRawValue else { return nil }
        self.rawValue = rawValue
    }

    init(masking bits: UInt64) {
        self.rawValue = UInt16(truncatingIfNeeded: bits) & Self.maximumRawValue
    }

    public static let acknowledgement = MessageType(masking: 1)

    public static let text = MessageType(masking: 32)
    public static let sticker = MessageType(masking: 33)
    public static let file = MessageType(masking: 34)
    public static let image = MessageType(masking: 35)
    public static let video = MessageType(masking: 36)
    public static let audio = MessageType(masking: 37)

    public static let edit = MessageType(masking: 64)
    public static let withdraw = MessageType(masking: 65)

    public static let authentication = MessageType(masking: 96)
    public static let ping = MessageType(masking: 97)
    public static let pong = MessageType(masking: 98)
    public static let echo = MessageType(masking: 99)
    public static let error = MessageType(masking: 100)
    public static let goOffline = MessageType(masking: 101)
    public static let internalError = MessageType(masking: 102)
    public static let inbox = MessageType(masking: 103)
    public static let typing = MessageType(masking: 104)
    public static let presence = MessageType(masking: 105)
    public static let receipt = MessageType(masking: 106)

    public static let system = MessageType(masking: 128)
    public static let addFriend = MessageType(masking: 129)
    public static let removeFriend = MessageType(masking: 130)
    public static let joinGroup = MessageType(masking: 131)
    public static let leaveGroup = MessageType(masking: 132)
    public static let remoteInvoke = MessageType(masking: 133)
    public static let setRelationship = MessageType(masking: 134)

    /// Types 32 to 63: what people say to each other. The server stores these and does not look inside.
    public var isContent: Bool { (32...63).contains(self.rawValue) }

    public var description: String { "type \(self.rawValue)" }
}

/// The flags of a message. 12 bits on the wire; those without a name are sent as 0 and ignored.
public struct MessageFlags: OptionSet, Sendable, Hashable {
    public let rawValue: UInt16

    /// Bits above the twelfth are dropped.
    public init(rawValue: UInt16) {
        self.rawValue = rawValue & 0xfff
    }

    /// The payload is encrypted from end to end; nobody but its readers looks inside.
    public static let encrypted = MessageFlags(rawValue: 1 << 0)
    /// In an acknowledgement: the message had been stored before, and was not stored again.
    public static let duplicate = MessageFlags(rawValue: 1 << 1)
    /// In an error: the same message may succeed later.
    public static let retryable = MessageFlags(rawValue: 1 << 2)
    /// In an inbox notice: the server does not push this channel until the client has read up to its head.
    public static let pull = MessageFlags(rawValue: 1 << 3)
}
