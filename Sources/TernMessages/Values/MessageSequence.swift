// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// A message's place: in its channel (contiguous from 1, given by the server) or in its sender's own count. 44 bits
/// on the wire.
public struct MessageSequence: RawRepresentable, Sendable, Hashable, Comparable, CustomStringConvertible {
    public static let maximumRawValue: UInt64 = 1 << 44 - 1

    public let rawValue: UInt64

    /// `nil` when `rawValue` needs more than 44 bits.
    public init?(rawValue: UInt64) {
        guard rawValue <= Self.maximumRawValue else { return nil }
        self.rawValue = rawValue
    }

    init(masking bits: UInt64) {
        self.rawValue = bits & Self.maximumRawValue
    }

    /// No message: the head of an empty channel, an offset before the first message.
    public static let zero = MessageSequence(masking: 0)

    /// The one after this; stays at the maximum.
    public var next: MessageSequence { MessageSequence(masking: min(self.rawValue + 1, Self.maximumRawValue)) }

    public static func < (left: MessageSequence, right: MessageSequence) -> Bool { left.rawValue < right.rawValue }
    public var description: String { "\(self.rawValue)" }
}
