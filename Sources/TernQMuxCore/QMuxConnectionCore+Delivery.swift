// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernTransport

/// Who waits for what to arrive, and what proves that it did.
///
/// The peer reads its byte stream in order and however blocked its application is (draft-ietf-quic-qmux-02, section 6), so the
/// answer to a QX_PING proves that everything before the request is there.
struct QMuxDeliveries {
    /// Not everything is written yet.
    var unwritten = DeliveryWatches()
    /// Everything is written, and the answer to this ping will prove it.
    var unproven: [(tag: UInt64, ping: UInt64, isOfOneStream: Bool)] = []
    /// The ping whose answer proves everything that was written so far.
    var proof: UInt64 = 0
    /// STREAM frames so far: the driver looks which of its bytes had the last one.
    var frames: UInt64 = 0
    /// Those of them that had bytes.
    var framesWithBytes: UInt64 = 0
    /// For the driver to take.
    var answers: [DeliveryWatches.Answer] = []
    /// The peer closed, and its TCP had acknowledged so much.
    var arrivedBeforeTheEnd = QMuxArrival.unknown
}

/// What the other end of the byte stream had acknowledged when the peer closed.
package enum QMuxArrival {
    case unknown
    /// All that it was given up to the last STREAM frame with bytes.
    case bytes
    /// All that it was given up to the last STREAM frame.
    case everything
}

extension QMuxConnectionCore {
    /// Begins to watch whether what was written so far arrives; ``takeDeliveryAnswers()`` has the answer some day.
    ///
    /// - Parameter stream: `nil`: all of them.
    package func watchDelivery(of stream: StreamID?, tag: UInt64) {
        do throws(TransportError) {
            let marks = try stream.map { (id) throws(TransportError) in try self.marks(of: id) } ?? self.marksOfAll()
            self.deliveries.unwritten.add(tag, marks, isOfOneStream: stream != nil)
        } catch {
            self.deliveries.answers.append(DeliveryWatches.Answer(tag: tag, error: error))
        }
        self.reviewDeliveries()
        if let closeReason { self.failDeliveries(closeReason) }
    }

    package func takeDeliveryAnswers() -> [DeliveryWatches.Answer] {
        guard !self.deliveries.answers.isEmpty else { return [] }
        defer { self.deliveries.answers = [] }
        return self.deliveries.answers
    }

    /// How many STREAM frames were written, and how many of them had bytes.
    package var streamFramesWritten: (all: UInt64, withBytes: UInt64) {
        (self.deliveries.frames, self.deliveries.framesWithBytes)
    }

    /// The carrier says, at the end, what arrived. Who waits is answered with that, and who asks later.
    package func settleDeliveriesAtEnd(_ arrival: QMuxArrival) {
        guard let closeReason else { return }
        self.deliveries.arrivedBeforeTheEnd = arrival
        self.reviewDeliveries()
        self.failDeliveries(closeReason)
    }

    /// Called when something was written or answered, or a stream was abandoned.
    func reviewDeliveries() {
        if !self.deliveries.unwritten.isEmpty {
            for answer in self.deliveries.unwritten.review(self.progress) {
                guard answer.error == nil else {
                    self.deliveries.answers.append(answer)
                    continue
                }
                self.deliveries.unproven.append((answer.tag, self.deliveries.proof, answer.isOfOneStream))
            }
        }
        guard !self.deliveries.unproven.isEmpty else { return }
        let answered = self.deliveries.arrivedBeforeTheEnd == .everything ? .max : self.pings.largestAnswer
        for watch in self.deliveries.unproven where watch.ping <= answered {
            self.deliveries.answers.append(DeliveryWatches.Answer(tag: watch.tag, error: nil))
        }
        self.deliveries.unproven.removeAll { $0.ping <= answered }
        // The next request goes behind everything.
        if self.deliveries.unproven.contains(where: { $0.ping > self.pings.lastSent }) { self.pings.wantsToAsk = true }
    }

    /// The end came. Of the byte stream's last moments the carrier knows more.
    private func failDeliveries(_ reason: TransportError) {
        // Bytes that were written need not have arrived.
        let bytesAreThere = self.deliveries.arrivedBeforeTheEnd != .unknown
        self.deliveries.answers += self.deliveries.unwritten.end(reason) { id, mark in
            bytesAreThere ? self.progress(id, mark) : .waiting
        }
        self.deliveries.answers += self.deliveries.unproven.map { watch in
            let missesNothing = bytesAreThere && reason.isCleanCloseByPeer && !watch.isOfOneStream
            return DeliveryWatches.Answer(tag: watch.tag, error: missesNothing ? nil : reason)
        }
        self.deliveries.unproven = []
    }

    private func progress(_ id: StreamID, _ mark: DeliveryWatches.Mark) -> DeliveryWatches.Progress {
        // A stream that is forgotten has written everything.
        guard let send = self.streams[id]?.send else { return .reached }
        if let code = send.stopCode {
            return .abandoned(
                TransportError(.streamStopped, message: "the peer stopped \(id)", wireCode: code, initiator: .peer))
        }
        if send.wasAbandoned { return .abandoned(TransportError(.streamFinished, message: "\(id) was reset")) }
        return send.sent >= mark.offset && (send.isDone || !mark.includesEnd) ? .reached : .waiting
    }

    private func marks(of id: StreamID) throws(TransportError) -> [StreamID: DeliveryWatches.Mark] {
        guard id.isWritable(by: self.role) else { throw TransportError(.misuse, message: "\(id) only receives") }
        guard self.wasOpened(id) else { throw TransportError(.misuse, message: "\(id) is not open") }
        return self.streams[id]?.send.map { [id: $0.mark] } ?? [:]
    }

    private func marksOfAll() -> [StreamID: DeliveryWatches.Mark] {
        self.streams.compactMapValues { $0.send?.mark }
    }
}

extension QMuxSendSide {
    fileprivate var mark: DeliveryWatches.Mark {
        DeliveryWatches.Mark(offset: self.sent + UInt64(self.waitingBytes), includesEnd: self.isFinishing)
    }
}
