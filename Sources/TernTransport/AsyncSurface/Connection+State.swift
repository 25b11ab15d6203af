// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// What a connection knows of its handshake, its paths and its keys.
extension Connection {
    /// Waits until the handshake is complete and the peer verified.
    ///
    /// A client's connection is so from its beginning. A server that accepts 0-RTT hands a connection out earlier: what is sent
    /// before this returns goes to a peer that has proven nothing, and what was received may be a replay
    /// (see ``Stream/isReplayable``).
    ///
    /// - Throws: why the connection ended before, or `CancellationError`.
    public func handshakeCompleted() async throws {
        guard let result = await self.bridge.handshake.value() else { throw CancellationError() }
        try result.get()
    }

    /// Whether the handshake is complete and the peer verified, at this moment.
    public func isHandshakeComplete() async -> Bool {
        await self.bridge.look { $0.isHandshakeComplete } ?? false
    }

    /// What became of the data that was sent before the handshake was done (0-RTT).
    public func earlyData() async -> EarlyDataOutcome {
        await self.bridge.look { $0.earlyData } ?? .notOffered
    }

    /// Derives secret bytes that both ends of this connection, and nobody else, can derive: for a key of the application's own,
    /// or to bind a login to this connection (RFC 8446, section 7.5; RFC 5705).
    ///
    /// - Parameters:
    ///   - label: what for; begins with `EXPORTER` (RFC 5705, section 4).
    ///   - context: what else goes into the derivation; both ends must pass the same.
    ///   - count: how many bytes, 1 to 8160.
    /// - Throws: ``TransportError/Code/misuse`` before the handshake is complete, or where there is no TLS.
    public func exportKeyingMaterial(label: String, context: [UInt8] = [], count: Int = 32) async throws -> [UInt8] {
        try await self.bridge.onLoop { (connection) throws(TransportError) in
            try connection.exportKeyingMaterial(label: label, context: context, count: count)
        }
    }

    /// Protects what is sent from now on by new keys (RFC 9001, section 6; RFC 8446, section 4.6.3). The peer follows.
    ///
    /// - Throws: ``TransportError/Code/misuse`` when the handshake is not confirmed, or the update before is not yet.
    public func updateKeys() async throws {
        try await self.bridge.onLoop { (connection) throws(TransportError) in try connection.updateKeys() }
    }

    /// Measures another way to the peer while the connection stays on the one it has (RFC 9000, section 9.1).
    ///
    /// A cancelled task stops to wait; the probe ends by itself.
    ///
    /// - Parameter localAddress: where to send from; its port may be 0. `nil`: a new port of the address that the routing table
    ///   chooses.
    /// - Throws: ``TransportError/Code/unreachable`` when no answer came, ``TransportError/Code/misuse`` for a server's end,
    ///   before the handshake is confirmed, where the peer forbids migration or the carrier has no paths, or
    ///   `CancellationError`.
    public func probe(from localAddress: SocketAddress? = nil) async throws -> PathReport {
        try await self.bridge.begin { $0.probe(from: localAddress) }
    }

    /// Moves the connection to another local address: at once, without waiting for the validation of the new path, because the
    /// old one is probably gone (RFC 9000, section 9.2). If the validation fails the connection returns to the old path.
    ///
    /// Streams, datagrams and their order are not touched. A cancelled task stops to wait; the migration goes on.
    ///
    /// - Parameter localAddress: as for ``probe(from:)``.
    /// - Returns: the path when it was validated.
    /// - Throws: as ``probe(from:)``.
    @discardableResult
    public func migrate(to localAddress: SocketAddress? = nil) async throws -> PathReport {
        try await self.bridge.begin { $0.migrate(to: localAddress) }
    }

    /// A snapshot of what the connection measured; when it is closed, the last one.
    public func statistics() async -> ConnectionStatistics {
        await self.bridge.look { _ in self.bridge.activity().statistics } ?? ConnectionStatistics()
    }

    /// The peer's address now; `nil` over a carrier without addresses.
    public func remoteAddress() async -> SocketAddress? {
        await self.bridge.look { $0.remoteAddress } ?? nil
    }

    /// Our address now; `nil` over a carrier without addresses.
    public func localAddress() async -> SocketAddress? {
        await self.bridge.look { $0.localAddress } ?? nil
    }
}
