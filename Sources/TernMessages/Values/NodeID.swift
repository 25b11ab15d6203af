// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// The server node that a message went through; 0 from clients. 18 bits on the wire.
public struct NodeID: RawRepresentable, Sendable, Hashable {
    public static let maximumRawValue: UInt32 = 1 << 18 - 1

    public let rawValue: UInt32

    /// `nil` when `rawValue` needs more than 18 bits.
    public init?(rawValue: UInt32) {
        guard rawValue <= Self.maximumRawValue else { return nil }
        self.rawValue = rawValue
    }

    init(masking bits: UInt64) {
        self.rawValue = UInt32(truncatingIfNeeded: bits) & Self.maximumRawValue
    }

    public static let none = NodeID(masking: 0)
}
