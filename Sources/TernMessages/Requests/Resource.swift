// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// What a request asks for. 16 bits on the wire.
public struct Resource: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
    public let rawValue: UInt16

    public init(rawValue: UInt16) {
        self.rawValue = rawValue
    }

    /// Answered with an empty body.
    public static let noOperation = Resource(rawValue: 0)
    /// Cancels the request of the same identifier; has no response of its own.
    public static let cancel = Resource(rawValue: 1)

    public static let resolveUser = Resource(rawValue: 16)
    public static let userNames = Resource(rawValue: 17)

    public static let createGroup = Resource(rawValue: 32)
    public static let findGroup = Resource(rawValue: 33)
    public static let joinGroup = Resource(rawValue: 34)
    public static let leaveGroup = Resource(rawValue: 35)
    public static let listMembers = Resource(rawValue: 36)
    public static let inviteMember = Resource(rawValue: 37)

    public static let syncIndex = Resource(rawValue: 48)
    public static let channelState = Resource(rawValue: 49)
    public static let history = Resource(rawValue: 50)
    public static let offsets = Resource(rawValue: 51)

    public var description: String { "resource \(self.rawValue)" }
}
