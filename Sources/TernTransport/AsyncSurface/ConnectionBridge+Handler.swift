// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import NIOCore

/// What the event loop tells.
extension ConnectionBridge: LoopConnectionHandler {
    func streamOpened(_ id: StreamID) {
        let stream = StreamState(id: id, role: self.connection.role, limits: self.connection.limits)
        self.streams[id] = stream
        self.streamsAccepted += 1
        if self.acceptedStreams.count >= self.acceptBacklog {
            self.connection.close(
                code: TransportErrorCode.applicationError, reason: "more streams were opened than the application takes"
            )
            return
        }
        self.acceptedStreams.push(stream)
    }

    func streamReceived(_ id: StreamID, bytes: ByteBuffer, finished: Bool) {
        guard let stream = self.streams[id] else { return self.connection.consumed(bytes.readableBytes, of: id) }
        self.noteReplay(stream)
        if bytes.readableBytes > 0, !stream.inbound.received(bytes) {
            self.connection.consumed(bytes.readableBytes, of: id)
        }
        if finished { stream.inbound.finished() }
    }

    func streamWasReset(_ id: StreamID, code: UInt64) {
        guard let stream = self.streams[id] else { return }
        let error = TransportError(
            .streamReset, message: "the peer gave up sending on \(id)", wireCode: code, initiator: .peer)
        self.connection.consumed(stream.inbound.failed(error), of: id)
    }

    func streamWasStopped(_ id: StreamID, code: UInt64) {
        self.streams[id]?.outbound.end(
            TransportError(
                .streamStopped, message: "the peer wants no more of \(id)", wireCode: code, initiator: .peer))
    }

    func streamWritable(_ id: StreamID) {
        self.streams[id]?.outbound.carrierIsWritable()
    }

    func streamClosed(_ id: StreamID) {
        self.streams.removeValue(forKey: id)?.outbound.closed()
    }

    func streamsAvailable(_ direction: StreamDirection) {
        while let opener = self.openers[direction]?.first, self.tryToOpen(opener) {
            self.openers[direction]?.removeFirst()
        }
    }

    func datagramReceived(_ bytes: ByteBuffer) {
        self.datagrams.push(bytes)
    }

    func datagramSettled(_ tag: UInt64, fate: DatagramFate) {
        self.unsettledDatagrams.settle(tag, fate)
    }

    func connectionEventOccurred(_ event: ConnectionEvent) {
        self.noteHandshake()
        self.observer?.connectionEventOccurred(event)
        self.eventSink.yield(event)
    }

    func connectionClosed(_ reason: TransportError) {
        self.noteHandshake()
        self.handshake.settle(.failure(reason))
        self.observer?.connectionEnded(reason, activity: self.activity())
        let error: TransportError? = reason.code == .application && reason.wireCode == 0 ? nil : reason
        for stream in self.streams.values {
            stream.outbound.end(reason)
            // What arrived whole before the end may still be read; a stream cut in the middle fails.
            stream.inbound.endAfterDelivery(reason)
        }
        for opener in self.openers.values.joined() { opener.answer(.failure(reason)) }
        self.streams = [:]
        self.openers = [:]
        self.acceptedStreams.end(error)
        self.datagrams.end(error)
        self.unsettledDatagrams.settleAll()
        self.eventSink.finish()
        // Last: who was told of the end meets it everywhere.
        self.end.settle(reason)
    }

    /// Asks whether what was just delivered may be a replay. The first delivery of a stream tells about all that waited for
    /// the start; after the handshake nothing that comes may be one.
    private func noteReplay(_ stream: StreamState) {
        guard self.connection.role == .server, !stream.isReplayable,
            !stream.wasDelivered || !self.connection.isHandshakeComplete
        else { return }
        stream.wasDelivered = true
        if self.connection.isReplayable(stream.id) { stream.noteReplayable() }
    }
}
