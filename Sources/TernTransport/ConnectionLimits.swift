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
    ///
    /// Both ends tell theirs, and the smaller one holds for both (RFC 9000, section 10.1).
    public var idleTimeout: TimeAmount? = .seconds(30)
    /// An idle connection sends a PING this often, so that NAT bindings and the idle timeout are kept alive. `nil` switches it
    /// off: then the connection lives as long as the application or the peer says something.
    ///
    /// It follows the idle timeout that holds: where the peer's is shorter than three of these intervals, a PING is sent every
    /// third of it, but not more often than every 50 ms.
    public var keepAliveInterval: TimeAmount? = .seconds(10)
    /// The connection ends with ``TransportError/Code/carrierLost`` when something was sent and nothing of what is in flight was
    /// acknowledged for this long: the peer is gone, or the path takes small packets only. `nil` switches it off.
    ///
    /// It counts where the idle timeout does not: while acknowledgements or packets of the peer still arrive. Over TCP it is
    /// TCP_USER_TIMEOUT (RFC 5482); without it the kernel waits for about a quarter of an hour.
    public var unacknowledgedTimeout: TimeAmount? = .seconds(30)
    /// A handshake that has not finished by then fails.
    public var handshakeTimeout: TimeAmount = .seconds(10)
    /// A `write` on a stream suspends while more than this many bytes of the stream wait to be sent.
    public var writeHighWatermark: Int = 256 << 10
    /// A suspended `write` goes on when at most this many bytes of the stream wait.
    public var writeLowWatermark: Int = 128 << 10

    public init() {}
}

extension ConnectionLimits {
    /// How often an idle connection asks for a sign of life, given the idle timeout that both ends agreed on.
    ///
    /// Two of three PINGs may be lost. A peer that declares next to no idle timeout does not make us send without a pause.
    package func keepAliveInterval(within idleTimeout: TimeAmount?) -> TimeAmount? {
        guard let wanted = self.keepAliveInterval, let idleTimeout else { return self.keepAliveInterval }
        let third = TimeAmount.nanoseconds(idleTimeout.nanoseconds / 3)
        return min(wanted, max(third, .milliseconds(50)))
    }
}
