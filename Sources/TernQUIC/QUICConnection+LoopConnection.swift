// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernQUICCore
internal import TernTransport

// What LoopConnection offers, with its semantics.
extension QUICConnection {
    var localAddress: SocketAddress? {
        self.eventLoop.preconditionInEventLoop()
        return self.routedLocalAddress ?? self.core.path.local.withoutIPv4Mapping
    }

    var remoteAddress: SocketAddress? {
        self.eventLoop.preconditionInEventLoop()
        return self.core.path.remote.withoutIPv4Mapping
    }

    var maximumDatagramSize: Int {
        self.eventLoop.preconditionInEventLoop()
        return self.core.maximumDatagramSize
    }

    func statistics() -> ConnectionStatistics {
        self.eventLoop.preconditionInEventLoop()
        var statistics = self.core.statistics()
        statistics.datagramsDropped += self.datagramsShed
        return statistics
    }

    var isHandshakeComplete: Bool {
        self.eventLoop.preconditionInEventLoop()
        return self.core.isEstablished
    }

    var earlyData: EarlyDataOutcome {
        self.eventLoop.preconditionInEventLoop()
        return self.core.earlyData
    }

    var replayableStreams: [StreamID] {
        self.eventLoop.preconditionInEventLoop()
        return self.core.replayableStreams
    }

    func isReplayable(_ stream: StreamID) -> Bool {
        self.eventLoop.preconditionInEventLoop()
        return self.core.isReplayable(stream)
    }

    func exportKeyingMaterial(label: String, context: [UInt8], count: Int) throws(TransportError) -> [UInt8] {
        self.eventLoop.preconditionInEventLoop()
        return try self.core.exportKeyingMaterial(label: label, context: context, count: count)
    }

    func start(handler: any LoopConnectionHandler) {
        self.eventLoop.preconditionInEventLoop()
        precondition(!self.isStarted, "a connection is started once")
        self.handler = handler
        self.schedulePump()
    }

    func openStream(_ direction: StreamDirection) throws(TransportError) -> StreamID? {
        try self.checkOpen()
        let stream = try self.core.openStream(direction)
        self.schedulePump()
        return stream
    }

    func write(_ bytes: ByteBuffer, to stream: StreamID, finish: Bool) throws(TransportError) -> Bool {
        try self.checkOpen()
        let isBelowWatermark = try self.core.write(bytes, to: stream, finish: finish)
        self.schedulePump()
        return isBelowWatermark
    }

    func delivery(of stream: StreamID?) -> EventLoopFuture<Void> {
        self.eventLoop.preconditionInEventLoop()
        let (tag, future) = self.deliveries.add(on: self.eventLoop)
        self.core.watchDelivery(of: stream, tag: tag)
        self.schedulePump()
        return future
    }

    /// At the end of a turn: answers those who wait for acknowledgements.
    func settleDeliveries() {
        if let closeReason { self.core.failDeliveries(closeReason) }
        let settled = self.deliveries.take(self.core.takeDeliveryAnswers())
        settled.tell()
    }

    func reset(_ stream: StreamID, code: UInt64) {
        self.eventLoop.preconditionInEventLoop()
        guard self.closeReason == nil else { return }
        self.core.reset(stream, code: code)
        self.schedulePump()
    }

    func stopSending(_ stream: StreamID, code: UInt64) {
        self.eventLoop.preconditionInEventLoop()
        guard self.closeReason == nil else { return }
        self.core.stopSending(stream, code: code)
        self.schedulePump()
    }

    func setPriority(_ priority: StreamPriority, of stream: StreamID) {
        self.eventLoop.preconditionInEventLoop()
        guard self.closeReason == nil else { return }
        self.core.setPriority(priority, of: stream)
    }

    func consumed(_ count: Int, of stream: StreamID) {
        self.eventLoop.preconditionInEventLoop()
        guard self.closeReason == nil else { return }
        self.unsentCredit += count
        let freesStream = self.core.consumed(count, of: stream)
        // ngtcp2 tells the peer when half a window is free; until then there is nothing to send.
        if freesStream || self.unsentCredit >= self.creditStep { self.schedulePump() }
    }

    func sendDatagram(_ bytes: ByteBuffer) throws(TransportError) -> DatagramOutcome {
        try self.checkOpen()
        let outcome = try self.core.sendDatagram(bytes)
        self.schedulePump()
        return outcome
    }

    func sendDatagram(_ bytes: ByteBuffer, tag: UInt64) throws(TransportError) -> DatagramOutcome {
        try self.checkOpen()
        let outcome = try self.core.sendDatagram(bytes, tag: tag)
        self.schedulePump()
        return outcome
    }

    func updateKeys() throws(TransportError) {
        try self.checkOpen()
        // Also when it is refused: ngtcp2 prepares the next keys when it is asked for packets.
        defer { self.schedulePump() }
        try self.core.updateKeys(now: .now())
    }

    func close(code: UInt64, reason: String) {
        self.eventLoop.preconditionInEventLoop()
        guard self.closeReason == nil else { return }
        self.core.close(code: code, reason: reason)
        self.schedulePump()
    }

    private func checkOpen() throws(TransportError) {
        self.eventLoop.preconditionInEventLoop()
        if let closeReason { throw closeReason }
    }
}
