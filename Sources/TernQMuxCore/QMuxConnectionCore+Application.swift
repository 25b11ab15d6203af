// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore
package import TernTransport

/// What the application does; the meanings and errors are those of ``LoopConnection``.
extension QMuxConnectionCore {
    package func openStream(_ direction: StreamDirection) throws(TransportError) -> StreamID? {
        try self.checkOpen()
        guard self.local.opened(direction) < self.local.limit(direction) else {
            self.writer.owesStreamsAvailable.insert(direction)
            self.tellStreamsBlocked(direction)
            return nil
        }
        let identifier = StreamID(index: self.local.opened(direction), initiator: self.role, direction: direction)
        self.local.openOne(direction)
        self.streams[identifier] = self.makeStream(identifier)
        return identifier
    }

    package func write(
        _ bytes: ByteBuffer, to stream: StreamID, finish: Bool
    ) throws(TransportError) -> Bool {
        try self.checkOpen()
        guard stream.isWritable(by: self.role) else {
            throw TransportError(.misuse, message: "\(stream) only receives")
        }
        guard let object = self.streams[stream], let send = object.send else {
            guard self.wasOpened(stream) else { throw TransportError(.misuse, message: "\(stream) is not open") }
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
        self.enqueueIfReady(object)
        return mayGoOn
    }

    /// - Parameter code: cut to 2^62-1.
    package func reset(_ stream: StreamID, code: UInt64) {
        guard self.closeReason == nil, let object = self.streams[stream], let send = object.send, !send.isDone else {
            return
        }
        self.dequeue(object)
        send.abandon()
        self.writer.control.append(.resetStream(stream, code: code, finalSize: send.sent))
        self.reviewDeliveries()
        self.retireIfDone(object)
    }

    /// - Parameter code: cut to 2^62-1.
    package func stopSending(_ stream: StreamID, code: UInt64) {
        guard self.closeReason == nil, let object = self.streams[stream], let receive = object.receive,
            !receive.wasStopped, !receive.isDone
        else { return }
        object.receive?.wasStopped = true
        object.held.removeAll()
        // RFC 9000, section 3.5: pointless once the final size is known.
        if receive.finalSize == nil { self.writer.control.append(.stopSending(stream, code: code)) }
        self.credit(receive.received.saturatingSubtracting(receive.consumed), of: object)
    }

    package func setPriority(_ priority: StreamPriority, of stream: StreamID) {
        guard let object = self.streams[stream], object.priority != priority else { return }
        let wasReady = object.send?.place == .ready
        if wasReady { self.dequeue(object) }
        object.priority = priority
        if wasReady { self.enqueueIfReady(object) }
    }

    package func consumed(_ count: Int, of stream: StreamID) {
        guard self.closeReason == nil, let object = self.streams[stream], let receive = object.receive,
            !receive.wasStopped, !receive.wasReset
        else { return }
        let outstanding = receive.received.saturatingSubtracting(receive.consumed)
        self.credit(min(UInt64(clamping: count), outstanding), of: object)
    }

    /// The largest payload for ``sendDatagram(_:)``; 0 before the peer's transport parameters came.
    package var maximumDatagramSize: Int {
        guard let known = self.knownParameters, known.maxDatagramFrameSize > 1 else { return 0 }
        // One byte for the type; the length is left out when it would not fit (draft-ietf-quic-qmux-02, section 9.1).
        return Int(min(known.maxDatagramFrameSize, UInt64(Self.maximumRecordSize))) - 1
    }

    /// - Parameter tag: under which `datagramSettled` tells what became of it; `nil` tells nothing.
    package func sendDatagram(_ bytes: ByteBuffer, tag: UInt64? = nil) throws(TransportError) -> DatagramOutcome {
        try self.checkOpen()
        let maximum = self.maximumDatagramSize
        guard maximum > 0, bytes.readableBytes <= maximum else {
            throw TransportError(
                .limitExceeded, message: "a datagram of \(bytes.readableBytes) bytes; the limit is \(maximum)")
        }
        self.writer.datagrams.append(QMuxDatagram(bytes: bytes, tag: tag))
        guard self.writer.datagrams.count > max(self.limits.bufferedDatagrams, 1) else { return .accepted }
        if let tag = self.writer.datagrams.removeFirst().tag { self.report(.datagramSettled(tag, .shed)) }
        self.counters.datagramsDropped += 1
        return .dropped
    }

    /// Closes with an application code; what still waits is not sent.
    package func close(code: UInt64, reason: String, now: NIODeadline) {
        guard self.closeReason == nil else { return }
        let code = min(code, QMuxFrame.maximumInteger)
        let reason = Self.shortened(reason)
        // Who closes wants to hear of nothing else.
        self.events.removeAll()
        self.heldDatagrams.removeAll()
        for stream in self.streams.values { stream.held.removeAll() }
        self.beginClosing(
            with: .applicationClose(code: code, reason: reason),
            reason: TransportError(.application, message: reason, wireCode: code), now: now)
    }

    private func checkOpen() throws(TransportError) {
        if let closeReason { throw closeReason }
    }

    func makeStream(_ identifier: StreamID) -> QMuxStream {
        let send =
            identifier.isWritable(by: self.role)
            ? QMuxSendSide(limit: self.knownParameters?.initialMaxStreamData(identifier, sentBy: self.role) ?? 0) : nil
        let receive =
            identifier.isReadable(by: self.role)
            ? QMuxReceiveSide(limit: self.connection.streamWindow) : nil
        return QMuxStream(identifier, send: send, receive: receive)
    }

    func wasOpened(_ stream: StreamID) -> Bool {
        let counts = stream.initiator == self.role ? self.local : self.remote
        return stream.index < counts.opened(stream.direction)
    }

    /// Returns received bytes to the peer; credit is told once half a window has gathered.
    func credit(_ count: UInt64, of stream: QMuxStream) {
        guard var receive = stream.receive else { return }
        receive.consumed += count
        let window = self.connection.streamWindow
        let isOpenEnded = receive.finalSize == nil && !receive.wasStopped
        let owed = (receive.consumed + window).saturatingSubtracting(receive.limit)
        if isOpenEnded, !receive.owesCredit, owed >= max(window / 2, 1) {
            receive.owesCredit = true
            self.writer.owesMaxStreamData.append(stream.identifier)
        }
        stream.receive = receive
        self.creditConnection(count)
        self.retireIfDone(stream)
    }

    func creditConnection(_ count: UInt64) {
        self.connection.consumed += count
        let window = self.connection.window
        let owed = (self.connection.consumed + window).saturatingSubtracting(self.connection.receiveLimit)
        if owed >= max(window / 2, 1) { self.writer.owesMaxData = true }
    }

    func retireIfDone(_ stream: QMuxStream) {
        guard stream.isDone, !stream.isRetired else { return }
        stream.isRetired = true
        self.report(.streamClosed(stream.identifier))
    }

    /// At most 256 bytes of well-formed UTF-8.
    static func shortened(_ reason: String) -> String {
        guard reason.utf8.count > self.maximumReasonSize else { return reason }
        var scalars = String.UnicodeScalarView()
        var size = 0
        for scalar in reason.unicodeScalars {
            size += UTF8.width(scalar)
            guard size <= self.maximumReasonSize else { break }
            scalars.append(scalar)
        }
        return String(scalars)
    }
}

extension QMuxTransportParameters {
    /// What the declaring end grants its peer (in `role`) on a new stream (RFC 9000, section 18.2).
    func initialMaxStreamData(_ stream: StreamID, sentBy role: ConnectionRole) -> UInt64 {
        guard stream.direction == .bidirectional else { return self.initialMaxStreamDataUnidirectional }
        // "Local" and "remote" are from the point of view of the end that declares.
        return stream.initiator == role
            ? self.initialMaxStreamDataBidirectionalRemote : self.initialMaxStreamDataBidirectionalLocal
    }
}
