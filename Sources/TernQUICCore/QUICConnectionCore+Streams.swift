// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernSystem
internal import DequeModule
package import NIOCore
package import TernTransport

// What LoopConnection offers, with its semantics. Nothing is sent inside a call.
extension QUICConnectionCore {
    /// - Returns: `nil` at the peer's limit, or before the handshake is done: `.streamsAvailable` follows.
    package func openStream(_ direction: StreamDirection) throws(TransportError) -> StreamID? {
        if let closeReason { throw closeReason }
        guard self.isEstablished else {
            self.wantsStreams.insert(direction)
            return nil
        }
        switch self.native.openStream(direction) {
        case .success(let id):
            self.native.inbox.insert(QUICStream(id: id))
            self.openedStreams.note(id)
            return id
        case .failure(let failure) where failure.result == TERN_QUIC_STREAM_LIMIT:
            self.wantsStreams.insert(direction)
            return nil
        case .failure:
            throw TransportError(.transport, message: self.native.lastFailure.text)
        }
    }

    /// Everything is accepted; `false` asks to wait for `.streamWritable`.
    package func write(
        _ bytes: ByteBuffer, to id: StreamID, finish: Bool
    ) throws(TransportError) -> Bool {
        if let closeReason { throw closeReason }
        guard id.isWritable(by: self.role) else {
            throw TransportError(.misuse, message: "\(id) only receives")
        }
        guard let stream = self.stream(id) else {
            guard self.openedStreams.includes(id) else {
                throw TransportError(.misuse, message: "\(id) is not open")
            }
            throw TransportError(.streamFinished, message: "\(id) is closed")
        }
        if let code = stream.stoppedWith {
            throw TransportError(
                .streamStopped, message: "the peer stopped \(id)", wireCode: code, initiator: .peer)
        }
        guard !stream.wasReset, !stream.queue.isFinishing else {
            throw TransportError(.streamFinished, message: "\(id) was finished or reset")
        }
        stream.queue.append(bytes, finish: finish)
        if stream.queue.hasWork { self.scheduler.insert(stream) }
        guard stream.queue.unsentBytes > self.configuration.limits.writeHighWatermark else { return true }
        stream.isBackpressured = true
        return false
    }

    package func reset(_ id: StreamID, code: UInt64) {
        guard self.closeReason == nil, id.isWritable(by: self.role), let stream = self.stream(id), !stream.wasReset,
            stream.stoppedWith == nil, !stream.isEnded
        else { return }
        stream.wasReset = true
        self.progress.gaveUp(stream.queue.giveUp())
        stream.queue.dropUnsent()
        self.scheduler.remove(stream)
        self.native.reset(id, code: min(code, Self.maximumCode))
        self.reviewDeliveries()
    }

    package func stopSending(_ id: StreamID, code: UInt64) {
        guard self.closeReason == nil, id.isReadable(by: self.role), let stream = self.stream(id), !stream.dropsInput
        else { return }
        stream.dropsInput = true
        // In this order: ngtcp2 returns the credit of what it has not handed over by itself.
        if !stream.isEnded { self.native.stop(id, code: min(code, Self.maximumCode)) }
        self.returnCredit(of: stream)
        // If the peer had sent everything already, ngtcp2 0.12 never says that a stream that only receives ended.
        if !id.isWritable(by: self.role) { stream.isEnded = true }
        self.forgetIfDone(stream)
    }

    package func setPriority(_ priority: StreamPriority, of id: StreamID) {
        guard let stream = self.stream(id), stream.priority != priority else { return }
        let wasScheduled = stream.isScheduled
        self.scheduler.remove(stream)
        stream.priority = priority
        if wasScheduled { self.scheduler.insert(stream) }
    }

    /// The application is done with `count` bytes: the peer may send as many again.
    ///
    /// - Returns: whether the stream is forgotten with that, so that the peer may open another one.
    @discardableResult
    package func consumed(_ count: Int, of id: StreamID) -> Bool {
        guard self.closeReason == nil, let stream = self.stream(id) else { return false }
        let count = min(count, stream.unconsumed)
        guard count > 0 else { return false }
        stream.unconsumed -= count
        if !stream.isEnded, !stream.receivedFinish { self.native.credit(id, self.credit(count, of: stream)) }
        self.native.creditConnection(
            self.window.consume(count, now: self.lastNow, roundTrip: { self.native.nativeStatistics.smoothed_rtt }))
        self.forgetIfDone(stream)
        return stream.isEnded && stream.unconsumed == 0
    }

    /// By how much the limit of a stream rises whose reader is done with `count` bytes.
    private func credit(_ count: Int, of stream: QUICStream) -> Int {
        stream.window.consume(
            count, initial: self.configuration.limits.streamWindow, maximum: self.configuration.maximumStreamWindow,
            now: self.lastNow, roundTrip: { self.native.nativeStatistics.smoothed_rtt })
    }

    /// Application error codes are varints (RFC 9000, section 16).
    static var maximumCode: UInt64 { (1 << 62) - 1 }
}
