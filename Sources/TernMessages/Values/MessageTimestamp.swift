// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Milliseconds since 1970-01-01T00:00:00Z. 46 bits on the wire, which reach the year 4199.
public struct MessageTimestamp: RawRepresentable, Sendable, Hashable, Comparable {
    public static let maximumRawValue: UInt64 = 1 << 46 - 1

    public let rawValue: UInt64

    /// `nil` when `rawValue` needs more than 46 bits.
    public init?(rawValue: UInt64) {
        guard rawValue <= Self.maximumRawValue else { return nil }
        self.rawValue = rawValue
    }

    init(masking bits: UInt64) {
        self.rawValue = bits & Self.maximumRawValue
    }

    /// Not given.
    public static let none = MessageTimestamp(masking: 0)

    public static func < (left: MessageTimestamp, right: MessageTimestamp) -> Bool { left.rawValue < right.rawValue }
}
