// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// How the TCP connections under QMux behave. What both carriers share is in ``TernTransport/ConnectionLimits``.
public struct TCPOptions: Sendable, Hashable {
    /// Whether small segments leave at once (TCP_NODELAY).
    public var sendsSmallSegmentsAtOnce = true
    /// The kernel asks for more to send when less than this many unsent bytes wait (TCP_NOTSENT_LOWAT): what it holds can't be
    /// overtaken by something more urgent. 0 leaves the kernel's own number.
    public var unsentLowWatermark = 128 << 10
    /// The kernel's congestion control by name (TCP_CONGESTION), such as `cubic` or `bbr`; `nil` leaves the system's choice.
    public var congestionControl: String?

    public init() {}
}
