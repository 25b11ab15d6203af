// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// A user, as the server numbers them: 1 … 2^36 − 1. A name is turned into a number by ``ResolveUser``.
public struct UserID: RawRepresentable, Sendable, Hashable, Comparable, CustomStringConvertible {
    public let rawValue: UInt64

    /// `nil` unless `rawValue` is 1 … 2^36 − 1.
    public init?(rawValue: UInt64) {
        guard rawValue > 0, rawValue < GroupID.firstRawValue else { return nil }
        self.rawValue = rawValue
    }

    public static func < (left: UserID, right: UserID) -> Bool { left.rawValue < right.rawValue }
    public var description: String { "user \(self.rawValue)" }
}
