// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// Unreliable datagrams (RFC 9221).
extension Connection {
    /// Sends an unreliable datagram; over TCP it is reliable once it was accepted.
    ///
    /// - Throws: ``TransportError/Code/limitExceeded`` when it is larger than ``maximumDatagramSize()``, or why the connection
    ///   is closed.
    @discardableResult
    public func sendDatagram(_ bytes: ByteBuffer) async throws -> DatagramOutcome {
        try await self.bridge.onLoop { (connection) throws(TransportError) in try connection.sendDatagram(bytes) }
    }

    /// Sends an unreliable datagram whose fate will be known.
    ///
    /// Whether the peer's acknowledgement is told depends on the carrier: see ``CarrierCapabilities/reportsDatagramDelivery``.
    ///
    /// - Throws: as ``sendDatagram(_:)``.
    public func sendTrackedDatagram(_ bytes: ByteBuffer) async throws -> DatagramDelivery {
        try await self.bridge.sendTracked(bytes)
    }

    /// The datagrams that arrive. One task iterates; while nobody does, the newest ``ConnectionLimits/bufferedDatagrams`` are
    /// kept.
    public var inboundDatagrams: InboundDatagrams { InboundDatagrams(connection: self) }

    /// The largest datagram payload that can be sent now; 0 when the peer takes none, or the connection is closed.
    public func maximumDatagramSize() async -> Int {
        (try? await self.bridge.onLoop { (connection) throws(TransportError) in connection.maximumDatagramSize }) ?? 0
    }
}
