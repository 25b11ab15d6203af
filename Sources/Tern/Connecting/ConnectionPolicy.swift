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
    /// Where no packet came back over one address family by then, QUIC tries the other one, and TCP starts this much later: a
    /// network that drops UDP over IPv6 need not drop it over IPv4.
    public var otherFamilyLead: TimeAmount = .milliseconds(25)
    /// When IPv4 addresses come first, IPv6 is waited for this long (Happy Eyeballs: Resolution Delay).
    public var resolutionDelay: TimeAmount = .milliseconds(50)
    /// The next address of the same carrier is tried this long after the one before, unless that failed (Connection Attempt Delay).
    public var attemptDelay: TimeAmount = .milliseconds(250)
    /// A lookup of the server's name fails after this long.
    public var lookupTimeout: TimeAmount = .seconds(10)
    /// All attempts together fail after this long.
    public var timeout: TimeAmount = .seconds(15)
    /// A connection over QUIC that ends this soon because nothing came through any more died young: some routers let the
    /// beginning of a UDP flow pass, and drop the rest. Then TCP starts at once at this server's next connections.
    public var youngAge: TimeAmount = .seconds(60)
    /// For how long TCP comes first after QUIC died young; twice as long each time it does so again, and at most
    /// ``longestDistrust``. Forgotten when a connection over QUIC grows older.
    public var distrust: TimeAmount = .minutes(5)
    /// See ``distrust``.
    public var longestDistrust: TimeAmount = .hours(2)
    /// Where TCP comes first QUIC starts this long after it, or when it failed.
    public var distrustedQUICDelay: TimeAmount = .seconds(2)

    public init(_ mode: Mode = .preferQUIC) {
        self.mode = mode
    }
}
