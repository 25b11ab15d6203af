// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernSystem
internal import DequeModule
package import NIOCore
package import TernTransport

// DATAGRAM frames (RFC 9221) and what the whole connection can be asked.
extension QUICConnectionCore {
    /// - Parameter tag: `.datagramSettled` tells the datagram's fate under it; `nil` if nobody asks.
    /// - Returns: `.dropped` when the oldest waiting datagram made room for this one.
    package func sendDatagram(_ bytes: ByteBuffer, tag: UInt64? = nil) throws(TransportError) -> DatagramOutcome {
        if let closeReason { throw closeReason }
        guard self.maximumDatagramSize > 0, bytes.readableBytes <= self.maximumDatagramSize else {
            throw TransportError(
                .limitExceeded,
                message: "a datagram of \(bytes.readableBytes) bytes, \(self.maximumDatagramSize) fit")
        }
        self.outboundDatagrams.append(OutboundDatagram(bytes: bytes, tag: tag))
        let limit = max(self.configuration.limits.bufferedDatagrams, 1)
        guard self.outboundDatagrams.count > limit else { return .accepted }
        self.shedDatagram()
        return .dropped
    }

    /// Gives the oldest waiting datagram up.
    func shedDatagram() {
        guard let datagram = self.outboundDatagrams.popFirst() else { return }
        self.counters.datagramsDropped += 1
        if let tag = datagram.tag { self.emit(.datagramSettled(tag: tag, .shed)) }
    }

    /// The number under which ngtcp2 tells the fate of the datagram that is written next; 0 if nobody asks.
    var nextDatagramNumber: UInt64 {
        self.outboundDatagrams.first?.tag == nil ? 0 : self.lastDatagramNumber &+ 1
    }

    /// The oldest waiting datagram is in a packet.
    func datagramWasWritten() {
        guard let datagram = self.outboundDatagrams.popFirst() else { return }
        self.counters.datagramsSent += 1
        guard let tag = datagram.tag else { return }
        self.lastDatagramNumber &+= 1
        self.datagramTags[self.lastDatagramNumber] = tag
    }

    func datagramWasSettled(_ number: UInt64, arrived: Bool) {
        guard let tag = self.datagramTags.removeValue(forKey: number) else { return }
        self.emit(.datagramSettled(tag: tag, arrived ? .acknowledged : .lost))
    }

    /// Protects what is sent from now on by new keys (RFC 9001, section 6.1).
    package func updateKeys(now: NIODeadline) throws(TransportError) {
        if let closeReason { throw closeReason }
        guard self.isConfirmed, self.native.updateKeys(now: self.advance(now)) == TERN_QUIC_OK else {
            throw TransportError(
                .misuse, message: "keys can be updated when the handshake, or the update before, is confirmed")
        }
    }

    /// The largest UDP payload of the path, as far as it is known.
    var pathPayload: Int { min(self.native.pathPayload, self.packetSizes.size) }

    func tellPathPayload() {
        let payload = self.pathPayload
        guard payload != self.toldPathPayload else { return }
        self.toldPathPayload = payload
        self.emit(.pathMTUChanged(payload))
    }
}
