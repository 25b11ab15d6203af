// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// A group, as the server numbers them: 2^36 … 2^46 − 1.
public struct GroupID: RawRepresentable, Sendable, Hashable, Comparable, CustomStringConvertible {
    /// The first number of a group; everything below is a user.
    public static let firstRawValue: UInt64 = 1 << 36

    public let rawValue: UInt64

    /// `nil` unless `rawValue` is 2^36 … 2^46 − 1.
    public init?(rawValue: UInt64) {
        guard rawValue >= Self.firstRawValue, rawValue <= PartyID.maximumRawValue else { return nil }
        self.rawValue = rawValue
    }

    public static func < (left: GroupID, right: GroupID) -> Bool { left.rawValue < right.rawValue }
    public var description: String { "group \(self.rawValue)" }
}
