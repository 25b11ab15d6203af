// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Who sends or receives a message: a user, a group, or the server itself (0). 46 bits on the wire.
public struct PartyID: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
    public static let maximumRawValue: UInt64 = 1 << 46 - 1

    public let rawValue: UInt64

    /// `nil` when `rawValue` needs more than 46 bits.
    public init?(rawValue: UInt64) {
        guard rawValue <= Self.maximumRawValue else { return nil }
        self.rawValue = rawValue
    }

    public init(_ user: UserID) {
        self.rawValue = user.rawValue
    }

    public init(_ group: GroupID) {
        self.rawValue = group.rawValue
    }

    init(masking bits: UInt64) {
        self.rawValue = bits & Self.maximumRawValue
    }

    /// The server, and "nobody in particular".
    public static let server = PartyID(masking: 0)

    public var user: UserID? { UserID(rawValue: self.rawValue) }
    public var group: GroupID? { GroupID(rawValue: self.rawValue) }

    public var description: String {
        self.user?.description ?? self.group?.description ?? "server"
    }
}
