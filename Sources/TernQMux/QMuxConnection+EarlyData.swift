// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernQMuxCore
internal import TernTLS
internal import TernTransport

/// 0-RTT and tickets.
///
/// A client that has a ticket sends its QX_TRANSPORT_PARAMETERS and the replayable streams with its ClientHello. When the server
/// takes them, what the client remembers of the server's limits holds, and the connection can be used as soon as TLS is done.
/// When it does not, everything begins anew.
extension QMuxConnection {
    /// Of the limit that a ticket names, this much is left free: a server that drops early data counts its encryption, too.
    private static func usable(_ limit: Int) -> Int { min(limit, 256 << 10) - limit / 512 - 64 }
    /// Less is not worth a record.
    private static var smallestRecord: Int { 300 }

    /// Client: gives TLS what goes with the first flight.
    func offerEarlyData() {
        guard self.role == .client, let state = self.tls.session.carrierState,
            let parameters = try? QMuxTransportParameters(decoding: ByteBuffer(bytes: state))
        else { return }
        var room = Self.usable(self.tls.session.earlyDataLimit)
        guard room >= Self.smallestRecord else { return }
        let core = self.makeCore()
        core.recall(parameters)
        self.earlyData = .pending
        self.openReplayableStreams()
        while room >= Self.smallestRecord, let record = core.nextBytes(limit: min(room, 16_384), now: .now()) {
            guard self.tls.writeEarly(record) else { return self.withdrawEarlyData() }
            room -= record.readableBytes
        }
    }

    /// TLS is done: what was sent early is decided.
    func settleEarlyData() {
        guard self.earlyData == .pending else { return }
        if self.role == .server {
            self.earlyData = .accepted
        } else if self.tls.session.wasEarlyDataAccepted {
            self.earlyData = .accepted
            self.core?.earlyDataWasAccepted()
            self.occurrences.append(
                ConnectionEvent(.earlyDataAccepted, message: "the server took the data sent early"))
        } else {
            self.withdrawEarlyData()
            self.earlyData = .rejected
            self.occurrences.append(
                ConnectionEvent(.earlyDataRejected, message: "the data sent early was sent again"))
        }
    }

    /// The server saw nothing: the application, which does not have the connection yet, sees the same streams again.
    private func withdrawEarlyData() {
        self.core = nil
        self.replayableStreams = []
        self.earlyData = .notOffered
    }

    /// Server: takes what came before the end of the handshake.
    func receiveEarlyData() {
        guard self.role == .server, self.core == nil || self.earlyData != .notOffered,
            let bytes = self.tls.readEarly()
        else { return }
        if self.earlyData == .notOffered { self.earlyData = .pending }
        let core = self.core ?? self.makeCore()
        core.receive(bytes, isEarly: true, now: .now())
    }

    /// Opens those that the peer's limits leave room for; the others follow when there is more.
    func openReplayableStreams() {
        guard let core else { return }
        while self.replayableStreams.count < self.replayable.count {
            let next = self.replayable[self.replayableStreams.count]
            guard let stream = try? core.openStream(next.direction) else { return }
            _ = try? core.write(next.bytes, to: stream, finish: next.finishes)
            self.replayableStreams.append(stream)
        }
    }

    /// Client: keeps tickets once it is known what the server grants.
    func rememberTickets() {
        guard self.tls.session.hasNewTickets, let parameters = self.core?.peerParameters else { return }
        self.tls.session.rememberTickets(carrierState: Array(buffer: parameters.encoded()))
    }
}
