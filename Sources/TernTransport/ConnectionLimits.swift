// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// What an endpoint grants its peer and keeps in memory, alike for every carrier.
///
/// Everything that a peer could make grow is bounded by a number here.
public struct ConnectionLimits: Sendable, Hashable {
    /// Bytes that the peer may have in flight towards us on all streams together, unread (initial_max_data).
    public var connectionWindow: Int = 8 << 20
    /// Bytes that the peer may have in flight towards us on one stream, unread (initial_max_stream_data_*).
    public var streamWindow: Int = 1 << 20
    /// Bidirectional streams that the peer may have open at once.
    public var bidirectionalStreams: Int = 256
    /// Unidirectional streams that the peer may have open at once.
    public var unidirectionalStreams: Int = 256
    /// The largest DATAGRAM frame that we take (max_datagram_frame_size); 0 refuses datagrams.
    public var datagramFrameSize: Int = 65_535
    /// Datagrams that wait for a reader; the oldest is dropped when one more comes.
    public var bufferedDatagrams: Int = 256
    /// The connection ends when nothing was heard for this long (max_idle_timeout). `nil` switches it off.
    public var idleTimeout: TimeAmount? = .seconds(30)
    /// An idle connection sends a PING this often, so that NAT bindings and the idle timeout are kept alive. `nil` switches it off.
    public var keepAliveInterval: TimeAmount? = .seconds(10)
    /// A handshake that has not finished by then fails.
    public var handshakeTimeout: TimeAmount = .seconds(10)
    /// A `write` on a stream suspends while more than this many bytes of the stream wait to be sent.
    public var writeHighWatermark: Int = 256 << 10
    /// A suspended `write` goes on when at most this many bytes of the stream wait.
    public var writeLowWatermark: Int = 128 << 10

    public init() {}
}
