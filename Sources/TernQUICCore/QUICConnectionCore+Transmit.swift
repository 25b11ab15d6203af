// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernSystem
internal import DequeModule
package import NIOCore
internal import TernTransport

extension QUICConnectionCore {
    /// UDP_MAX_SEGMENTS of Linux.
    private static var maximumSegments: Int { 64 }
    /// The largest UDP payload over IPv4.
    private static var maximumTrain: Int { 65_507 }
    /// More than any control frame needs, a stream's first bytes included.
    private static var smallestFrames: Int { 64 }

    /// Writes the next datagrams to send: one train of at most 64 equal segments, of one path and ECN codepoint.
    ///
    /// - Parameter buffer: at least ``QUICConfiguration/maximumUDPPayloadSize`` bytes, or nothing is written; 64 KiB
    ///   lets a
    ///   train be as long as the kernel takes.
    /// - Returns: `nil` when there is nothing to send now.
    package func nextTransmit(into buffer: UnsafeMutableRawBufferPointer, now: NIODeadline) -> QUICTransmit? {
        let now = self.advance(now)
        guard buffer.count >= self.configuration.maximumUDPPayloadSize else { return nil }
        switch self.phase {
        case .finished, .draining: return nil
        case .closing: return self.repeatClose(into: buffer)
        case .open: break
        }
        if self.pendingClose == nil {
            var transmit = self.writeTrain(into: buffer, now: now)
            if let path = transmit?.path { transmit?.path = self.comeback.pathForSocket(path, current: self.path) }
            self.digest()
            self.receiveHeldPackets(now: now)
            if let transmit { return transmit }
        }
        guard self.pendingClose == nil else { return self.writeClose(into: buffer, now: now) }
        self.noteNothingToWrite(now: now)
        return nil
    }

    /// Whether a call of ``nextTransmit(into:now:)`` might have stream data or datagrams to write; acknowledgements and
    /// retransmissions do not show here.
    package var hasQueuedData: Bool {
        self.scheduler.first != nil || !self.outboundDatagrams.isEmpty || self.pendingClose != nil
    }

    private func writeTrain(into buffer: UnsafeMutableRawBufferPointer, now: UInt64) -> QUICTransmit? {
        if let probe = self.writeProbe(into: buffer, now: now) { return probe }
        // The peer may have asked because our path is another one, which takes less (RFC 9000, section 8.2.2 wants 1200 bytes).
        let owesResponse = self.native.owesPathResponse(now: now)
        let payload = min(owesResponse ? PacketSizeSearch.smallest : self.packetSize, buffer.count)
        let limit = min(buffer.count, Self.maximumTrain, max(self.native.sendQuantum, payload))
        var train = self.resumeHeld(into: buffer)
        var written = train?.byteCount ?? 0
        var segments = train == nil ? 0 : 1
        var pathNumber = train == nil ? 0 : self.native.lastWritePathNumber
        while segments < Self.maximumSegments, segments == 0 || written + payload <= limit {
            let packet = UnsafeMutableRawBufferPointer(rebasing: buffer[written..<(written + payload)])
            self.newBytesInPacket = 0
            self.isDrained = false
            let result = self.writePacket(packet, now: now)
            guard result.bytes > 0 else {
                self.handleWriteFailure(result.bytes, now: now)
                break
            }
            self.packetSizes.packetWritten(
                result.bytes, newBytes: self.newBytesInPacket, found: self.native.pathPayload, now: now)
            let number = self.native.lastWritePathNumber
            let ecn = ECN(rawValue: result.ecn) ?? .notECT
            if let first = train {
                if result.bytes > first.segmentSize || ecn != first.ecn || number != pathNumber {
                    self.held = HeldPacket(
                        bytes: Array(packet[0..<result.bytes]), path: self.native.lastWritePath, ecn: result.ecn)
                    break
                }
            } else {
                pathNumber = number
                train = QUICTransmit(byteCount: 0, segmentSize: result.bytes, path: self.native.lastWritePath, ecn: ecn)
            }
            written += result.bytes
            segments += 1
            if self.isDrained || result.bytes < train?.segmentSize ?? 0 { break }
        }
        guard var train else {
            // If there was no answer to write after all, what waited for it goes.
            let goesOn = owesResponse && !self.native.owesPathResponse(now: now) && !self.outboundDatagrams.isEmpty
            return goesOn && self.pendingClose == nil ? self.writeTrain(into: buffer, now: now) : nil
        }
        train.byteCount = written
        let number = self.native.lastWritePathNumber
        if number != self.pathInUse.number { self.pathInUse = (number, now) }
        train.isLast = self.isDrained && self.held == nil && self.isConfirmed
        self.counters.bytesSent += UInt64(written)
        self.counters.packetsSent = (self.counters.packetsSent ?? 0) + UInt64(segments)
        // Not before the handshake is done: until there is a sample of the round trip ngtcp2 would pace by a guess of
        // 333 ms.
        if self.isEstablished {
            self.native.pace(now: now)
            self.tellPathPayload()
        }
        return train
    }

    /// The largest packet that may be written now.
    private var packetSize: Int {
        self.outboundDatagrams.isEmpty ? self.packetSizes.size : self.datagramPacketSize
    }

    /// The largest packet with a DATAGRAM frame. Inside a host it goes ahead of the search up to the ordinary size.
    var datagramPacketSize: Int {
        self.packetSizes.searches
            ? max(self.packetSizes.size, self.configuration.maximumUDPPayloadSize) : self.packetSizes.size
    }

    /// Writes a larger packet than before, alone, to see whether it arrives.
    private func writeProbe(into buffer: UnsafeMutableRawBufferPointer, now: UInt64) -> QUICTransmit? {
        guard self.isConfirmed, self.held == nil, self.outboundDatagrams.isEmpty,
            !self.native.owesPathResponse(now: now),
            let stream = self.scheduler.first,
            let size = self.packetSizes.probeSize(now: now), size <= buffer.count,
            size <= self.native.peerMaximumPayload,
            stream.queue.unsentBytes >= size
        else { return nil }
        let packet = UnsafeMutableRawBufferPointer(rebasing: buffer[0..<size])
        self.newBytesInPacket = 0
        let result = self.writePacket(packet, now: now)
        guard result.bytes > 0 else {
            self.handleWriteFailure(result.bytes, now: now)
            return nil
        }
        self.packetSizes.probeSent(
            of: result.bytes, newBytes: self.newBytesInPacket, stream: stream.id, end: stream.queue.sentOffset, now: now
        )
        self.counters.bytesSent += UInt64(result.bytes)
        self.counters.packetsSent = (self.counters.packetsSent ?? 0) + 1
        self.native.pace(now: now)
        return QUICTransmit(
            byteCount: result.bytes, segmentSize: result.bytes, path: self.native.lastWritePath,
            ecn: ECN(rawValue: result.ecn) ?? .notECT)
    }

    private func resumeHeld(into buffer: UnsafeMutableRawBufferPointer) -> QUICTransmit? {
        guard let held = self.held else { return nil }
        self.held = nil
        buffer.copyBytes(from: held.bytes)
        return QUICTransmit(
            byteCount: held.bytes.count, segmentSize: held.bytes.count, path: held.path,
            ecn: ECN(rawValue: held.ecn) ?? .notECT)
    }

    /// Writes one packet: datagrams first, then streams by urgency, several in one packet while it has room.
    private func writePacket(_ packet: UnsafeMutableRawBufferPointer, now: UInt64) -> tern_quic_written {
        guard self.isEstablished || self.writesEarly else { return self.native.write(nil, into: packet, now: now) }
        if let result = self.writeDatagrams(packet, now: now) { return result }
        while let stream = self.nextStream {
            let result = self.native.write(stream, into: packet, now: now)
            if result.taken >= 0 {
                self.newBytesInPacket += result.taken
                self.progress.sent(result.taken, now: now)
                self.tookBytes(of: stream)
            }
            switch result.bytes {
            case Int(TERN_QUIC_WRITE_MORE.rawValue):
                if result.taken < 0 { return self.native.write(nil, into: packet, now: now) }
            case Int(TERN_QUIC_STREAM_BLOCKED.rawValue), Int(TERN_QUIC_STREAM_SHUT.rawValue),
                Int(TERN_QUIC_STREAM_NOT_FOUND.rawValue):
                self.scheduler.remove(stream)
            default:
                if result.bytes > 0 { self.scheduler.rotate(stream) }
                return result
            }
        }
        let result = self.native.write(nil, into: packet, now: now)
        // Room is left in a packet that was offered everything: the next one would be empty.
        self.isDrained =
            self.newBytesInPacket > 0 && result.bytes > 0 && result.bytes + Self.smallestFrames < packet.count
        return result
    }

    /// The stream whose turn it is. Without credit of the connection only the end of a stream can go, and ngtcp2 does not say that
    /// one stream waits for what another does not need.
    private var nextStream: QUICStream? {
        self.native.connectionCredit > 0 ? self.scheduler.first : self.scheduler.first { $0.queue.unsentBytes == 0 }
    }

    /// - Returns: `nil` when the packet, begun or not, has room for streams.
    private func writeDatagrams(_ packet: UnsafeMutableRawBufferPointer, now: UInt64) -> tern_quic_written? {
        guard !self.outboundDatagrams.isEmpty, self.mayFlyDatagram(of: packet.count) else { return nil }
        while let datagram = self.outboundDatagrams.first {
            guard datagram.bytes.readableBytes <= self.native.maximumDatagramSize(capacity: packet.count) else {
                // It goes when the peer's PATH_CHALLENGE is answered.
                if self.native.owesPathResponse(now: now) { return nil }
                // The path's MTU shrank since it was queued.
                self.shedDatagram()
                continue
            }
            let result = self.native.write(
                datagram: datagram.bytes, number: self.nextDatagramNumber, into: packet, now: now)
            if result.taken == 1 { self.datagramWasWritten() }
            switch result.bytes {
            case Int(TERN_QUIC_WRITE_MORE.rawValue):
                if result.taken != 1 { return nil }
            case Int(TERN_QUIC_INVALID.rawValue):
                self.shedDatagram()
            default: return result
            }
        }
        return nil
    }

    private func tookBytes(of stream: QUICStream) {
        if !stream.queue.hasWork { self.scheduler.remove(stream) }
        let watermark = self.configuration.limits.writeLowWatermark
        guard stream.isBackpressured, stream.queue.unsentBytes <= watermark else { return }
        stream.isBackpressured = false
        if !stream.queue.isFinishing { self.emit(.streamWritable(stream.id)) }
    }

    private func handleWriteFailure(_ bytes: Int, now: UInt64) {
        guard bytes < 0 else { return }
        self.digest()
        self.handle(tern_quic_result(rawValue: Int32(truncatingIfNeeded: bytes)), now: now)
    }
}
