// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernSystem
package import TernTransport

/// Who waits for what to be acknowledged.
extension QUICConnectionCore {
    /// Begins to watch whether what was written so far is acknowledged; ``takeDeliveryAnswers()`` has the answer some day.
    ///
    /// - Parameter stream: `nil`: all of them.
    package func watchDelivery(of stream: StreamID?, tag: UInt64) {
        do throws(TransportError) {
            let marks = try stream.map { (id) throws(TransportError) in try self.marks(of: id) } ?? self.marksOfAll()
            self.deliveries.add(tag, marks, isOfOneStream: stream != nil)
        } catch {
            self.deliveryAnswers.append(DeliveryWatches.Answer(tag: tag, error: error))
        }
        self.reviewDeliveries()
        if let closeReason { self.failDeliveries(closeReason) }
    }

    package func takeDeliveryAnswers() -> [DeliveryWatches.Answer] {
        guard !self.deliveryAnswers.isEmpty else { return [] }
        defer { self.deliveryAnswers = [] }
        return self.deliveryAnswers
    }

    /// Called when something was acknowledged, or a stream was abandoned.
    func reviewDeliveries() {
        guard !self.deliveries.isEmpty else { return }
        self.deliveryAnswers += self.deliveries.review(self.progress)
    }

    /// The end: nothing more will be acknowledged (``DeliveryWatches/end(_:_:)``).
    package func failDeliveries(_ reason: TransportError) {
        self.deliveryAnswers += self.deliveries.end(reason, self.progress)
    }

    /// Nothing can be written now. When an end that left alone was lost with the bytes before it, ngtcp2 sends both in one frame again,
    /// and its acknowledgement says nothing of the end: that nothing is in flight does.
    ///
    /// On a new path ngtcp2 begins to count anew, whatever is in flight elsewhere. Until a round trip of the new path was measured
    /// that says nothing; then only of what left since. What left before was acknowledged after some probe timeouts, or lost and
    /// sent again (RFC 9002, section 6).
    func noteNothingToWrite(now: UInt64) {
        self.nextLookAtEnds = nil
        guard !self.deliveries.isEmpty, self.scheduler.first == nil, self.held == nil else { return }
        let statistics = self.native.nativeStatistics
        guard statistics.bytes_in_flight == 0, statistics.minimum_rtt != .max else { return }
        let (number, since) = self.pathInUse
        let isForgotten = since &+ Self.probesUntilAnswered &* self.native.probeTimeout
        for stream in self.native.inbox.streams.values where stream.queue.awaitsEnd {
            if stream.queue.pathOfEnd == number || now >= isForgotten {
                stream.queue.markEndAcknowledged()
            } else {
                self.nextLookAtEnds = isForgotten
            }
        }
        self.reviewDeliveries()
        if self.deliveries.isEmpty { self.nextLookAtEnds = nil }
    }

    private static var probesUntilAnswered: UInt64 { 3 }

    private func progress(_ id: StreamID, _ mark: DeliveryWatches.Mark) -> DeliveryWatches.Progress {
        if self.streamsToReopen[id] != nil { return .waiting }
        // A stream that is forgotten was acknowledged before.
        guard let stream = self.stream(id), !stream.isEnded || stream.wasReset || stream.stoppedWith != nil else {
            return .reached
        }
        if let code = stream.stoppedWith {
            return .abandoned(
                TransportError(.streamStopped, message: "the peer stopped \(id)", wireCode: code, initiator: .peer))
        }
        if stream.wasReset { return .abandoned(TransportError(.streamFinished, message: "\(id) was reset")) }
        let isThere = stream.queue.acknowledgedOffset >= mark.offset
        return isThere && (!mark.includesEnd || stream.queue.hasArrived) ? .reached : .waiting
    }

    private func marks(of id: StreamID) throws(TransportError) -> [StreamID: DeliveryWatches.Mark] {
        guard id.isWritable(by: self.role) else { throw TransportError(.misuse, message: "\(id) only receives") }
        guard let stream = self.stream(id) else {
            if let mark = self.streamsToReopen[id] { return [id: mark] }
            guard self.openedStreams.includes(id) else { throw TransportError(.misuse, message: "\(id) is not open") }
            return [:]
        }
        return [id: stream.queue.mark]
    }

    private func marksOfAll() -> [StreamID: DeliveryWatches.Mark] {
        var marks = self.streamsToReopen
        for stream in self.native.inbox.streams.values where stream.id.isWritable(by: self.role) {
            marks[stream.id] = stream.queue.mark
        }
        return marks
    }
}

extension SendQueue {
    fileprivate var mark: DeliveryWatches.Mark {
        DeliveryWatches.Mark(offset: self.sentOffset + UInt64(self.unsentBytes), includesEnd: self.isFinishing)
    }
}
