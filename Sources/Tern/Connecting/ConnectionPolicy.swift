// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// Which carriers a client tries, and when. Every number of the race is here.
public struct ConnectionPolicy: Sendable, Hashable {
    /// Which carriers are tried.
    public enum Mode: String, Sendable, Hashable, CaseIterable {
        /// Only QUIC; fails where UDP is blocked.
        case quicOnly
        /// QUIC at once, TCP by the rules below. The default.
        case preferQUIC
        /// Both at once; the first finished handshake wins.
        case race
        /// Only QMux over TLS over TCP.
        case tcpOnly
    }

    /// Which carriers are tried.
    public var mode: Mode
    /// TCP starts this long after QUIC, whatever was heard.
    public var tcpDelay: TimeAmount = .milliseconds(250)
    /// TCP starts this long after QUIC if no packet of the server came back by then.
    public var silentTCPDelay: TimeAmount = .milliseconds(100)
    /// When IPv4 addresses come first, IPv6 is waited for this long (Happy Eyeballs: Resolution Delay).
    public var resolutionDelay: TimeAmount = .milliseconds(50)
    /// The next address of the same carrier is tried this long after the one before, unless that failed (Connection Attempt Delay).
    public var attemptDelay: TimeAmount = .milliseconds(250)
    /// All attempts together fail after this long.
    public var timeout: TimeAmount = .seconds(15)

    public init(_ mode: Mode = .preferQUIC) {
        self.mode = mode
    }
}
