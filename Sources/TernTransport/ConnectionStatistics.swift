// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// A snapshot of what a connection measured. What a carrier cannot know is `nil`.
public struct ConnectionStatistics: Sendable, Hashable {
    /// From the first packet or SYN to the finished handshake.
    public var handshakeDuration: TimeAmount?
    /// The exponentially weighted mean (RFC 9002, section 5.3; tcpi_rtt).
    public var smoothedRoundTripTime: TimeAmount?
    /// The smallest round trip that was seen.
    public var minimumRoundTripTime: TimeAmount?
    /// The newest sample.
    public var latestRoundTripTime: TimeAmount?
    /// How much the round trip varies (rttvar of RFC 9002, section 5.3; tcpi_rttvar).
    public var roundTripTimeVariation: TimeAmount?
    /// Bytes that may be in flight.
    public var congestionWindow: UInt64?
    /// Bytes that were sent and are neither acknowledged nor lost.
    public var bytesInFlight: UInt64?
    /// Where slow start ends; `nil` until the first loss.
    public var slowStartThreshold: UInt64?
    /// Bytes per second that the pacer or the kernel sends.
    public var pacingRate: UInt64?
    /// Bytes per second that the congestion controller or the kernel measured at the peer.
    public var deliveryRate: UInt64?
    /// The largest UDP payload of the path now, or the TCP segment size.
    public var pathMaximumSize: UInt64?
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
    /// What kind of event it is. A struct and not an enum, so that more kinds do not break a caller's `switch`.
    public struct Kind: Sendable, Hashable, CustomStringConvertible {
        /// The stable name that logs, JSON lines and metrics show.
        public let name: String

        public init(name: String) {
            self.name = name
        }

        /// The peer's or our own address changed, and the new path was validated.
        public static let pathChanged = Kind(name: "path-changed")
        /// A new path did not prove itself in time; the connection stays on the old one, if there is one.
        public static let pathFailed = Kind(name: "path-failed")
        /// The largest packet that fits the path changed.
        public static let pathMTUChanged = Kind(name: "path-mtu-changed")
        /// The peer asked this end to go elsewhere or is about to close.
        public static let peerIsDraining = Kind(name: "peer-is-draining")
        /// The handshake is confirmed (RFC 9001, section 4.1.2).
        public static let handshakeConfirmed = Kind(name: "handshake-confirmed")
        /// The server took what was sent before the handshake was done (0-RTT).
        public static let earlyDataAccepted = Kind(name: "early-data-accepted")
        /// The server refused 0-RTT; the replayable streams were sent again after the handshake.
        public static let earlyDataRejected = Kind(name: "early-data-rejected")
        /// Packets are protected by new keys (RFC 9001, section 6).
        public static let keysUpdated = Kind(name: "keys-updated")

        public var description: String { self.name }
    }

    /// What kind of event it is.
    public var kind: Kind
    /// A sentence that says what changed.
    public var message: String

    public init(_ kind: Kind, message: String) {
        self.kind = kind
        self.message = message
    }
}
