// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// One device of one user, as the server numbers them: 1 … 2^32 − 1. Never reused for another (user, device name).
public struct DeviceID: RawRepresentable, Sendable, Hashable, Comparable, CustomStringConvertible {
    public let rawValue: UInt32

    /// `nil` for 0.
    public init?(rawValue: UInt32) {
        guard rawValue > 0 else { return nil }
        self.rawValue = rawValue
    }

    public static func < (left: DeviceID, right: DeviceID) -> Bool { left.rawValue < right.rawValue }
    public var description: String { "device \(self.rawValue)" }
}
