// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernSystem
internal import DequeModule
internal import NIOCore
internal import TernTLS
internal import TernTransport

extension QUICConnectionCore {
    /// Undrained events that no honest peer makes.
    private static var eventLimit: Int { 1 << 16 }

    /// The next thing that happened; `nil` when everything was told.
    package func nextEvent() -> QUICEvent? {
        while let next = self.pending.popFirst() {
            switch next {
            case .event(let event): return event
            case .datagramReceived:
                if let bytes = self.inboundDatagrams.popFirst() { return .datagramReceived(bytes) }
            case .streamReceived(let stream):
                stream.isAnnounced = false
                let received = stream.received
                stream.received = ByteBuffer()
                stream.receivedBefore = min(received.readableBytes, 1 << 16)
                if stream.dropsInput { continue }
                // Room was made by the size of the piece before. Whoever keeps a byte is charged for a byte.
                let bytes = received.withoutWaste
                self.native.inbox.spares.keep(received)
                return .streamReceived(stream.id, bytes: bytes, finished: stream.receivedFinish)
            }
        }
        if self.isConfirmed, !self.hasShedHandshake { self.shedHandshake() }
        return nil
    }

    /// A handshake is the busiest moment in the life of most connections: what had to grow for it starts anew, small.
    private func shedHandshake() {
        self.hasShedHandshake = true
        self.pending = []
        self.native.inbox.facts = []
        // Copied, it has no room to spare.
        self.connectionIDs.withUnsafeBufferPointer { ids in self.keepConnectionIDs(Array(ids)) }
    }

    func emit(_ event: QUICEvent) {
        self.pending.append(.event(event))
    }

    /// Takes note of what ngtcp2 said during the call that just returned.
    func digest() {
        let inbox = self.native.inbox
        guard !inbox.facts.isEmpty else { return }
        var index = 0
        let count = inbox.facts.count
        while index < inbox.facts.count {
            let fact = inbox.facts[index]
            index += 1
            guard self.closeReason == nil else { continue }
            if index <= count, case .streamWasStopped(let id, _) = fact, self.isYetToBeOpened(id) {
                // The bridge tells what it found in a packet as soon as one stream closes; another may open further on.
                inbox.facts.append(fact)
            } else {
                self.digest(fact)
            }
        }
        inbox.facts.removeAll(keepingCapacity: true)
        if self.pending.count > Self.eventLimit {
            self.fail(code: TransportErrorCode.internalError, "more events than this end keeps")
        }
    }

    private func isYetToBeOpened(_ id: StreamID) -> Bool {
        id.initiator != self.role && self.stream(id)?.isTold == false
    }

    private func digest(_ fact: NativeInbox.Fact) {
        switch fact {
        case .handshakeCompleted: self.finishHandshake()
        case .earlyDataRejected: self.earlyDataWasRejected()
        case .handshakeConfirmed: self.confirmHandshake()
        case .streamOpened(let stream):
            self.noteEarlyStream()
            self.openedStreams.note(stream.id)
            stream.isTold = true
            self.emit(.streamOpened(stream.id))
        case .streamReceived(let stream): self.pending.append(.streamReceived(stream))
        case .streamWasReset(let id, let code): self.streamWasReset(id, code: code)
        case .streamWasResetUnopened(let id, let code):
            guard self.stream(id) == nil, id.initiator != self.role else { return }
            self.openedStreams.note(id)
            self.emit(.streamOpened(id))
            self.emit(.streamWasReset(id, code: code))
            self.emit(.streamClosed(id))
        case .streamWasStopped(let id, let code): self.streamWasStopped(id, code: code)
        case .streamAcknowledged(let id, let offset):
            let count = self.stream(id)?.queue.markAcknowledged(upTo: offset) ?? 0
            self.progress.acknowledged(count, now: self.lastNow)
            self.reviewDeliveries()
            self.packetSizes.acknowledged(id, upTo: offset)
        case .streamCredit(let id):
            if let stream = self.stream(id), stream.queue.hasWork { self.scheduler.insert(stream) }
        case .streamEnded(let id): self.streamEnded(id)
        case .streamsAvailable(let direction):
            if self.isEstablished { self.openReplayableStreams() }
            guard self.isEstablished, self.wantsStreams.remove(direction) != nil else { return }
            self.emit(.streamsAvailable(direction))
        case .datagramReceived(let bytes): self.received(datagram: bytes)
        case .datagramSettled(let number, let arrived): self.datagramWasSettled(number, arrived: arrived)
        case .keysUpdated: self.emit(.keysUpdated)
        case .connectionIDIssued(let id):
            self.noteIssued(id)
            self.emit(.connectionIDIssued(id))
        case .connectionIDRetired(let id):
            self.noteRetired(id)
            self.emit(.connectionIDRetired(id))
        case .pathSettled(let fact): self.digest(fact)
        case .tokenReceived(let token): self.emit(.tokenReceived(token))
        }
    }

    // MARK: Handshake

    /// TLS is done. Nothing was sent in answer yet, so a peer that is not who it should be gets not a byte of the
    /// application.
    private func finishHandshake() {
        guard !self.isEstablished else { return }
        // RFC 9000, section 8.1: who completes it has had what was sent to its address.
        self.native.inbox.peerIsProven()
        do throws(TransportError) {
            try self.tls.verifyPeer()
        } catch {
            self.rejectPeer(error)
            return
        }
        guard let applicationProtocol = self.tls.applicationProtocol else {
            // RFC 9001, section 8.1: no_application_protocol.
            self.fail(
                code: Self.cryptoError + 120, "no application protocol in common", as: .handshakeFailed,
                isRetrySafe: true)
            return
        }
        self.applicationProtocol = applicationProtocol
        self.isEstablished = true
        self.counters.handshakeDuration = .nanoseconds(Int64(clamping: self.lastNow - self.startedAt))
        self.native.keepAlive(every: self.keepAliveInterval ?? 0)
        self.settleEarlyData()
        self.emit(.handshakeCompleted(applicationProtocol: applicationProtocol))
        for direction in self.wantsStreams { self.emit(.streamsAvailable(direction)) }
        self.wantsStreams = []
        // RFC 9001, section 4.1.2: for a server it is confirmed when it is complete.
        if self.role == .server { self.confirmHandshake() }
    }

    private func confirmHandshake() {
        guard !self.isConfirmed, self.isEstablished else { return }
        self.isConfirmed = true
        self.emit(.handshakeConfirmed)
    }

    // MARK: Streams

    func stream(_ id: StreamID) -> QUICStream? {
        self.native.inbox.stream(Int64(bitPattern: id.rawValue))
    }

    private func streamWasReset(_ id: StreamID, code: UInt64) {
        guard let stream = self.stream(id), !stream.dropsInput else { return }
        self.emit(.streamWasReset(id, code: code))
        self.returnCredit(of: stream)
    }

    private func streamWasStopped(_ id: StreamID, code: UInt64) {
        guard let stream = self.stream(id), stream.stoppedWith == nil, !stream.wasReset else { return }
        stream.stoppedWith = code
        self.progress.gaveUp(stream.queue.giveUp())
        stream.queue.dropUnsent()
        self.scheduler.remove(stream)
        self.emit(.streamWasStopped(id, code: code))
        self.reviewDeliveries()
    }

    private func streamEnded(_ id: StreamID) {
        guard let stream = self.stream(id) else { return }
        stream.isEnded = true
        self.progress.gaveUp(stream.queue.giveUp())
        stream.queue.removeAll()
        self.scheduler.remove(stream)
        self.reviewDeliveries()
        self.forgetIfDone(stream)
    }

    /// A stream counts against the peer's limit until its bytes are consumed: otherwise a peer could fill our memory
    /// with short streams that nobody reads.
    func forgetIfDone(_ stream: QUICStream) {
        guard stream.isEnded, stream.unconsumed == 0 else { return }
        self.native.inbox.remove(stream.id)
        self.emit(.streamClosed(stream.id))
        guard stream.id.initiator != self.role else { return }
        if stream.id.direction == .bidirectional || self.canKeepEndedStream() {
            self.native.allowStream(stream.id.direction)
        }
    }

    /// Nobody will consume what came: the connection's window gets it back.
    func returnCredit(of stream: QUICStream) {
        if stream.unconsumed > 0 { self.native.creditConnection(stream.unconsumed) }
        stream.unconsumed = 0
    }

    private func received(datagram: ByteBuffer) {
        self.counters.datagramsReceived += 1
        let limit = max(self.configuration.limits.bufferedDatagrams, 1)
        if self.inboundDatagrams.count >= limit {
            self.inboundDatagrams.removeFirst()
            self.counters.datagramsDropped += 1
        } else {
            self.pending.append(.datagramReceived)
        }
        self.inboundDatagrams.append(datagram)
    }
}
