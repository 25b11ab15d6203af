// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// A snapshot of what a connection measured. What a carrier cannot know is `nil`.
public struct ConnectionStatistics: Sendable, Hashable {
    /// From the first packet or SYN to the finished handshake.
    public var handshakeDuration: TimeAmount?
    public var smoothedRoundTripTime: TimeAmount?
    public var minimumRoundTripTime: TimeAmount?
    public var latestRoundTripTime: TimeAmount?
    /// Bytes that may be in flight.
    public var congestionWindow: UInt64?
    public var bytesInFlight: UInt64?
    /// UDP payload bytes, or bytes of the TCP stream.
    public var bytesSent: UInt64 = 0
    public var bytesReceived: UInt64 = 0
    /// UDP datagrams; `nil` over TCP.
    public var packetsSent: UInt64?
    public var packetsReceived: UInt64?
    /// Packets declared lost over QUIC, retransmitted segments over TCP.
    public var packetsLost: UInt64?
    public var datagramsSent: UInt64 = 0
    public var datagramsReceived: UInt64 = 0
    /// Datagrams that this end shed: before the write when the carrier was backed up, or unread.
    public var datagramsDropped: UInt64 = 0

    public init() {}
}

/// Something that happened to a connection while it lived, for people and for metrics.
public struct ConnectionEvent: Sendable, Hashable {
    public enum Kind: Sendable, Hashable {
        /// The peer's or our own address changed, and the new path was validated.
        case pathChanged
        /// The peer asked this end to go elsewhere or is about to close.
        case peerIsDraining
        /// The handshake is confirmed (RFC 9001, section 4.1.2).
        case handshakeConfirmed
    }

    public var kind: Kind
    /// A sentence that says what changed.
    public var message: String

    public init(_ kind: Kind, message: String) {
        self.kind = kind
        self.message = message
    }
}
