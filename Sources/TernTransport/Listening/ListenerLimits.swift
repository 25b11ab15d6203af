// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// How much a listener takes on, over each of its carriers: a flood over TCP leaves QUIC its own, and the other way round.
///
/// Newcomers beyond a limit are turned away before they cost memory: over QUIC their first packet is dropped, over TCP the
/// connection is closed before TLS begins. Those who are connected notice nothing. Addresses are counted as networks: an IPv4
/// address, or the 64 bits of an IPv6 address that name a network, because a host may use every address of it.
///
/// `nil`, the default of each, follows from what is known: of the other limits, and over TCP of how many descriptors the
/// process may open (RLIMIT_NOFILE), because each connection takes one. What follows from a limit that was set is never
/// below 16.
public struct ListenerLimits: Sendable, Hashable {
    /// Connections at once. By default 100,000; over TCP at most as many as the process may open descriptors beyond those that it
    /// had when the listener was bound, less an eighth (4 to 256) for the rest of the program.
    public var connections: Int?
    /// Handshakes at once that have not finished. By default 4,096, and at most half of the connections.
    public var handshakes: Int?
    /// Connections at once from one network. By default 16,384, and at most half of the connections. Behind a proxy that hides its
    /// clients' addresses set it to ``connections``.
    public var connectionsPerAddress: Int?
    /// Handshakes at once from one network that have not finished. By default 1,024, and at most a quarter of the handshakes.
    public var handshakesPerAddress: Int?

    public init() {}

    /// These limits; where they say nothing, those of `others`.
    package func completed(by others: ListenerLimits) -> ListenerLimits {
        var limits = self
        limits.connections = self.connections ?? others.connections
        limits.handshakes = self.handshakes ?? others.handshakes
        limits.connectionsPerAddress = self.connectionsPerAddress ?? others.connectionsPerAddress
        limits.handshakesPerAddress = self.handshakesPerAddress ?? others.handshakesPerAddress
        return limits
    }
}

/// ``ListenerLimits`` with every number filled in.
package struct ListenerCaps: Sendable, Hashable {
    package let connections: Int
    package let handshakes: Int
    package let connectionsPerAddress: Int
    package let handshakesPerAddress: Int

    private static let least = 16

    /// - Parameter descriptors: how many connections may have one of their own; `nil` where they need none.
    package init(_ limits: ListenerLimits, descriptors: Int?) {
        // What was asked for is what is done, also where the kernel will refuse some of it.
        self.connections = limits.connections ?? min(100_000, max(descriptors ?? .max, 1))
        // Where the process has little to give nobody gets all of it; a small number that was asked for is meant as it is.
        let ofConnections = max(self.connections / 2, limits.connections == nil ? 1 : Self.least)
        self.handshakes = limits.handshakes ?? min(4_096, ofConnections)
        self.connectionsPerAddress = limits.connectionsPerAddress ?? min(16_384, ofConnections)
        let wasAsked = limits.connections != nil || limits.handshakes != nil
        let ofHandshakes = max(self.handshakes / 4, wasAsked ? Self.least : 1)
        self.handshakesPerAddress = limits.handshakesPerAddress ?? min(1_024, ofHandshakes)
    }

    /// How many connections a process may hold a descriptor for.
    ///
    /// - Parameters:
    ///   - limit: of the process.
    ///   - inUse: descriptors that it has now.
    package static func descriptors(limit: Int, inUse: Int) -> Int {
        max(limit - inUse - min(max(limit / 8, 4), 256), 1)
    }
}
