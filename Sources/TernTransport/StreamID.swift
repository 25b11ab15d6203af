// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// A stream's number, as on the wire (RFC 9000, section 2.1): the two low bits say who opened it and whether it flows both ways.
public struct StreamID: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// The number on the wire.
    public let rawValue: UInt64

    public init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    /// The `index`-th stream (from 0) of its kind.
    public init(index: UInt64, initiator: ConnectionRole, direction: StreamDirection) {
        self.rawValue = index << 2 | (direction == .unidirectional ? 2 : 0) | (initiator == .server ? 1 : 0)
    }

    /// The end that opened the stream.
    public var initiator: ConnectionRole { self.rawValue & 1 == 0 ? .client : .server }
    /// Whether both ends send on it.
    public var direction: StreamDirection { self.rawValue & 2 == 0 ? .bidirectional : .unidirectional }
    /// The stream's position, from 0, among the streams of its initiator and direction.
    public var index: UInt64 { self.rawValue >> 2 }

    /// Whether an end in `role` receives bytes on this stream.
    public func isReadable(by role: ConnectionRole) -> Bool {
        self.direction == .bidirectional || self.initiator != role
    }

    /// Whether an end in `role` sends bytes on this stream.
    public func isWritable(by role: ConnectionRole) -> Bool {
        self.direction == .bidirectional || self.initiator == role
    }

    public static func < (left: StreamID, right: StreamID) -> Bool { left.rawValue < right.rawValue }
    public var description: String { "stream \(self.rawValue)" }
}

/// Whether both ends of a stream send, or only the one that opened it.
public enum StreamDirection: Sendable, Hashable, CaseIterable {
    /// Both ends send.
    case bidirectional
    /// Only the end that opened it sends.
    case unidirectional
}

/// How urgent a stream's bytes are against other streams of the same connection; lower is sent first (the urgency of RFC 9218).
///
/// Streams of equal urgency share the connection in turn.
public struct StreamPriority: Sendable, Hashable, Comparable {
    /// 0 (most urgent) to 7 (background).
    public let urgency: UInt8

    /// - Parameter urgency: 0 to 7; larger values count as 7.
    public init(urgency: UInt8) {
        self.urgency = min(urgency, 7)
    }

    /// Before everything else.
    public static let highest = StreamPriority(urgency: 0)
    /// What a stream has that nobody asked about.
    public static let normal = StreamPriority(urgency: 3)
    /// After everything else.
    public static let background = StreamPriority(urgency: 7)

    public static func < (left: StreamPriority, right: StreamPriority) -> Bool { left.urgency < right.urgency }
}
