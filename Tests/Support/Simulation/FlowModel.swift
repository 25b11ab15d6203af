// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore
package import TernQMuxCore
package import TernTransport

/// What one end of a connection may be told about streams and credit, written down from RFC 9000 without a look at the cores:
/// the judge that stands beside a core under test.
///
/// It sees what the core sees (the peer's frames, the application's calls) and what the core does (its events and its frames), and
/// knows of each stream how far it went and what was told about it. Frames are the same on both carriers; ``isOrdered`` is QMux's
/// own rule that a stream's bytes come in order. Frames of other kinds are not its business.
package struct FlowModel {
    /// What must become of a frame.
    package enum Verdict: Equatable {
        case accepted
        /// The connection ends with one of these codes: where a frame breaks several rules it is free which one is named.
        case violation(Set<UInt64>)
    }

    package let role: ConnectionRole
    package let limits: ConnectionLimits
    /// draft-ietf-quic-qmux-02, section 4.1: stream payload MUST be sent in order.
    package let isOrdered: Bool

    package private(set) var streams: [StreamID: FlowStream] = [:]
    private var opened: [StreamKind: UInt64] = [:]
    /// What the core told its peer: MAX_DATA and MAX_STREAMS, or the transport parameters.
    package private(set) var allowedBytes: UInt64
    private var allowedStreams: [StreamDirection: UInt64]
    private var forgottenStreams: [StreamDirection: UInt64] = [:]
    /// What the peer told the core.
    private var peerAllowedBytes: UInt64
    private var peerAllowedStreams: [StreamDirection: UInt64]
    private let peer: QMuxTransportParameters
    /// What the core did that it must not do.
    package private(set) var faults: [String] = []

    package init(
        role: ConnectionRole, limits: ConnectionLimits, peer: QMuxTransportParameters, isOrdered: Bool
    ) {
        self.role = role
        self.limits = limits
        self.peer = peer
        self.isOrdered = isOrdered
        self.allowedBytes = UInt64(limits.connectionWindow)
        self.allowedStreams = [
            .bidirectional: UInt64(limits.bidirectionalStreams), .unidirectional: UInt64(limits.unidirectionalStreams),
        ]
        self.peerAllowedBytes = peer.initialMaxData
        self.peerAllowedStreams = [
            .bidirectional: peer.initialMaxStreamsBidirectional,
            .unidirectional: peer.initialMaxStreamsUnidirectional,
        ]
    }

    private var other: ConnectionRole { self.role == .client ? .server : .client }

    /// RFC 9000, section 4.1: the largest offsets of all streams, and of a reset stream its final size.
    package var chargedBytes: UInt64 { self.streams.values.reduce(0) { $0 + $1.charged } }
    /// What the application and the carrier are done with; so much more than a window may be allowed.
    package var returnedBytes: UInt64 { self.streams.values.reduce(0) { $0 + $1.returned } }
    /// What came and was neither consumed nor dropped.
    package var heldBytes: UInt64 { self.streams.values.reduce(0) { $0 + $1.held } }

    package func opened(_ initiator: ConnectionRole, _ direction: StreamDirection) -> UInt64 {
        self.opened[StreamKind(initiator: initiator, direction: direction), default: 0]
    }
    package func allowedStreams(_ direction: StreamDirection) -> UInt64 {
        self.allowedStreams[direction, default: 0]
    }

    private mutating func fault(_ text: String) { self.faults.append(text) }

    private mutating func require(_ condition: Bool, _ text: String) {
        if !condition { self.fault(text) }
    }
}

/// Streams that are numbered together.
private struct StreamKind: Hashable {
    var initiator: ConnectionRole
    var direction: StreamDirection
}

// MARK: - What the peer sends

extension FlowModel {
    /// Judges a frame of the peer, and takes note of it if it is good.
    package mutating func judge(_ frame: QMuxFrame) -> Verdict {
        switch frame {
        case .stream(let id, let offset, let bytes, let finished):
            return self.judgeStream(id, offset: offset, count: UInt64(bytes.readableBytes), finished: finished)
        case .resetStream(let id, let code, let finalSize):
            return self.judgeReset(id, code: code, finalSize: finalSize, reliableSize: 0)
        case .resetStreamAt(let id, let code, let finalSize, let reliableSize):
            guard reliableSize <= finalSize else { return .violation([TransportErrorCode.frameEncodingError]) }
            return self.judgeReset(id, code: code, finalSize: finalSize, reliableSize: reliableSize)
        case .stopSending(let id, let code):
            return self.judge(id, isSending: true) { stream in
                if !stream.isSendDone { stream.stopCode = stream.stopCode ?? code }
            }
        case .maxStreamData(let id, let limit):
            return self.judge(id, isSending: true) { $0.peerLimit = max($0.peerLimit, limit) }
        case .streamDataBlocked(let id, _):
            return self.judge(id, isSending: false) { _ in }
        case .maxData(let limit):
            self.peerAllowedBytes = max(self.peerAllowedBytes, limit)
        case .maxStreams(let direction, let limit):
            guard limit <= 1 << 60 else { return .violation([TransportErrorCode.frameEncodingError]) }
            self.peerAllowedStreams[direction] = max(self.peerAllowedStreams[direction, default: 0], limit)
        case .streamsBlocked(_, let limit):
            guard limit <= 1 << 60 else { return .violation([TransportErrorCode.frameEncodingError]) }
        default:
            break
        }
        return .accepted
    }

    private mutating func judgeStream(
        _ id: StreamID, offset: UInt64, count: UInt64, finished: Bool
    ) -> Verdict {
        guard offset + count < 1 << 62 else { return .violation([TransportErrorCode.frameEncodingError]) }
        if let refusal = self.refusal(of: id, isSending: false) { return refusal }
        self.openUp(to: id)
        guard var stream = self.streams[id] else { return .accepted }
        if stream.isForgotten {
            return count == 0 ? .accepted : .violation([TransportErrorCode.streamStateError])
        }
        let end = offset + count
        var codes: Set<UInt64> = []
        if let finalSize = stream.finalSize, end > finalSize || (finished && end != finalSize) {
            codes.insert(TransportErrorCode.finalSizeError)
        }
        if stream.finalSize == nil, finished, end < stream.highest {
            codes.insert(TransportErrorCode.finalSizeError)
        }
        if stream.wasReset { return codes.isEmpty ? .accepted : .violation(codes) }
        if self.isOrdered, offset != stream.front { codes.insert(TransportErrorCode.protocolViolation) }
        let more = max(end, stream.charged) - stream.charged
        if end > stream.allowed || self.chargedBytes + more > self.allowedBytes {
            codes.insert(TransportErrorCode.flowControlError)
        }
        guard codes.isEmpty else { return .violation(codes) }
        stream.receive(offset..<end)
        if finished { stream.end(at: end) }
        stream.settleReset()
        self.streams[id] = stream
        return .accepted
    }

    private mutating func judgeReset(
        _ id: StreamID, code: UInt64, finalSize: UInt64, reliableSize: UInt64
    ) -> Verdict {
        if let refusal = self.refusal(of: id, isSending: false) { return refusal }
        self.openUp(to: id)
        guard var stream = self.streams[id], !stream.isForgotten else { return .accepted }
        var codes: Set<UInt64> = []
        if finalSize < stream.highest || stream.finalSize ?? finalSize != finalSize {
            codes.insert(TransportErrorCode.finalSizeError)
        }
        if !stream.isOver {
            let more = max(finalSize, stream.charged) - stream.charged
            if finalSize > stream.allowed || self.chargedBytes + more > self.allowedBytes {
                codes.insert(TransportErrorCode.flowControlError)
            }
        }
        guard codes.isEmpty else { return .violation(codes) }
        stream.reset(code: code, finalSize: finalSize, reliableSize: reliableSize)
        self.streams[id] = stream
        return .accepted
    }

    private mutating func judge(
        _ id: StreamID, isSending: Bool, _ change: (inout FlowStream) -> Void
    ) -> Verdict {
        if let refusal = self.refusal(of: id, isSending: isSending) { return refusal }
        self.openUp(to: id)
        if var stream = self.streams[id], !stream.isForgotten {
            change(&stream)
            self.streams[id] = stream
        }
        return .accepted
    }

    /// RFC 9000, sections 3 and 4.6.
    private func refusal(of id: StreamID, isSending: Bool) -> Verdict? {
        guard isSending ? id.isWritable(by: self.role) : id.isReadable(by: self.role) else {
            return .violation([TransportErrorCode.streamStateError])
        }
        guard id.initiator != self.role else {
            return id.index < self.opened(self.role, id.direction)
                ? nil : .violation([TransportErrorCode.streamStateError])
        }
        return id.index < self.allowedStreams(id.direction) ? nil : .violation([TransportErrorCode.streamLimitError])
    }

    /// RFC 9000, section 3.2: a stream opens all streams of its kind with lower numbers.
    private mutating func openUp(to id: StreamID) {
        while self.opened(id.initiator, id.direction) <= id.index { self.openNext(id.initiator, id.direction) }
    }

    @discardableResult
    private mutating func openNext(_ initiator: ConnectionRole, _ direction: StreamDirection) -> StreamID {
        let index = self.opened(initiator, direction)
        let id = StreamID(index: index, initiator: initiator, direction: direction)
        self.opened[StreamKind(initiator: initiator, direction: direction)] = index + 1
        var stream = FlowStream(
            isReadable: id.isReadable(by: self.role), isWritable: id.isWritable(by: self.role))
        stream.allowed = UInt64(self.limits.streamWindow)
        stream.peerLimit =
            direction == .unidirectional
            ? self.peer.initialMaxStreamDataUnidirectional
            : initiator == self.role
                ? self.peer.initialMaxStreamDataBidirectionalRemote
                : self.peer.initialMaxStreamDataBidirectionalLocal
        self.streams[id] = stream
        return id
    }
}

// MARK: - What the application does

extension FlowModel {
    package mutating func applicationOpened(_ id: StreamID?, _ direction: StreamDirection) {
        let mayOpen = self.opened(self.role, direction) < self.peerAllowedStreams[direction, default: 0]
        self.require(mayOpen == (id != nil), "openStream gave \(String(describing: id)), the model says \(mayOpen)")
        guard let id else { return }
        let expected = self.openNext(self.role, direction)
        self.require(id == expected, "\(id) was opened instead of \(expected)")
    }

    package mutating func applicationWrote(_ count: Int, finish: Bool, to id: StreamID) {
        self.streams[id]?.written += UInt64(count)
        if finish { self.streams[id]?.isFinishing = true }
    }

    package mutating func applicationReset(_ id: StreamID) {
        self.streams[id]?.abandonSending()
    }

    package mutating func applicationStopped(_ id: StreamID) {
        guard let stream = self.streams[id], stream.isReadable, !stream.isForgotten, !stream.isReceiveDone else {
            return
        }
        self.streams[id]?.wasStopped = true
    }

    package mutating func applicationConsumed(_ count: UInt64, of id: StreamID) {
        guard var stream = self.streams[id], !stream.isForgotten else { return }
        stream.consumed += count
        self.streams[id] = stream
    }
}

// MARK: - What the core does

extension FlowModel {
    /// Takes note of what the application heard.
    package mutating func heard(_ event: QMuxEvent) {
        switch event {
        case .streamOpened(let id):
            self.require(self.streams[id]?.isAnnounced == false, "\(id) was opened, or opened twice")
            self.streams[id]?.isAnnounced = true
        case .streamReceived(let id, let bytes, let finished): self.heardBytes(id, bytes, finished: finished)
        case .streamWasReset(let id, let code):
            guard let stream = self.streams[id] else { return self.fault("a reset of \(id), which nobody opened") }
            self.require(stream.wasReset && !stream.hasHeardEnd, "a reset of \(id)")
            self.require(stream.resetCodes.contains(code), "\(id) was reset with code \(code)")
            self.require(stream.delivered >= stream.reliableSize, "\(id) lost bytes that its reset promised")
            self.streams[id]?.hasHeardEnd = true
        case .streamWasStopped(let id, let code):
            self.require(self.streams[id]?.stopCode == code, "\(id) was stopped with code \(code)")
            self.streams[id]?.abandonSending()
        case .streamClosed(let id):
            guard let stream = self.streams[id] else { return self.fault("\(id) closed, and nobody opened it") }
            self.require(!stream.isForgotten, "\(id) closed twice")
            self.require(stream.isReceiveDone, "\(id) closed before its end was consumed")
            self.require(stream.isSendDone, "\(id) closed before everything was sent")
            self.streams[id]?.isForgotten = true
            if id.initiator != self.role { self.forgottenStreams[id.direction, default: 0] += 1 }
        default: break
        }
    }

    private mutating func heardBytes(_ id: StreamID, _ bytes: ByteBuffer, finished: Bool) {
        guard var stream = self.streams[id] else { return self.fault("bytes of \(id), which nobody opened") }
        self.require(!stream.wasStopped, "bytes of \(id), which was stopped")
        self.require(!stream.hasHeardEnd, "bytes of \(id) after its end")
        self.require(stream.isAnnounced || id.initiator == self.role, "bytes of \(id) before it was opened")
        self.require(
            bytes == FlowModel.payload(of: id, at: stream.delivered, count: bytes.readableBytes),
            "other bytes of \(id) at \(stream.delivered)")
        stream.delivered += UInt64(bytes.readableBytes)
        self.require(stream.delivered <= stream.front, "more of \(id) than came")
        self.require(
            !finished || (stream.isFinished && stream.delivered == stream.finalSize), "\(id) ended too early")
        if finished { stream.hasHeardEnd = true }
        self.streams[id] = stream
    }

    /// Takes note of a frame that the core sent.
    package mutating func saw(_ frame: QMuxFrame) {
        switch frame {
        case .maxData(let limit):
            self.require(limit > self.allowedBytes, "MAX_DATA \(limit) after \(self.allowedBytes)")
            let most = self.returnedBytes + UInt64(self.limits.connectionWindow)
            self.require(limit <= most, "MAX_DATA \(limit) exceeds the window: \(most)")
            self.allowedBytes = max(self.allowedBytes, limit)
        case .maxStreamData(let id, let limit):
            guard let stream = self.streams[id] else { return self.fault("MAX_STREAM_DATA of \(id)") }
            self.require(limit > stream.allowed, "MAX_STREAM_DATA \(limit) of \(id) after \(stream.allowed)")
            let most = stream.returned + UInt64(self.limits.streamWindow)
            self.require(limit <= most, "MAX_STREAM_DATA \(limit) of \(id) exceeds the window: \(most)")
            self.streams[id]?.allowed = max(stream.allowed, limit)
        case .maxStreams(let direction, let limit):
            let first =
                direction == .bidirectional ? self.limits.bidirectionalStreams : self.limits.unidirectionalStreams
            let most = UInt64(first) + self.forgottenStreams[direction, default: 0]
            self.require(limit <= most, "MAX_STREAMS \(limit) of \(direction) exceeds \(most)")
            self.allowedStreams[direction] = max(self.allowedStreams(direction), limit)
        case .stream(let id, let offset, let bytes, let finished):
            self.sawStream(id, offset: offset, count: UInt64(bytes.readableBytes), finished: finished)
        case .resetStream(let id, _, let finalSize):
            self.require(self.streams[id]?.sent == finalSize, "\(id) was reset at \(finalSize)")
            self.streams[id]?.abandonSending()
        case .stopSending(let id, _):
            self.require(self.streams[id]?.wasStopped == true, "\(id) is stopped, and nobody asked for it")
        default: break
        }
    }

    private mutating func sawStream(_ id: StreamID, offset: UInt64, count: UInt64, finished: Bool) {
        guard var stream = self.streams[id], stream.isWritable else { return self.fault("\(id) sends") }
        self.require(!stream.isAbandoned && !stream.hasSentEnd, "\(id) sends after its end")
        self.require(!self.isOrdered || offset == stream.sent, "\(id) sends at \(offset) instead of \(stream.sent)")
        stream.sent = max(stream.sent, offset + count)
        self.require(stream.sent <= stream.peerLimit, "\(id) sends beyond the credit of the stream")
        self.require(stream.sent <= stream.written, "\(id) sends more than was written")
        if finished {
            self.require(stream.isFinishing && stream.sent == stream.written, "\(id) ends too early")
            stream.hasSentEnd = true
        }
        self.streams[id] = stream
        let total = self.streams.values.reduce(0) { $0 + $1.sent }
        self.require(total <= self.peerAllowedBytes, "\(total) bytes exceed the credit of the connection")
    }

    /// What must be true whenever the core has said everything that it wants to say.
    package mutating func checkRest() {
        self.require(
            self.returnedBytes <= self.chargedBytes, "more was returned than came: the model itself is wrong")
        self.require(
            self.heldBytes <= UInt64(self.limits.connectionWindow), "\(self.heldBytes) bytes are held beyond the window"
        )
        let owed = Self.missing(self.returnedBytes + UInt64(self.limits.connectionWindow), self.allowedBytes)
        self.require(
            owed <= UInt64(max(self.limits.connectionWindow / 2, 1)),
            "\(owed) bytes of the connection's credit are owed")
        for (id, stream) in self.streams where stream.isReadable && !stream.isForgotten {
            guard stream.finalSize == nil, !stream.wasStopped else { continue }
            let owed = Self.missing(stream.returned + UInt64(self.limits.streamWindow), stream.allowed)
            self.require(
                owed <= UInt64(max(self.limits.streamWindow / 2, 1)), "\(owed) bytes of the credit of \(id) are owed")
        }
    }

    private static func missing(_ whole: UInt64, _ part: UInt64) -> UInt64 { whole - min(whole, part) }

    /// What the peer sends at `offset`: each byte says where it belongs.
    package static func payload(of id: StreamID, at offset: UInt64, count: Int) -> ByteBuffer {
        ByteBuffer(bytes: (0..<UInt64(count)).map { UInt8(truncatingIfNeeded: (offset &+ $0) &* 31 &+ id.rawValue) })
    }
}
