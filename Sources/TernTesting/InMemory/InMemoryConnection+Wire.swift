// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTransport

/// What passes between the two ends.
extension InMemoryConnection {
    /// Streams of equal urgency take turns with pieces of this size.
    private static let pieceSize = 16 << 10

    func say(_ frame: InMemoryFrame) {
        self.control.append(frame)
        self.scheduleTurn()
    }

    /// Sends everything that the peer's windows allow: control first, then datagrams, then streams by urgency.
    func flush() {
        guard self.closeReason == nil else { return }
        var frames = self.control
        self.control.removeAll()
        self.counters.datagramsSent += UInt64(self.datagrams.count)
        frames += self.datagrams.map { .datagram($0.bytes, tag: $0.tag) }
        self.datagrams.removeAll()
        let ready = self.streams.filter { $0.value.send?.hasSomethingToSay == true }
        for urgency in Set(ready.values.map { $0.priority }).sorted() {
            var inTurn = ready.filter { $0.value.priority == urgency }.keys.sorted()
            self.rotate(&inTurn)
            while !inTurn.isEmpty {
                inTurn = inTurn.filter { self.sendPiece(of: $0, into: &frames) }
            }
        }
        guard !frames.isEmpty else { return }
        self.turnsSent += 1
        if frames.contains(where: { if case .stream = $0 { true } else { false } }) {
            self.lastTurnOfStreams = self.turnsSent
        }
        if frames.contains(where: { if case .stream(_, let bytes, _) = $0 { bytes.readableBytes > 0 } else { false } })
        {
            self.lastTurnWithBytes = self.turnsSent
        }
        self.transmit(frames)
        self.reviewDeliveries()
    }

    /// Starts each flush with another stream, so that none is always served last when the window is small.
    private func rotate(_ inTurn: inout [StreamID]) {
        guard inTurn.count > 1 else { return }
        self.turn &+= 1
        let first = Int(self.turn % UInt64(inTurn.count))
        inTurn = Array(inTurn[first...] + inTurn[..<first])
    }

    /// Moves one piece of a stream into `frames`; answers whether the stream may have more.
    private func sendPiece(of stream: StreamID, into frames: inout [InMemoryFrame]) -> Bool {
        guard var send = self.streams[stream]?.send, send.hasSomethingToSay else { return false }
        let window = min(send.limit - send.sent, self.sendLimit - self.sentBytes, Self.pieceSize)
        let piece = send.take(atMost: window)
        let finished = send.isFinishing && send.waitingBytes == 0
        guard piece != nil || finished else { return false }
        let count = piece?.readableBytes ?? 0
        send.sent += count
        self.sentBytes += count
        self.counters.bytesSent += UInt64(count)
        if finished { send.isDone = true }
        if send.owesWritable, !send.isFinishing, send.waitingBytes <= self.limits.writeLowWatermark {
            send.owesWritable = false
            self.report(.streamWritable(stream))
        }
        self.streams[stream]?.send = send
        frames.append(.stream(stream, piece ?? ByteBuffer(), finished: finished))
        self.retireIfDone(stream)
        return !finished
    }

    func transmit(_ frames: [InMemoryFrame]) {
        guard let peer = self.link.peer(of: self.role) else { return }
        peer.eventLoop.execute { peer.receive(frames) }
    }

    func receive(_ frames: [InMemoryFrame]) {
        if self.closeReason == nil { self.turnsHeard += 1 }
        for frame in frames where self.closeReason == nil {
            switch frame {
            case .stream(let stream, let bytes, let finished):
                self.receiveStream(stream, bytes: bytes, finished: finished)
            case .resetStream(let stream, let code): self.receiveReset(stream, code: code)
            case .stopSending(let stream, let code): self.receiveStop(stream, code: code)
            case .maxData(let limit): self.sendLimit = max(self.sendLimit, limit)
            case .maxStreamData(let stream, let limit):
                guard let send = self.streams[stream]?.send else { break }
                self.streams[stream]?.send?.limit = max(send.limit, limit)
            case .maxStreams(let direction, let limit):
                self.streamLimit[direction] = max(self.streamLimit[direction, default: 0], limit)
                // Nothing can be thrown here: the connection is open, and the streams are new.
                try? self.openReplayableStreams()
                if self.owesStreams.remove(direction) != nil { self.report(.streamsAvailable(direction)) }
            case .datagram(let bytes, let tag):
                self.counters.datagramsReceived += 1
                self.reportDatagram(bytes)
                if let tag { self.say(.datagramAcknowledged(tag)) }
            case .datagramAcknowledged(let tag): self.report(.datagramSettled(tag, .acknowledged))
            case .deliveryAsked(let tag): self.say(.deliveryConfirmed(tag))
            case .deliveryConfirmed(let tag):
                let settled = self.deliveryPromises.take([.init(tag: tag, error: nil)])
                settled.tell()
            case .connectionClose(let code, let reason, let heard):
                self.everythingArrived = heard >= self.lastTurnOfStreams && !self.hasSomethingUnsent
                self.bytesArrived = heard >= self.lastTurnWithBytes && !self.hasUnsentBytes
                self.end(TransportError(.application, message: reason, wireCode: code, initiator: .peer))
            }
        }
        self.scheduleTurn()
    }

    private func receiveStream(_ stream: StreamID, bytes: ByteBuffer, finished: Bool) {
        self.acceptIfNew(stream)
        guard var receive = self.streams[stream]?.receive, !receive.wasReset, !receive.isFinished else { return }
        receive.received += bytes.readableBytes
        receive.isFinished = finished
        self.receivedBytes += bytes.readableBytes
        self.counters.bytesReceived += UInt64(bytes.readableBytes)
        self.streams[stream]?.receive = receive
        if receive.wasStopped {
            self.credit(bytes.readableBytes, of: stream)
        } else {
            self.report(.streamReceived(stream, bytes, finished: finished))
            self.retireIfDone(stream)
        }
    }

    private func receiveReset(_ stream: StreamID, code: UInt64) {
        self.acceptIfNew(stream)
        guard let receive = self.streams[stream]?.receive, !receive.wasReset, !receive.isFinished else { return }
        if !receive.wasStopped { self.report(.streamWasReset(stream, code: code)) }
        self.streams[stream]?.receive?.wasReset = true
        self.credit(receive.received - receive.consumed, of: stream)
    }

    /// RFC 9000, section 3.5: the answer to STOP_SENDING is RESET_STREAM with the same code.
    private func receiveStop(_ stream: StreamID, code: UInt64) {
        self.acceptIfNew(stream)
        guard let send = self.streams[stream]?.send, !send.isDone else { return }
        self.streams[stream]?.send?.stopCode = code
        self.report(.streamWasStopped(stream, code: code))
        self.reset(stream, code: code)
    }

    /// RFC 9000, section 3.2: the first frame of a stream opens it, and all the lower ones of its kind.
    private func acceptIfNew(_ stream: StreamID) {
        guard stream.initiator != self.role else { return }
        while self.accepted[stream.direction, default: 0] <= stream.index {
            let index = self.accepted[stream.direction, default: 0]
            self.accepted[stream.direction] = index + 1
            let new = StreamID(index: index, initiator: stream.initiator, direction: stream.direction)
            self.streams[new] = self.makeStream(new)
            self.report(.streamOpened(new))
        }
    }
}
