// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Counts what a listener has taken on, in all and from each network, and says whether it takes on more.
package struct ListenerLoad: Sendable {
    private struct Share {
        var connections = 0
        var handshakes = 0
    }

    /// The first limit that a newcomer meets.
    package enum Refusal: Sendable, Hashable {
        case connections
        case handshakes
        case connectionsPerAddress
        case handshakesPerAddress
    }

    private let caps: ListenerCaps
    private var networks: [ClientNetwork: Share] = [:]
    package private(set) var connections = 0
    /// Handshakes that have not finished.
    package private(set) var handshakes = 0

    package init(_ caps: ListenerCaps) {
        self.caps = caps
    }

    /// Networks that are remembered: those with a connection.
    package var networkCount: Int { self.networks.count }

    /// Counts a connection whose handshake begins, unless a limit is reached.
    package mutating func begin(from network: ClientNetwork) -> Refusal? {
        let share = self.networks[network] ?? Share()
        if share.handshakes >= self.caps.handshakesPerAddress { return .handshakesPerAddress }
        if share.connections >= self.caps.connectionsPerAddress { return .connectionsPerAddress }
        if self.handshakes >= self.caps.handshakes { return .handshakes }
        if self.connections >= self.caps.connections { return .connections }
        self.connections += 1
        self.handshakes += 1
        self.networks[network] = Share(connections: share.connections + 1, handshakes: share.handshakes + 1)
        return nil
    }

    /// The handshake of a connection that was begun is done. Once for each.
    package mutating func establish(from network: ClientNetwork) {
        self.handshakes -= 1
        self.networks[network]?.handshakes -= 1
    }

    /// A connection that was begun is gone. Once for each.
    package mutating func end(from network: ClientNetwork, isEstablished: Bool) {
        self.connections -= 1
        if !isEstablished { self.establish(from: network) }
        guard var share = self.networks[network] else { return }
        share.connections -= 1
        self.networks[network] = share.connections > 0 ? share : nil
    }
}

/// Whose connections are counted together: an IPv4 address, or the 64 bits of an IPv6 address that name a network, because a
/// host may use every address of it.
package struct ClientNetwork: Hashable, Sendable {
    private let prefix: UInt64
    private let isIPv4: Bool

    /// - Parameter bytes: an IP address in network order, 4 or 16 bytes; an IPv4 address written as IPv6 (RFC 4291, section
    ///   2.5.5.2) counts as IPv4.
    package init(ipAddress bytes: [UInt8]) {
        let isMapped =
            bytes.count == 16 && bytes.prefix(10).allSatisfy { $0 == 0 } && bytes[10] == 0xff && bytes[11] == 0xff
        let significant = isMapped ? bytes.suffix(4) : bytes[...]
        self.isIPv4 = significant.count == 4
        self.prefix = significant.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// 4 bytes of an IPv4 address, or 8 of an IPv6 network.
    package var bytes: [UInt8] {
        let count = self.isIPv4 ? 4 : 8
        return (0..<count).map { UInt8(truncatingIfNeeded: self.prefix >> UInt64(8 * (count - 1 - $0))) }
    }
}
