// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// How a server lets clients resume connections (RFC 8446, section 4.6.1).
public struct TLSTickets: Sendable {
    /// How long a ticket is good for; at most seven days.
    public var lifetime: TimeAmount = .hours(6)
    /// 64 secret bytes, the same on all servers that shall take each other's tickets; `nil` draws them at random when the
    /// server starts. The keys that encrypt tickets are derived from them and change with time.
    public var secret: [UInt8]?

    public init(lifetime: TimeAmount = .hours(6), secret: [UInt8]? = nil) {
        self.lifetime = lifetime
        self.secret = secret
    }
}

/// How a server takes data before the handshake is done (0-RTT, RFC 8446, section 2.3).
///
/// What comes early may be a copy: the application learns it from ``TernTransport/LoopConnection/isReplayable(_:)``. The server
/// refuses copies that come within the window, and everything that is older than the window or than the server itself.
public struct TLSEarlyData: Sendable {
    /// How far the age of a ticket, as the client tells it, may be off.
    public var window: TimeAmount
    /// What remembers the first flights of the window.
    public var memory: any TLSReplayMemory

    public init(window: TimeAmount = .seconds(10), memory: any TLSReplayMemory = TLSLocalReplayMemory()) {
        self.window = window
        self.memory = memory
    }
}
