// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTransport

/// Who waits for what to arrive: the peer confirms, in the order in which it was sent.
extension InMemoryConnection {
    func delivery(of stream: StreamID?) -> EventLoopFuture<Void> {
        self.eventLoop.preconditionInEventLoop()
        let (tag, future) = self.deliveryPromises.add(on: self.eventLoop)
        if stream == nil { self.deliveriesOfAll.insert(tag) }
        if let closeReason {
            self.endDeliveries(closeReason)
            return future
        }
        do throws(TransportError) {
            let marks = try self.marks(of: stream)
            self.deliveries.add(tag, marks, isOfOneStream: stream != nil)
        } catch {
            let settled = self.deliveryPromises.take([DeliveryWatches.Answer(tag: tag, error: error)])
            settled.tell()
        }
        self.reviewDeliveries()
        return future
    }

    /// Called when something was sent, or a stream was abandoned.
    func reviewDeliveries() {
        guard !self.deliveries.isEmpty else { return }
        for answer in self.deliveries.review(self.progress) {
            if answer.error == nil {
                self.say(.deliveryAsked(answer.tag))
            } else {
                let settled = self.deliveryPromises.take([answer])
                settled.tell()
            }
        }
    }

    var hasSomethingUnsent: Bool { self.streams.values.contains { $0.send?.hasSomethingToSay == true } }
    var hasUnsentBytes: Bool {
        self.streams.values.contains { stream in
            stream.send.map { $0.hasSomethingToSay && $0.waitingBytes > 0 } ?? false
        }
    }

    /// Answers all who wait: nothing more will arrive. Who asked for all misses nothing when a peer that closed in order has all bytes.
    func endDeliveries(_ reason: TransportError) {
        let everythingArrived = self.everythingArrived
        let bytesArrived = self.bytesArrived && reason.isCleanCloseByPeer
        let ofAll = self.deliveriesOfAll
        self.deliveriesOfAll = []
        let settled = self.deliveryPromises.takeAll { tag in
            everythingArrived || (bytesArrived && ofAll.contains(tag)) ? nil : reason
        }
        settled.tell()
    }

    private func progress(_ id: StreamID, _ mark: DeliveryWatches.Mark) -> DeliveryWatches.Progress {
        guard let send = self.streams[id]?.send else { return .reached }
        if let code = send.stopCode {
            return .abandoned(
                TransportError(.streamStopped, message: "the peer stopped \(id)", wireCode: code, initiator: .peer))
        }
        if send.wasAbandoned { return .abandoned(TransportError(.streamFinished, message: "\(id) was reset")) }
        return UInt64(send.sent) >= mark.offset && (send.isDone || !mark.includesEnd) ? .reached : .waiting
    }

    private func marks(of stream: StreamID?) throws(TransportError) -> [StreamID: DeliveryWatches.Mark] {
        if let stream {
            guard stream.isWritable(by: self.role) else {
                throw TransportError(.misuse, message: "\(stream) only receives")
            }
            guard self.wasEverOpen(stream) else { throw TransportError(.misuse, message: "\(stream) is not open") }
        }
        return self.streams.filter { stream == nil || $0.key == stream }.compactMapValues { state in
            state.send.map {
                DeliveryWatches.Mark(offset: UInt64($0.sent + $0.waitingBytes), includesEnd: $0.isFinishing)
            }
        }
    }
}
