// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// Bytes for a stream of their own that may be sent before the handshake is done (0-RTT), because it does no harm when an
/// attacker makes the server see them twice: to use this type is to say so (RFC 8446, section 8; RFC 9001, section 9.2).
///
/// Without a ticket of an earlier connection, or when the server refuses, they are sent when the handshake is done.
public struct ReplayableStream: Sendable, Hashable {
    /// Whether the server answers on the same stream.
    public var direction: StreamDirection
    /// What is sent at once.
    public var bytes: ByteBuffer
    /// Whether `bytes` are all that is sent on the stream.
    public var finishes: Bool

    public init(_ bytes: ByteBuffer, direction: StreamDirection = .bidirectional, finishes: Bool = true) {
        self.direction = direction
        self.bytes = bytes
        self.finishes = finishes
    }
}

/// What became of 0-RTT on a connection.
public enum EarlyDataOutcome: Sendable, Hashable {
    /// There was no ticket, or nothing replayable to send.
    case notOffered
    /// It was sent or received; the handshake is not done.
    case pending
    /// The server took it.
    case accepted
    /// The server refused it; it is sent again after the handshake.
    case rejected
}

/// What became of a datagram after it was accepted.
public enum DatagramFate: Sendable, Hashable {
    /// The peer acknowledged the packet (RFC 9221, section 5.2); its application may still have dropped the datagram.
    case acknowledged
    /// The packet is considered lost; it may arrive all the same.
    case lost
    /// This end shed it before it was sent.
    case shed
    /// It was handed to the kernel, and nothing more will be known (over TCP).
    case written
}

/// What was learnt about a path.
public struct PathReport: Sendable, Hashable {
    public var localAddress: SocketAddress
    public var remoteAddress: SocketAddress
    /// From the first PATH_CHALLENGE to the PATH_RESPONSE that validated the path.
    public var validationTime: TimeAmount

    public init(localAddress: SocketAddress, remoteAddress: SocketAddress, validationTime: TimeAmount) {
        self.localAddress = localAddress
        self.remoteAddress = remoteAddress
        self.validationTime = validationTime
    }
}
