// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernTransport

/// 0-RTT: a client that resumes uses what it remembers of the server (draft-ietf-quic-qmux-02, section 4.2; RFC 9000,
/// section 7.4.1).
extension QMuxConnectionCore {
    /// A client begins with what the server granted it last time: streams can be opened, and ``nextBytes(limit:now:)`` gives
    /// what may leave before the handshake is done.
    package func recall(_ parameters: QMuxTransportParameters) {
        guard self.role == .client, self.knownParameters == nil else { return }
        self.remembered = parameters
        self.connection.sendLimit = parameters.initialMaxData
        self.local.raiseLimit(.bidirectional, to: parameters.initialMaxStreamsBidirectional)
        self.local.raiseLimit(.unidirectional, to: parameters.initialMaxStreamsUnidirectional)
    }

    /// The server took what was sent early. If it did not, nothing of this object is of use any more.
    package func earlyDataWasAccepted() {
        guard self.remembered != nil else { return }
        self.wasEarlyDataAccepted = true
    }

    /// Whether bytes of a stream came before the end of the handshake, and may be a copy.
    package func isReplayable(_ stream: StreamID) -> Bool { self.streams[stream]?.cameEarly ?? false }

    /// RFC 9000, section 7.4.1: a server that accepts 0-RTT data MUST NOT grant less than before.
    func checkPromises(of parameters: QMuxTransportParameters) throws(QMuxViolation) {
        guard self.wasEarlyDataAccepted, let remembered = self.remembered else { return }
        let granted: [(new: UInt64, old: UInt64)] = [
            (parameters.initialMaxData, remembered.initialMaxData),
            (
                parameters.initialMaxStreamDataBidirectionalLocal,
                remembered.initialMaxStreamDataBidirectionalLocal
            ),
            (
                parameters.initialMaxStreamDataBidirectionalRemote,
                remembered.initialMaxStreamDataBidirectionalRemote
            ),
            (parameters.initialMaxStreamDataUnidirectional, remembered.initialMaxStreamDataUnidirectional),
            (parameters.initialMaxStreamsBidirectional, remembered.initialMaxStreamsBidirectional),
            (parameters.initialMaxStreamsUnidirectional, remembered.initialMaxStreamsUnidirectional),
            (parameters.maxDatagramFrameSize, remembered.maxDatagramFrameSize),
        ]
        guard granted.allSatisfy({ $0.new >= $0.old }) else {
            throw .protocolViolation(
                "the server grants less than it promised to early data", QMuxFrameType.transportParameters)
        }
    }

    /// Streams that were opened before the server's declaration came may have got more than what was remembered.
    func raiseLimitsOfEarlyStreams(to parameters: QMuxTransportParameters) {
        for (identifier, stream) in self.streams {
            guard let send = stream.send else { continue }
            let limit = parameters.initialMaxStreamData(identifier, sentBy: self.role)
            guard limit > send.limit else { continue }
            send.limit = limit
            guard send.place == .blocked else { continue }
            send.place = .idle
            self.enqueueIfReady(stream)
        }
    }
}
