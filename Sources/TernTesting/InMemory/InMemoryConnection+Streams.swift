// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTransport

/// What the application does on its streams.
extension InMemoryConnection {
    var maximumDatagramSize: Int {
        // The frame's type and the longest length field that 65535 bytes need (RFC 9221, section 4).
        max(0, min(self.peerLimits.datagramFrameSize, 65_535) - 5)
    }

    func openStream(_ direction: StreamDirection) throws(TransportError) -> StreamID? {
        self.eventLoop.preconditionInEventLoop()
        try self.checkOpen()
        let index = self.opened[direction, default: 0]
        guard index < self.streamLimit[direction, default: 0] else {
            self.owesStreams.insert(direction)
            return nil
        }
        self.opened[direction] = index + 1
        let stream = StreamID(index: index, initiator: self.role, direction: direction)
        self.streams[stream] = self.makeStream(stream)
        return stream
    }

    /// Opens a stream for each of ``replayable`` and queues its bytes; as over QUIC without a ticket, they are no replays. What
    /// the peer's limit leaves no room for comes when it grows.
    func openReplayableStreams() throws(TransportError) {
        while self.replayableStreams.count < self.replayable.count {
            let stream = self.replayable[self.replayableStreams.count]
            guard let id = try self.openStream(stream.direction) else { return }
            self.replayableStreams.append(id)
            _ = try self.write(stream.bytes, to: id, finish: stream.finishes)
        }
    }

    func makeStream(_ stream: StreamID) -> InMemoryStream {
        InMemoryStream(
            send: stream.isWritable(by: self.role) ? InMemorySendSide(limit: self.peerLimits.streamWindow) : nil,
            receive: stream.isReadable(by: self.role) ? InMemoryReceiveSide(limit: self.limits.streamWindow) : nil)
    }

    func write(_ bytes: ByteBuffer, to stream: StreamID, finish: Bool) throws(TransportError) -> Bool {
        self.eventLoop.preconditionInEventLoop()
        try self.checkOpen()
        guard stream.isWritable(by: self.role) else {
            throw TransportError(.misuse, message: "\(stream) only receives")
        }
        guard var send = self.streams[stream]?.send else {
            guard self.wasEverOpen(stream) else { throw TransportError(.misuse, message: "\(stream) is not open") }
            throw TransportError(.streamFinished, message: "\(stream) is closed")
        }
        if let code = send.stopCode {
            throw TransportError(
                .streamStopped, message: "the peer stopped \(stream)", wireCode: code, initiator: .peer)
        }
        guard !send.isFinishing, !send.isDone else {
            throw TransportError(.streamFinished, message: "\(stream) was finished or reset")
        }
        if bytes.readableBytes > 0 {
            send.waiting.append(bytes)
            send.waitingBytes += bytes.readableBytes
        }
        send.isFinishing = finish
        let mayGoOn = send.waitingBytes <= self.limits.writeHighWatermark
        if !mayGoOn { send.owesWritable = true }
        self.streams[stream]?.send = send
        self.scheduleTurn()
        return mayGoOn
    }

    func reset(_ stream: StreamID, code: UInt64) {
        self.eventLoop.preconditionInEventLoop()
        guard self.closeReason == nil, let send = self.streams[stream]?.send, !send.isDone else { return }
        self.streams[stream]?.send?.abandon()
        self.say(.resetStream(stream, code: code))
        self.reviewDeliveries()
        self.retireIfDone(stream)
    }

    func stopSending(_ stream: StreamID, code: UInt64) {
        self.eventLoop.preconditionInEventLoop()
        guard self.closeReason == nil, let receive = self.streams[stream]?.receive,
            !receive.wasStopped, !receive.isDone
        else { return }
        self.streams[stream]?.receive?.wasStopped = true
        self.dropEvents(of: stream)
        if !receive.isFinished { self.say(.stopSending(stream, code: code)) }
        self.credit(receive.received - receive.consumed, of: stream)
    }

    func setPriority(_ priority: StreamPriority, of stream: StreamID) {
        self.eventLoop.preconditionInEventLoop()
        self.streams[stream]?.priority = priority
    }

    func consumed(_ count: Int, of stream: StreamID) {
        self.eventLoop.preconditionInEventLoop()
        guard let receive = self.streams[stream]?.receive, !receive.wasStopped else { return }
        self.credit(min(max(count, 0), receive.received - receive.consumed), of: stream)
    }

    func sendDatagram(_ bytes: ByteBuffer) throws(TransportError) -> DatagramOutcome {
        try self.queueDatagram(bytes, tag: nil)
    }

    func sendDatagram(_ bytes: ByteBuffer, tag: UInt64) throws(TransportError) -> DatagramOutcome {
        try self.queueDatagram(bytes, tag: tag)
    }

    private func queueDatagram(_ bytes: ByteBuffer, tag: UInt64?) throws(TransportError) -> DatagramOutcome {
        self.eventLoop.preconditionInEventLoop()
        try self.checkOpen()
        guard self.maximumDatagramSize > 0, bytes.readableBytes <= self.maximumDatagramSize else {
            throw TransportError(
                .limitExceeded,
                message: "a datagram of \(bytes.readableBytes) bytes; the limit is \(self.maximumDatagramSize)")
        }
        self.datagrams.append((bytes, tag))
        self.scheduleTurn()
        guard self.datagrams.count > max(self.limits.bufferedDatagrams, 1) else { return .accepted }
        if let shed = self.datagrams.removeFirst().tag { self.report(.datagramSettled(shed, .shed)) }
        self.counters.datagramsDropped += 1
        return .dropped
    }

    private func checkOpen() throws(TransportError) {
        if let closeReason { throw closeReason }
    }

    func wasEverOpen(_ stream: StreamID) -> Bool {
        let count = stream.initiator == self.role ? self.opened : self.accepted
        return stream.index < count[stream.direction, default: 0]
    }

    /// Returns received bytes to the peer, once half a window has gathered.
    func credit(_ count: Int, of stream: StreamID) {
        if var receive = self.streams[stream]?.receive {
            receive.consumed += count
            let allowed = receive.consumed + self.limits.streamWindow
            if !receive.isFinished, !receive.wasReset, !receive.wasStopped,
                allowed - receive.limit >= max(self.limits.streamWindow / 2, 1)
            {
                receive.limit = allowed
                self.say(.maxStreamData(stream, allowed))
            }
            self.streams[stream]?.receive = receive
            self.retireIfDone(stream)
        }
        self.consumedBytes += count
        let allowed = self.consumedBytes + self.limits.connectionWindow
        if allowed - self.receiveLimit >= max(self.limits.connectionWindow / 2, 1) {
            self.receiveLimit = allowed
            self.say(.maxData(allowed))
        }
    }

    /// Both sides of a stream are done.
    func retireIfDone(_ stream: StreamID) {
        guard let state = self.streams[stream], state.isDone, !state.isRetired else { return }
        self.streams[stream]?.isRetired = true
        self.report(.streamClosed(stream))
    }

    /// The identifier ends, and lets the peer open another stream in its place, when the application hears of it.
    func forget(_ stream: StreamID) {
        self.streams[stream] = nil
        guard stream.initiator != self.role else { return }
        self.grantedStreams[stream.direction, default: 0] += 1
        self.say(.maxStreams(stream.direction, self.grantedStreams[stream.direction, default: 0]))
    }
}
