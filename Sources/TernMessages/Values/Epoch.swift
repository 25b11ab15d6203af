// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Which life of a channel's log a sequence belongs to. It changes when the log was restored or lost its tail:
/// sequences of different epochs must not be compared, and a client that sees a new one reads the channel again from
/// the start.
public struct Epoch: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
    public let rawValue: UInt64

    public init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    public var description: String { String(self.rawValue, radix: 16) }
}
