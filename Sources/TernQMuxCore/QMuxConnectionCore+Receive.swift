// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore
internal import TernTransport

/// What comes from the peer.
extension QMuxConnectionCore {
    /// Bytes came from the carrier. Call it however blocked the application is: flow control bounds what is kept.
    ///
    /// The caller may use the memory of `bytes` again.
    ///
    /// - Parameters:
    ///   - isEarly: they came before the end of the handshake, and may be a copy.
    ///   - following: how many more bytes are known to wait behind them.
    package func receive(_ bytes: ByteBuffer, isEarly: Bool = false, following: Int = 0, now: NIODeadline) {
        // A closed connection discards its input (draft-ietf-quic-qmux-02, section 7.2).
        guard self.phase == .open else { return }
        self.counters.bytesReceived += UInt64(bytes.readableBytes)
        self.bytesFollowing = following
        self.reader.append(bytes)
        defer {
            self.reader.giveBack()
            self.hasEarlyRemainder = self.reader.holdsBytes && (isEarly || self.hasEarlyRemainder)
        }
        do throws(QMuxViolation) {
            while self.phase == .open, var record = try self.reader.next() {
                self.isReceivingEarly = isEarly || self.hasEarlyRemainder
                if !isEarly { self.hasEarlyRemainder = false }
                self.clock.recordReceived(now)
                while self.phase == .open, record.readableBytes > 0 {
                    try self.receive(try QMuxFrame.read(from: &record), now: now)
                }
            }
        } catch {
            self.fail(error, now: now)
        }
    }

    private func receive(_ frame: QMuxFrame, now: NIODeadline) throws(QMuxViolation) {
        if case .transportParameters(let list) = frame { return try self.receiveParameters(list, now: now) }
        guard self.peerParameters != nil else {
            throw .protocolViolation("the first frame is not QX_TRANSPORT_PARAMETERS", frame.type)
        }
        guard try !self.takes(frame, now: now) else { return }
        guard self.idleFrames.spend(frame.cost, now: now) else {
            throw .protocolViolation("too many frames that move nothing forward", frame.type)
        }
    }

    /// - Returns: whether the frame moved something forward: data, or a stream towards its end.
    private func takes(_ frame: QMuxFrame, now: NIODeadline) throws(QMuxViolation) -> Bool {
        switch frame {
        case .stream(let stream, let offset, let bytes, let finished):
            return try self.receiveStream(stream, offset: offset, bytes: bytes, finished: finished)
        case .resetStream(let stream, let code, let finalSize):
            return try self.receiveReset(stream, code: code, finalSize: finalSize, reliableSize: 0, frame.type)
        case .resetStreamAt(let stream, let code, let finalSize, let reliableSize):
            return try self.receiveReset(
                stream, code: code, finalSize: finalSize, reliableSize: reliableSize, frame.type)
        case .stopSending(let stream, let code): return try self.receiveStopSending(stream, code: code)
        case .maxData(let limit): self.receiveMaxData(limit)
        case .maxStreamData(let stream, let limit): try self.receiveMaxStreamData(stream, limit)
        case .maxStreams(let direction, let limit): self.receiveMaxStreams(direction, limit)
        case .streamDataBlocked(let stream, _):
            _ = try self.receivingStream(stream, QMuxFrameType.streamDataBlocked)
        case .datagram(let bytes, let frameSize):
            try self.receiveDatagram(bytes, frameSize: frameSize)
            return true
        case .pingRequest(let number): try self.pings.requestReceived(number)
        case .pingResponse(let number):
            try self.pings.responseReceived(number, now: now)
            self.reviewDeliveries()
        case .connectionClose, .applicationClose:
            self.receiveClose(frame, now: now)
            return true
        case .padding, .dataBlocked, .streamsBlocked, .transportParameters: break
        }
        return false
    }

    private func receiveParameters(_ list: ByteBuffer, now: NIODeadline) throws(QMuxViolation) {
        guard self.peerParameters == nil else {
            throw .protocolViolation("QX_TRANSPORT_PARAMETERS came twice", QMuxFrameType.transportParameters)
        }
        let parameters = try QMuxTransportParameters(decoding: list)
        try self.checkPromises(of: parameters)
        self.peerParameters = parameters
        self.receiveMaxData(parameters.initialMaxData)
        self.raiseLimitsOfEarlyStreams(to: parameters)
        self.clock.established(peerIdleTimeout: parameters.maxIdleTimeout)
        if self.limits.keepAliveInterval != nil { self.pings.wantsToAsk = true }
        self.receiveMaxStreams(.bidirectional, parameters.initialMaxStreamsBidirectional)
        self.receiveMaxStreams(.unidirectional, parameters.initialMaxStreamsUnidirectional)
        self.counters.handshakeDuration = now - self.clock.created
    }

    // MARK: - Streams

    /// - Returns: whether that brought anything new.
    private func receiveStream(
        _ identifier: StreamID, offset: UInt64, bytes: ByteBuffer, finished: Bool
    ) throws(QMuxViolation) -> Bool {
        let type = QMuxFrameType.stream
        guard let stream = try self.receivingStream(identifier, type), var receive = stream.receive else {
            guard bytes.readableBytes == 0 else { throw .streamState("data after the end of \(identifier)", type) }
            return false
        }
        let count = UInt64(bytes.readableBytes)
        let end = offset + count
        if let finalSize = receive.finalSize, end > finalSize || (finished && end != finalSize) {
            throw .finalSize("\(identifier) changed its final size", type)
        }
        guard !receive.wasReset else { return false }
        // draft-ietf-quic-qmux-02, section 4.1: stream payload MUST be sent in order.
        guard offset == receive.received else {
            throw .protocolViolation("\(identifier) went on at \(offset) instead of \(receive.received)", type)
        }
        guard end <= receive.limit, self.connection.charge(receive.charge(upTo: end)) else {
            throw .flowControl("\(identifier) exceeded its credit", type)
        }
        guard !receive.isFinished else { return false }
        receive.received = end
        if finished {
            receive.finalSize = end
            receive.isFinished = true
        }
        stream.receive = receive
        guard count > 0 || finished else { return false }
        self.idleFrames.earn(bytes.readableBytes)
        if self.isReceivingEarly { stream.cameEarly = true }
        if receive.wasStopped {
            self.credit(count, of: stream)
        } else {
            self.hold(bytes, of: stream)
        }
        self.resetIfReliablePartCame(stream)
        self.retireIfDone(stream)
        return true
    }

    private func hold(_ bytes: ByteBuffer, of stream: QMuxStream) {
        // The end needs a place of its own only when nothing waits before it.
        guard bytes.readableBytes > 0 || stream.held.isEmpty else { return }
        if stream.held.append(bytes, following: self.bytesFollowing, spares: &self.spares) {
            self.report(.streamReceived(stream.identifier, ByteBuffer(), finished: false))
        }
    }

    /// - Returns: whether that changed the stream.
    private func receiveReset(
        _ identifier: StreamID, code: UInt64, finalSize: UInt64, reliableSize: UInt64, _ type: UInt64
    ) throws(QMuxViolation) -> Bool {
        guard let stream = try self.receivingStream(identifier, type), var receive = stream.receive else {
            return false
        }
        guard finalSize >= receive.received, receive.finalSize ?? finalSize == finalSize else {
            throw .finalSize("\(identifier) was reset at another size than it had", type)
        }
        guard !receive.isFinished, !receive.wasReset else { return false }
        // What was announced but will not come counts against the credit as if it had come (RFC 9000, section 4.5): now, because
        // the promised part of a RESET_STREAM_AT may take its time, and others want the same credit.
        guard finalSize <= receive.limit, self.connection.charge(receive.charge(upTo: finalSize)) else {
            throw .flowControl("\(identifier) was reset beyond its credit", type)
        }
        let isNews = receive.resetAt == nil
        receive.finalSize = finalSize
        receive.resetAt = (code, min(reliableSize, receive.resetAt?.reliableSize ?? reliableSize))
        stream.receive = receive
        self.resetIfReliablePartCame(stream)
        return isNews
    }

    private func resetIfReliablePartCame(_ stream: QMuxStream) {
        guard var receive = stream.receive, let resetAt = receive.resetAt, let finalSize = receive.finalSize,
            !receive.wasReset, !receive.isFinished, receive.received >= resetAt.reliableSize
        else { return }
        // RFC 9000, section 3.2: what a reset does not promise need not be delivered.
        if resetAt.reliableSize == 0 { stream.held.removeAll() }
        receive.received = finalSize
        receive.wasReset = true
        stream.receive = receive
        if !receive.wasStopped { self.report(.streamWasReset(stream.identifier, code: resetAt.code)) }
        // What is still held returns its credit when it is heard.
        let done = finalSize.saturatingSubtracting(receive.consumed)
        self.credit(done.saturatingSubtracting(UInt64(stream.held.byteCount)), of: stream)
    }

    /// - Returns: whether that changed the stream.
    private func receiveStopSending(_ identifier: StreamID, code: UInt64) throws(QMuxViolation) -> Bool {
        guard let stream = try self.sendingStream(identifier, QMuxFrameType.stopSending), let send = stream.send,
            !send.isDone
        else { return false }
        send.stopCode = code
        self.report(.streamWasStopped(identifier, code: code))
        // RFC 9000, section 3.5: MUST send RESET_STREAM, and SHOULD copy the code.
        self.reset(identifier, code: code)
        return true
    }

    // MARK: - Credit

    private func receiveMaxData(_ limit: UInt64) {
        guard limit > self.connection.sendLimit else { return }
        self.connection.sendLimit = limit
        self.unblockConnection()
    }

    private func receiveMaxStreamData(_ identifier: StreamID, _ limit: UInt64) throws(QMuxViolation) {
        guard let stream = try self.sendingStream(identifier, QMuxFrameType.maxStreamData), let send = stream.send,
            limit > send.limit
        else { return }
        send.limit = limit
        if send.place == .blocked {
            send.place = .idle
            self.enqueueIfReady(stream)
        }
    }

    private func receiveMaxStreams(_ direction: StreamDirection, _ limit: UInt64) {
        guard self.local.raiseLimit(direction, to: limit) else { return }
        if self.writer.owesStreamsAvailable.remove(direction) != nil { self.report(.streamsAvailable(direction)) }
    }

    // MARK: - Datagrams and the end

    private func receiveDatagram(_ bytes: ByteBuffer, frameSize: Int) throws(QMuxViolation) {
        // RFC 9221, section 3: a DATAGRAM frame above our max_datagram_frame_size is a PROTOCOL_VIOLATION.
        guard frameSize <= self.limits.datagramFrameSize else {
            throw .protocolViolation("a datagram larger than allowed", QMuxFrameType.datagram)
        }
        self.counters.datagramsReceived += 1
        // A slice would keep the memory of all that came with it.
        self.heldDatagrams.append(bytes.copied())
        guard self.heldDatagrams.count > max(self.limits.bufferedDatagrams, 1) else {
            return self.report(.datagramReceived(ByteBuffer()))
        }
        self.heldDatagrams.removeFirst()
        self.counters.datagramsDropped += 1
    }

    // MARK: - Which stream is meant

    /// The stream of a frame that only its sender may send; `nil` when it is closed already.
    private func receivingStream(_ stream: StreamID, _ type: UInt64) throws(QMuxViolation) -> QMuxStream? {
        guard stream.isReadable(by: self.role) else { throw .streamState("\(stream) only sends", type) }
        return try self.stream(stream, type)
    }

    /// The stream of a frame that only its receiver may send; `nil` when it is closed already.
    private func sendingStream(_ stream: StreamID, _ type: UInt64) throws(QMuxViolation) -> QMuxStream? {
        guard stream.isWritable(by: self.role) else { throw .streamState("\(stream) only receives", type) }
        return try self.stream(stream, type)
    }

    private func stream(_ stream: StreamID, _ type: UInt64) throws(QMuxViolation) -> QMuxStream? {
        if let object = self.streams[stream] { return object }
        guard stream.initiator != self.role else {
            guard self.wasOpened(stream) else { throw .streamState("\(stream) was never opened", type) }
            return nil
        }
        guard stream.index < self.remote.limit(stream.direction) else {
            throw .streamLimit("\(stream) is beyond the stream limit", type)
        }
        // RFC 9000, section 3.2: a stream's first frame opens it and all lower ones of its kind.
        while self.remote.opened(stream.direction) <= stream.index {
            let index = self.remote.opened(stream.direction)
            let new = StreamID(index: index, initiator: stream.initiator, direction: stream.direction)
            self.remote.openOne(stream.direction)
            self.streams[new] = self.makeStream(new)
            self.report(.streamOpened(new))
        }
        return self.streams[stream]
    }
}
