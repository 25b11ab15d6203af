// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport

/// A carrier that does what a test says, for what no carrier does at will: late handshakes, replays, lost datagrams.
///
/// `@unchecked Sendable`: everything mutable is touched on `eventLoop` only.
final class ScriptedConnection: LoopConnection, @unchecked Sendable {
    let eventLoop: any EventLoop
    let role: ConnectionRole
    let carrier = Carrier(name: "scripted")
    let capabilities = CarrierCapabilities(
        hasUnreliableDatagrams: true, hasIndependentStreams: true, canMigrate: true, reportsDatagramDelivery: true)
    let applicationProtocol = "test"
    let limits = ConnectionLimits()
    let peerCertificates: [[UInt8]] = []
    let localAddress: SocketAddress? = nil
    let remoteAddress: SocketAddress? = nil
    let maximumDatagramSize = 1_200

    var isHandshakeComplete: Bool
    var earlyData = EarlyDataOutcome.notOffered
    var replayableStreams: [StreamID] = []
    var replays: Set<StreamID> = []
    var resets: [StreamID] = []
    var tags: [UInt64] = []
    var keyUpdates = 0
    var counters = ConnectionStatistics()
    let migration: EventLoopPromise<PathReport>
    private(set) var handler: (any LoopConnectionHandler)?

    init(role: ConnectionRole, isHandshakeComplete: Bool = true, on eventLoop: any EventLoop) {
        self.role = role
        self.isHandshakeComplete = isHandshakeComplete
        self.eventLoop = eventLoop
        self.migration = eventLoop.makePromise()
    }

    deinit { self.migration.fail(TransportError(.cancelled, message: "the test is over")) }

    /// Changes what the carrier does, or lets it tell its handler something, on its event loop.
    func script<Value: Sendable>(_ body: @escaping @Sendable (ScriptedConnection) throws -> Value) async throws -> Value
    {
        try await self.eventLoop.submit { try body(self) }.get()
    }

    func start(handler: any LoopConnectionHandler) { self.handler = handler }
    func statistics() -> ConnectionStatistics { self.counters }
    func isReplayable(_ stream: StreamID) -> Bool { self.replays.contains(stream) }
    func updateKeys() throws(TransportError) { self.keyUpdates += 1 }
    func openStream(_ direction: StreamDirection) throws(TransportError) -> StreamID? { nil }
    func write(_ bytes: ByteBuffer, to stream: StreamID, finish: Bool) throws(TransportError) -> Bool { true }
    func reset(_ stream: StreamID, code: UInt64) { self.resets.append(stream) }
    func stopSending(_ stream: StreamID, code: UInt64) {}
    func setPriority(_ priority: StreamPriority, of stream: StreamID) {}
    func consumed(_ count: Int, of stream: StreamID) {}
    func sendDatagram(_ bytes: ByteBuffer) throws(TransportError) -> DatagramOutcome { .accepted }

    func sendDatagram(_ bytes: ByteBuffer, tag: UInt64) throws(TransportError) -> DatagramOutcome {
        guard bytes.readableBytes <= self.maximumDatagramSize else { throw TransportError(.limitExceeded, message: "") }
        self.tags.append(tag)
        return .accepted
    }

    func migrate(to localAddress: SocketAddress?) -> EventLoopFuture<PathReport> { self.migration.futureResult }

    func close(code: UInt64, reason: String) {
        let error = TransportError(.application, message: reason, wireCode: code)
        self.eventLoop.execute {
            let handler = self.handler
            self.handler = nil
            handler?.connectionClosed(error)
        }
    }
}
