// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// What carries a connection's bytes: QUIC over UDP, or QMux over TLS over TCP.
///
/// A struct and not an enum, so that a later carrier (WebSocket) does not break a caller's `switch`.
public struct Carrier: Sendable, Hashable, CustomStringConvertible {
    /// The stable name that logs, JSON lines and metrics show.
    public let name: String

    public init(name: String) {
        self.name = name
    }

    /// QUIC v1 (RFC 9000) over UDP.
    public static let quic = Carrier(name: "quic")
    /// QMux (draft-ietf-quic-qmux-02) over TLS 1.3 over TCP.
    public static let tls = Carrier(name: "tls")
    /// Two ends of one process, for tests.
    public static let memory = Carrier(name: "memory")

    public var description: String { self.name }
}

/// What a carrier can do; the two carriers share their semantics, this is where they differ.
public struct CarrierCapabilities: Sendable, Hashable {
    /// A datagram that was sent may be lost, and never waits behind another one. `false` over TCP: once written it is reliable and in order.
    public var hasUnreliableDatagrams: Bool
    /// Loss on one stream does not delay another stream.
    public var hasIndependentStreams: Bool
    /// The connection survives a change of its addresses, and ``LoopConnection/migrate(to:)`` changes them.
    public var canMigrate: Bool
    /// Whether ``LoopConnectionHandler/datagramSettled(_:fate:)`` tells what became of a datagram at the other end. `false`
    /// over TCP, where it tells only that the kernel took it.
    public var reportsDatagramDelivery: Bool

    public init(
        hasUnreliableDatagrams: Bool, hasIndependentStreams: Bool, canMigrate: Bool,
        reportsDatagramDelivery: Bool = false
    ) {
        self.hasUnreliableDatagrams = hasUnreliableDatagrams
        self.hasIndependentStreams = hasIndependentStreams
        self.canMigrate = canMigrate
        self.reportsDatagramDelivery = reportsDatagramDelivery
    }
}

/// Which end of a connection this is: the one that dialled or the one that listened.
public enum ConnectionRole: Sendable, Hashable {
    /// It dialled.
    case client
    /// It listened.
    case server
}
