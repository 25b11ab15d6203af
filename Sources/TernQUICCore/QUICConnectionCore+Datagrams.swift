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

    /// ngtcp2 0.12 arms no probe timeout for packets with DATAGRAM frames alone (RFC 9002, section 6.2, wants it; 1.x does):
    /// when the last of them are lost they count as in flight until a later packet is acknowledged. They may not fill the
    /// congestion window, or no later packet could be sent, ever.
    func mayFlyDatagram(of size: Int) -> Bool {
        let native = self.native.nativeStatistics
        return native.bytes_in_flight == 0
            || native.bytes_in_flight + UInt64(size + PacketSizeSearch.smallest) <= native.congestion_window
    }

    /// Instead of the missing probe timeout: the keep-alive asks after a flight that may hold datagrams only.
    private func watchDatagrams() {
        if self.datagramWatch == nil { self.watchDatagramsAnew() }
    }

    private func watchDatagramsAnew() {
        let watch = DatagramWatch(interval: 2 * self.native.probeTimeout, now: self.lastNow)
        self.datagramWatch = watch
        self.native.keepAlive(every: min(watch.interval, self.keepAliveInterval ?? .max))
    }

    /// A packet came: perhaps everything in flight was acknowledged or is known to be lost.
    func reviewDatagramWatch() {
        guard let watch = self.datagramWatch else { return }
        guard self.native.nativeStatistics.bytes_in_flight == 0 else {
            if watch.hasAsked { self.watchDatagramsAnew() }
            return
        }
        self.datagramWatch = nil
        self.native.keepAlive(every: self.keepAliveInterval ?? 0)
    }

    /// Questions that nobody answers are in flight too, and may not fill the congestion window either.
    func backOffDatagramWatch() {
        // ngtcp2 must know before it takes note of the time.
        guard self.datagramWatch?.timePassed(to: self.lastNow) == true, let watch = self.datagramWatch else { return }
        self.native.keepAlive(every: min(watch.interval, self.keepAliveInterval ?? .max))
    }

    /// The oldest waiting datagram is in a packet.
    func datagramWasWritten() {
        guard let datagram = self.outboundDatagrams.popFirst() else { return }
        self.watchDatagrams()
        self.counters.datagramsSent += 1
        guard let tag = datagram.tag else { return }
        self.lastDatagramNumber &+= 1
        self.datagramTags[self.lastDatagramNumber] = tag
    }

    func datagramWasSettled(_ number: UInt64, arrived: Bool) {
        if arrived { self.packetSizes.acknowledgedDatagram() }
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

/// When the fate of datagrams in flight is asked after: each time after twice the time, as with a probe timeout (RFC 9002,
/// section 6.2.1).
struct DatagramWatch {
    private(set) var interval: UInt64
    private(set) var hasAsked = false
    private var due: UInt64
    /// The question of this interval was just asked.
    private var asks = false

    init(interval: UInt64, now: UInt64) {
        self.interval = max(interval, 1)
        self.due = now &+ self.interval
    }

    /// - Returns: whether the interval has grown. It does so one interval after each question, because the question is not
    ///   asked if the interval grows before the packet is written.
    mutating func timePassed(to now: UInt64) -> Bool {
        guard now >= self.due else { return false }
        self.hasAsked = true
        self.asks.toggle()
        self.due = now &+ self.interval
        guard !self.asks else { return false }
        self.interval = self.interval.multipliedReportingOverflow(by: 2).partialValue
        return true
    }
}
