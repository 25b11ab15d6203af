// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// How the TCP connections under QMux behave.
public struct TCPOptions: Sendable, Hashable {
    /// Whether small segments leave at once (TCP_NODELAY).
    public var sendsSmallSegmentsAtOnce = true
    /// The kernel asks for more to send when less than this many unsent bytes wait (TCP_NOTSENT_LOWAT): what it holds can't be
    /// overtaken by something more urgent. 0 leaves the kernel's own number.
    public var unsentLowWatermark = 128 << 10
    /// The kernel's congestion control by name (TCP_CONGESTION), such as `cubic` or `bbr`; `nil` leaves the system's choice.
    public var congestionControl: String?
    /// The connection breaks when sent bytes stay unacknowledged for this long (TCP_USER_TIMEOUT, RFC 5482); `nil` leaves the
    /// kernel's quarter of an hour.
    public var unacknowledgedTimeout: TimeAmount? = .seconds(30)

    public init() {}
}
