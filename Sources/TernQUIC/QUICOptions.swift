// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore
public import TernTransport

/// How QUIC connections behave, for clients and servers alike.
public struct QUICOptions: Sendable, Hashable {
    /// Which algorithm decides how much may be in flight (RFC 9002, section 7).
    public enum CongestionControl: String, Sendable, Hashable, CaseIterable {
        /// RFC 9002, section 7.
        case reno
        /// RFC 9438.
        case cubic
        /// The default: it keeps its rate under random loss, where the others collapse.
        case bbr
    }

    /// Which algorithm decides how much may be in flight.
    public var congestionControl: CongestionControl = .bbr
    /// The largest UDP payload that path MTU discovery tries, 1200 to 65,507; 1452 fits Ethernet over IPv6.
    public var maximumUDPPayloadSize: Int = 1452
    /// Whether to search for the path's MTU (DPLPMTUD, RFC 8899).
    public var discoversPathMTU: Bool = true
    /// The largest UDP payload on a path that does not leave this machine, where the loopback device takes up to 65,507 bytes;
    /// used after a packet of that size has arrived. 0 treats such paths like any other.
    public var sameHostUDPPayloadSize: Int = 16_384
    /// How far flow control lets a connection's receive window grow from ``TernTransport/ConnectionLimits/connectionWindow``
    /// while the application reads as fast as bytes come: what a path of 1 Gbit/s and 200 ms needs. Unread bytes never grow it.
    public var maximumConnectionWindow: Int = 24 << 20
    /// The same for a stream's window, from ``TernTransport/ConnectionLimits/streamWindow``.
    public var maximumStreamWindow: Int = 16 << 20
    /// Whether a client goes where the server would rather be found (RFC 9000, section 9.6). It never goes from elsewhere to a
    /// loopback address.
    public var usesPreferredAddress: Bool = true
    /// Bytes for the kernel to buffer in each direction of a UDP socket; the kernel may give less.
    public var socketBufferSize: Int = 4 << 20
    /// Where a qlog file (draft-ietf-quic-qlog-main-schema) is written for each connection; `nil` writes none. The files show
    /// addresses and sizes, never contents or keys. A server makes it when the client's address is proven: by a token, or by the end of
    /// the handshake. At most a quarter of the descriptors that the process may open are used for it; connections beyond go
    /// without.
    public var qlogDirectory: String?

    public init() {}
}

/// How a QUIC server takes clients on.
public struct QUICServerOptions: Sendable, Hashable {
    /// When a client must prove its address by a Retry (RFC 9000, section 8.1.2) before it costs the server anything.
    ///
    /// A client that shows a valid token of an earlier connection (NEW_TOKEN) needs no Retry.
    public enum AddressValidation: Sendable, Hashable {
        /// Never; the anti-amplification limit alone protects others.
        case never
        /// Every client without a token.
        case always
        /// While at least ``QUICServerOptions/handshakesBeforeRetry`` handshakes are unfinished or failed in the last
        /// seconds.
        case underLoad
    }

    /// When a client must prove its address.
    public var addressValidation: AddressValidation = .underLoad
    /// Unfinished and failed handshakes from which on ``AddressValidation/underLoad`` sends Retry, on all event loops
    /// together. A quarter of as many failures is forgotten each second.
    public var handshakesBeforeRetry: Int = 256
    /// How long a token of a NEW_TOKEN frame is good for.
    public var tokenLifetime: TimeAmount = .hours(24)
    /// The number of this server among those that share an address; part of every connection ID, so that a load balancer can
    /// route by it.
    public var node: UInt16 = 0
    /// UDP sockets, each on an event loop of its own; `nil`: one for each event loop of the group (at most 64).
    public var loops: Int?
    /// At least 32 secret bytes from which stateless reset tokens and address tokens are derived: the same for all servers of an
    /// address, and after a restart. `nil` draws them at random.
    public var secret: [UInt8]?
    /// Where clients should go after the handshake (RFC 9000, section 9.6); the listener must be reachable there. Port 0 is
    /// the listener's own.
    public var preferredIPv4Address: SocketAddress?
    public var preferredIPv6Address: SocketAddress?
    /// How many clients are taken on; where it says nothing, what the listener's own limits say.
    public var limits = ListenerLimits()
    /// How much the receive windows of all connections together may grow beyond their initial size, in bytes. A connection
    /// takes it as its window grows, the less the less is left, and returns it when it becomes slow or ends.
    ///
    /// ngtcp2 before 1.0 keeps something of every unidirectional stream that a client opened: 240 bytes, and 16 KB if the
    /// stream's frames were reordered. What it keeps beyond 1 MiB for a connection is taken from here too; when nothing is
    /// left, the connection is closed.
    public var windowMemory: Int = 1 << 30

    public init() {}
}
