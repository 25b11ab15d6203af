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
/// takes each first flight once, however late its copy comes, and none whose ticket is older than the server itself: it
/// remembers them until their tickets expire (RFC 8446, sections 8.1 and 8.2).
public struct TLSEarlyData: Sendable {
    /// What remembers the first flights.
    public var memory: any TLSReplayMemory

    public init(memory: any TLSReplayMemory = TLSLocalReplayMemory()) {
        self.memory = memory
    }
}
