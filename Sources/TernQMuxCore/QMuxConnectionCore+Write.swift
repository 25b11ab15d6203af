// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
package import NIOCore
internal import TernTransport

/// What waits to be written, apart from the streams' bytes.
struct QMuxWriter {
    /// QX_TRANSPORT_PARAMETERS, resets and the like, in order. Bounded by the number of streams.
    var control: Deque<QMuxFrame> = []
    var datagrams: Deque<QMuxDatagram> = []
    var owesMaxData = false
    var owesMaxStreams: Set<StreamDirection> = []
    var owesMaxStreamData: Deque<StreamID> = []
    var owesStreamsAvailable: Set<StreamDirection> = []
    /// Streams with something to say, by urgency.
    var ready: [Deque<StreamID>] = Array(repeating: [], count: 8)
    var blockedByConnection: Deque<StreamID> = []
    /// The limits that DATA_BLOCKED and STREAMS_BLOCKED told last.
    var toldBlockedAt: UInt64?
    var toldStreamsBlockedAt: [StreamDirection: UInt64] = [:]
    var hasSentParameters = false

    /// Keeps only what must come first of all.
    mutating func dropAll() {
        var empty = QMuxWriter()
        if !self.hasSentParameters { empty.control = self.control.first.map { [$0] } ?? [] }
        empty.hasSentParameters = self.hasSentParameters
        self = empty
    }
}

/// A datagram that waits to be written.
struct QMuxDatagram {
    let bytes: ByteBuffer
    /// Under which the application hears of its fate.
    let tag: UInt64?
}

/// What goes to the peer.
extension QMuxConnectionCore {
    /// The next record, whole, or `nil` when there is nothing to send (or nothing that the peer allows).
    ///
    /// Ask only when the carrier takes bytes: what is not asked for can still be overtaken by something more urgent,
    /// and old datagrams give way to new ones.
    ///
    /// - Parameter limit: about how large the record may be; small frames ignore it.
    package func nextBytes(limit: Int = 16_384, now: NIODeadline) -> ByteBuffer? {
        var bytes = ByteBuffer()
        return self.write(into: &bytes, limit: limit, now: now) ? bytes : nil
    }

    /// As ``nextBytes(limit:now:)``, in memory that the caller has already.
    ///
    /// - Parameter bytes: replaced by the record.
    /// - Returns: whether there was something to send.
    package func write(into bytes: inout ByteBuffer, limit: Int = 16_384, now: NIODeadline) -> Bool {
        // An empty buffer without memory would be given some.
        if bytes.storageCapacity > 0 { bytes.clear() }
        let size = max(256, min(limit - 2, Self.maximumRecordSize))
        var record = QMuxRecordBuilder(maximumSize: size, in: &bytes)
        switch self.phase {
        case .open:
            self.fill(&record, now: now)
        case .closing(let frame):
            if !self.writer.hasSentParameters, let parameters = self.writer.control.popFirst() {
                record.append(parameters)
            }
            record.append(frame)
            self.phase = self.hasPeerFinished ? .over : .draining
        case .draining, .over:
            record.finish(&bytes)
            return false
        }
        self.writer.hasSentParameters = true
        self.reviewDeliveries()
        record.finish(&bytes)
        guard bytes.readableBytes > 0 else { return false }
        self.clock.recordSent(now, isOnlyPing: record.isOnlyPing)
        self.counters.bytesSent += UInt64(bytes.readableBytes)
        return true
    }

    private func fill(_ record: inout QMuxRecordBuilder, now: NIODeadline) {
        if !self.writer.hasSentParameters, let parameters = self.writer.control.popFirst() {
            record.append(parameters)
        }
        // Section 4.2: nothing that depends on the peer's transport parameters before they came.
        guard self.knownParameters != nil else { return }
        if let frame = self.pings.takeResponse() { record.append(frame) }
        if let frame = self.pings.takeRequest(now: now) { record.appendPing(frame) }
        self.appendControl(to: &record)
        self.appendDatagrams(to: &record)
        guard !record.isSealed else { return }
        for urgency in self.writer.ready.indices {
            guard self.appendStreams(of: urgency, to: &record) else { return }
        }
        self.tellBlocked(&record)
    }

    private func appendControl(to record: inout QMuxRecordBuilder) {
        while record.hasRoom(64), let frame = self.writer.control.popFirst() { record.append(frame) }
        if self.writer.owesMaxData, record.hasRoom(16) {
            self.writer.owesMaxData = false
            self.connection.receiveLimit = min(
                self.connection.consumed + self.connection.window, QMuxFrame.maximumInteger)
            record.append(.maxData(self.connection.receiveLimit))
        }
        for direction in StreamDirection.allCases where record.hasRoom(16) {
            guard self.writer.owesMaxStreams.remove(direction) != nil else { continue }
            record.append(.maxStreams(direction, self.remote.grantReleased(direction)))
        }
        while record.hasRoom(32), let identifier = self.writer.owesMaxStreamData.popFirst() {
            guard let stream = self.streams[identifier], var receive = stream.receive else { continue }
            receive.owesCredit = false
            if receive.finalSize == nil, !receive.wasStopped {
                receive.limit = min(
                    receive.consumed + self.connection.streamWindow, QMuxFrame.maximumInteger)
                record.append(.maxStreamData(identifier, receive.limit))
            }
            stream.receive = receive
        }
    }

    private func appendDatagrams(to record: inout QMuxRecordBuilder) {
        let largestFrame = Int(clamping: self.knownParameters?.maxDatagramFrameSize ?? 0)
        while let datagram = self.writer.datagrams.first, !record.isSealed {
            let bytes = datagram.bytes
            let count = bytes.readableBytes
            let withLength = 1 + ByteBuffer.variableIntegerSize(UInt64(count)) + count
            if withLength <= largestFrame, record.hasRoom(withLength) {
                record.append(.datagram(bytes, frameSize: withLength))
            } else if record.isEmpty || (withLength > largestFrame && record.hasRoom(1 + count)) {
                record.seal(withDatagram: bytes)
            } else {
                record.seal()  // It leads the next record.
                return
            }
            self.writer.datagrams.removeFirst()
            self.counters.datagramsSent += 1
            if let tag = datagram.tag { self.report(.datagramSettled(tag, .written)) }
        }
    }

    /// Gives the streams of one urgency their turns; `false` when the record is full.
    private func appendStreams(of urgency: Int, to record: inout QMuxRecordBuilder) -> Bool {
        while let identifier = self.writer.ready[urgency].popFirst() {
            guard let stream = self.streams[identifier], let send = stream.send else { continue }
            if send.waitingBytes > 0, self.connection.maySend == 0 {
                send.place = .blockedByConnection
                self.writer.blockedByConnection.append(identifier)
                continue
            }
            if send.waitingBytes > 0, send.limit <= send.sent {
                send.place = .blocked
                self.tellStreamBlocked(stream)
                continue
            }
            let isAlone = self.writer.ready[urgency].isEmpty
            let turn = isAlone ? .max : self.configuration.turnSize
            guard self.appendPiece(of: stream, atMost: turn, to: &record) else {
                self.writer.ready[urgency].prepend(identifier)
                return false
            }
            send.place = .idle
            self.enqueueIfReady(stream)
            self.afterPiece(of: stream)
        }
        return true
    }

    /// Writes one STREAM frame; `false` when nothing fits any more.
    private func appendPiece(of stream: QMuxStream, atMost turn: Int, to record: inout QMuxRecordBuilder) -> Bool {
        guard let send = stream.send else { return true }
        let header = QMuxFrame.streamHeaderSize(stream.identifier, offset: send.sent, count: record.room)
        // Not worth a frame: a few bytes at a record's end would only add headers.
        guard record.room >= header + min(send.waitingBytes, 32) else { return false }
        let allowed = min(self.connection.maySend, send.limit.saturatingSubtracting(send.sent))
        let count = min(send.waitingBytes, turn, Int(clamping: allowed), record.room - header)
        let finished = send.isFinishing && count == send.waitingBytes
        record.write { buffer in
            QMuxFrame.writeStreamHeader(
                stream.identifier, offset: send.sent, count: count, finished: finished, to: &buffer)
            send.take(count, into: &buffer)
        }
        self.connection.sent += UInt64(count)
        self.idleFrames.earn(count)
        if finished { send.isDone = true }
        // A request in this record would stand before it.
        self.deliveries.proof = self.pings.lastSent + 1
        self.deliveries.frames += 1
        if count > 0 { self.deliveries.framesWithBytes += 1 }
        return true
    }

    private func afterPiece(of stream: QMuxStream) {
        if let send = stream.send, send.owesWritable, !send.isFinishing,
            send.waitingBytes <= self.limits.writeLowWatermark
        {
            send.owesWritable = false
            self.report(.streamWritable(stream.identifier))
        }
        self.retireIfDone(stream)
    }

    // MARK: - Who is ready

    func enqueueIfReady(_ stream: QMuxStream) {
        guard let send = stream.send, send.place == .idle, send.hasSomethingToSay else { return }
        send.place = .ready
        self.writer.ready[Int(stream.priority.urgency)].append(stream.identifier)
    }

    func dequeue(_ stream: QMuxStream) {
        switch stream.send?.place {
        case .ready: self.writer.ready[Int(stream.priority.urgency)].removeAll { $0 == stream.identifier }
        case .blockedByConnection: self.writer.blockedByConnection.removeAll { $0 == stream.identifier }
        case .blocked, .idle, nil: break
        }
        stream.send?.place = .idle
    }

    func unblockConnection() {
        let blocked = self.writer.blockedByConnection
        self.writer.blockedByConnection.removeAll()
        for identifier in blocked {
            guard let stream = self.streams[identifier] else { continue }
            stream.send?.place = .idle
            self.enqueueIfReady(stream)
        }
    }

    // MARK: - Telling the peer that we wait for it (RFC 9000, section 4.1)

    private func tellBlocked(_ record: inout QMuxRecordBuilder) {
        let limit = self.connection.sendLimit
        if !self.writer.blockedByConnection.isEmpty, self.writer.toldBlockedAt != limit {
            self.writer.toldBlockedAt = limit
            self.writer.control.append(.dataBlocked(limit))
        }
        while record.hasRoom(64), let frame = self.writer.control.popFirst() { record.append(frame) }
    }

    private func tellStreamBlocked(_ stream: QMuxStream) {
        guard let send = stream.send, send.toldBlockedAt != send.limit else { return }
        send.toldBlockedAt = send.limit
        self.writer.control.append(.streamDataBlocked(stream.identifier, send.limit))
    }

    func tellStreamsBlocked(_ direction: StreamDirection) {
        let limit = self.local.limit(direction)
        guard self.knownParameters != nil, self.writer.toldStreamsBlockedAt[direction] != limit else { return }
        self.writer.toldStreamsBlockedAt[direction] = limit
        self.writer.control.append(.streamsBlocked(direction, limit))
    }
}
