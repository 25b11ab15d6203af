// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernSystem
internal import NIOCore
internal import TernTransport

/// What ngtcp2 said during one call, to be digested when the call has returned.
///
/// The callbacks only record here: calling ngtcp2 from inside a callback is forbidden, and the connection is in the
/// middle of a mutation of its own then.
final class NativeInbox {
    enum Fact {
        case handshakeCompleted
        case earlyDataRejected
        case handshakeConfirmed
        case streamOpened(QUICStream)
        case streamReceived(QUICStream)
        case streamWasReset(StreamID, code: UInt64)
        /// RESET_STREAM was the first frame of the peer's stream.
        case streamWasResetUnopened(StreamID, code: UInt64)
        case streamWasStopped(StreamID, code: UInt64)
        case streamAcknowledged(StreamID, offset: UInt64)
        case streamCredit(StreamID)
        case streamEnded(StreamID)
        case streamsAvailable(StreamDirection)
        case datagramReceived(ByteBuffer)
        case datagramSettled(number: UInt64, arrived: Bool)
        case keysUpdated
        case connectionIDIssued(QUICConnectionID)
        case connectionIDRetired(QUICConnectionID)
        case pathSettled(NativePathFact)
        case tokenReceived([UInt8])
    }

    /// No honest peer makes this many facts between two drains.
    private static let factLimit = 1 << 16

    var facts: [Fact] = []
    var wasStatelesslyReset = false
    private(set) var streams: [Int64: QUICStream] = [:]
    private var recent: QUICStream?
    /// The memory of bytes that the application had.
    var spares = SpareBuffers()
    private let role: ConnectionRole
    private let randomness: QUICRandomness
    private let qlog: (any QUICQlogSink)?
    private var isPeerProven = false

    init(role: ConnectionRole, randomness: QUICRandomness, qlog: (any QUICQlogSink)? = nil) {
        self.qlog = qlog
        self.role = role
        self.randomness = randomness
    }

    /// Idempotent.
    func peerIsProven() {
        guard !self.isPeerProven else { return }
        self.isPeerProven = true
        self.qlog?.peerIsProven()
    }

    func stream(_ id: Int64) -> QUICStream? {
        if let recent, recent.id.rawValue == UInt64(bitPattern: id) { return recent }
        guard let stream = self.streams[id] else { return nil }
        self.recent = stream
        return stream
    }

    func insert(_ stream: QUICStream) {
        self.streams[Int64(bitPattern: stream.id.rawValue)] = stream
    }

    func remove(_ id: StreamID) {
        self.streams[Int64(bitPattern: id.rawValue)] = nil
        if self.recent?.id == id { self.recent = nil }
    }

    fileprivate func opened(_ id: Int64) {
        let stream = QUICStream(id: StreamID(rawValue: UInt64(bitPattern: id)))
        self.insert(stream)
        self.facts.append(.streamOpened(stream))
    }

    fileprivate func received(
        _ id: Int64, _ bytes: UnsafeRawBufferPointer, finished: Bool, early: Bool
    ) -> Bool {
        guard let stream = self.stream(id) else { return true }
        if early { stream.cameEarly = true }
        stream.unconsumed += bytes.count
        if finished { stream.receivedFinish = true }
        if bytes.count > 0 {
            if stream.received.storageCapacity == 0 {
                stream.received = self.spares.take(max(bytes.count, stream.receivedBefore))
            }
            stream.received.writeBytes(bytes)
        }
        if !stream.isAnnounced {
            stream.isAnnounced = true
            self.facts.append(.streamReceived(stream))
        }
        if finished { self.endIfOnlyReceiving(stream.id) }
        return self.facts.count < Self.factLimit
    }

    fileprivate func wasReset(_ id: StreamID, code: UInt64, opened: Bool) {
        guard opened else { return self.facts.append(.streamWasResetUnopened(id, code: code)) }
        self.facts.append(.streamWasReset(id, code: code))
        self.endIfOnlyReceiving(id)
    }

    /// ngtcp2 0.12 never closes a unidirectional stream of the peer (its 1d591bde, in 1.0), so we do when it has ended;
    /// a later word from a newer ngtcp2 finds the stream gone.
    private func endIfOnlyReceiving(_ id: StreamID) {
        if !id.isWritable(by: self.role) { self.facts.append(.streamEnded(id)) }
    }

    fileprivate func received(datagram bytes: UnsafeRawBufferPointer) -> Bool {
        self.facts.append(.datagramReceived(ByteBuffer(bytes: bytes)))
        return self.facts.count < Self.factLimit
    }

    fileprivate func received(token: UnsafeBufferPointer<UInt8>) {
        // A token of ours has 57 bytes; one that would fill a packet is not worth keeping.
        guard token.count <= 512, self.facts.count < Self.factLimit else { return }
        self.facts.append(.tokenReceived(Array(token)))
    }

    fileprivate func log(_ bytes: UnsafeRawBufferPointer) {
        self.qlog?.write(bytes)
    }

    fileprivate func settled(_ fact: NativePathFact?) {
        guard let fact, self.facts.count < Self.factLimit else { return }
        self.facts.append(.pathSettled(fact))
    }

    fileprivate func fill(_ bytes: UnsafeMutablePointer<UInt8>?, _ count: Int) {
        self.randomness.fill(UnsafeMutableRawBufferPointer(start: bytes, count: count))
    }
}

extension NativeInbox {
    private static func from(_ context: UnsafeMutableRawPointer?) -> NativeInbox {
        // The connection passes its inbox as context and keeps it for longer than ngtcp2 lives.
        guard let context else { preconditionFailure("ngtcp2 was given no context") }
        return Unmanaged<NativeInbox>.fromOpaque(context).takeUnretainedValue()
    }

    private static func id(_ stream: Int64) -> StreamID { StreamID(rawValue: UInt64(bitPattern: stream)) }

    /// One line per event; the table lives as long as the process.
    nonisolated(unsafe) static let events: UnsafePointer<tern_quic_events> = {
        let table = UnsafeMutablePointer<tern_quic_events>.allocate(capacity: 1)
        table.initialize(
            to: tern_quic_events(
                handshake_completed: { from($0).facts.append(.handshakeCompleted) },
                handshake_confirmed: { from($0).facts.append(.handshakeConfirmed) },
                stream_opened: { from($0).opened($1) },
                early_data_rejected: { from($0).facts.append(.earlyDataRejected) },
                stream_data: {
                    from($0).received($1, UnsafeRawBufferPointer(start: $2, count: $3), finished: $4, early: $5)
                },
                stream_reset: { from($0).wasReset(id($1), code: $2, opened: $3) },
                stream_stopped: { from($0).facts.append(.streamWasStopped(id($1), code: $2)) },
                stream_acknowledged: { from($0).facts.append(.streamAcknowledged(id($1), offset: $2)) },
                stream_credit: { from($0).facts.append(.streamCredit(id($1))) },
                stream_closed: { from($0).facts.append(.streamEnded(id($1))) },
                streams_available: { from($0).facts.append(.streamsAvailable($1 ? .bidirectional : .unidirectional)) },
                datagram: { from($0).received(datagram: UnsafeRawBufferPointer(start: $1, count: $2)) },
                datagram_settled: { from($0).facts.append(.datagramSettled(number: $1, arrived: $2)) },
                keys_updated: { from($0).facts.append(.keysUpdated) },
                qlog: { from($0).log(UnsafeRawBufferPointer(start: $1, count: $2)) },
                cid_issued: { from($0).facts.append(.connectionIDIssued(QUICConnectionID($1))) },
                cid_retired: { from($0).facts.append(.connectionIDRetired(QUICConnectionID($1))) },
                path_settled: { from($0).settled(NativePathFact($1, $2, elapsed: $3, isUndersized: $4)) },
                stateless_reset: { from($0).wasStatelesslyReset = true },
                token_received: { from($0).received(token: UnsafeBufferPointer(start: $1, count: $2)) },
                fill_random: { from($0).fill($1, $2) }))
        return UnsafePointer(table)
    }()
}
