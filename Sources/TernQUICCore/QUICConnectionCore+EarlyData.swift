// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTLS
package import TernTransport

// 0-RTT and session tickets (RFC 9001, section 4.6).
extension QUICConnectionCore {
    /// Whether bytes of a stream came in 0-RTT packets, which may be copies of another connection's.
    package func isReplayable(_ id: StreamID) -> Bool { self.stream(id)?.cameEarly ?? false }

    /// RFC 8446, section 7.5.
    package func exportKeyingMaterial(
        label: String, context: [UInt8], count: Int
    ) throws(TransportError) -> [UInt8] {
        guard self.isEstablished else {
            throw TransportError(.misuse, message: "keys are exported when the handshake is complete")
        }
        return try self.tls.exportKeyingMaterial(label: label, context: context, count: count)
    }

    /// A client begins: opens the replayable streams now if a ticket lets it send them, else when the handshake is done.
    func offer(_ replayable: [ReplayableStream]) {
        self.replayable = replayable
        guard !replayable.isEmpty, self.tls.mayOfferEarlyData, let parameters = self.tls.carrierState,
            self.native.recall(parameters: parameters)
        else { return }
        self.earlyData = .pending
        self.writesEarly = true
        self.openReplayableStreams()
    }

    /// The streams that the peer's limit leaves no room for come when it grows.
    func openReplayableStreams() {
        while self.replayableStreams.count < self.replayable.count {
            let next = self.replayable[self.replayableStreams.count]
            guard case .success(let id) = self.native.openStream(next.direction) else { return }
            let stream = QUICStream(id: id)
            self.native.inbox.insert(stream)
            self.openedStreams.note(id)
            self.replayableStreams.append(id)
            self.streamsToReopen[id] = nil
            stream.queue.append(next.bytes, finish: next.finishes)
            if stream.queue.hasWork { self.scheduler.insert(stream) }
        }
    }

    /// A client hears that the server dropped what came early: ngtcp2 forgot the streams, so they are opened again, with the
    /// same numbers and all their bytes.
    func earlyDataWasRejected() {
        self.earlyData = .rejected
        for (id, sent) in zip(self.replayableStreams, self.replayable) {
            self.streamsToReopen[id] = DeliveryWatches.Mark(
                offset: UInt64(sent.bytes.readableBytes), includesEnd: sent.finishes)
            guard let stream = self.stream(id) else { continue }
            self.scheduler.remove(stream)
            self.progress.gaveUp(stream.queue.giveUp())
            stream.queue.removeAll()
            self.native.inbox.remove(id)
        }
        self.replayableStreams = []
    }

    /// TLS is done, and the peer verified; the application does not know yet.
    func settleEarlyData() {
        if self.role == .server {
            self.tls.sendTicket()
            self.native.retireTLS()
        }
        switch self.earlyData {
        case .pending:
            self.earlyData = .accepted
            self.emit(.earlyDataDecided(accepted: true))
        case .rejected:
            self.emit(.earlyDataDecided(accepted: false))
        case .notOffered, .accepted:
            break
        }
        self.openReplayableStreams()
    }

    /// A server hears the first stream of a client whose handshake is not done.
    func noteEarlyStream() {
        guard self.role == .server, !self.isEstablished, self.earlyData == .notOffered,
            let applicationProtocol = self.tls.applicationProtocol
        else { return }
        self.earlyData = .pending
        self.writesEarly = true
        self.applicationProtocol = applicationProtocol
        self.emit(.earlyDataReceived(applicationProtocol: applicationProtocol))
    }

    func rememberTickets() {
        guard self.isEstablished else { return }
        self.tls.rememberTickets(carrierState: self.native.rememberedParameters)
    }
}
