// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
package import NIOCore
package import TernTransport

/// One end of a QMux connection (draft-ietf-quic-qmux-02) without I/O: bytes and time in; bytes, events and a deadline
/// out.
///
/// The driver feeds what it read to ``receive(_:now:)``, hands out ``nextEvent()`` until it is `nil` (or leaves the
/// events where they are while nobody listens: they stay bounded), writes ``nextBytes(limit:now:)`` while the carrier
/// takes more, keeps one timer for ``nextDeadline``, and obeys ``carrierDemand``. Any call may change what these three
/// answer. Everything is confined to the driver's event loop.
///
/// The connection is established, and streams can be opened, once the peer's transport parameters came; a client that
/// resumes opens streams before (``recall(_:)``).
package final class QMuxConnectionCore {
    package let role: ConnectionRole
    package let limits: ConnectionLimits
    let configuration: QMuxConfiguration

    /// The peer's declaration; `nil` until its first record came.
    package internal(set) var peerParameters: QMuxTransportParameters?
    /// What a client that resumes remembers of the server's declaration, until the server declares itself again.
    package internal(set) var remembered: QMuxTransportParameters?
    /// The server took 0-RTT data, and with it may not grant less than what is remembered (RFC 9000, section 7.4.1).
    var wasEarlyDataAccepted = false
    /// What comes now came before the end of the handshake.
    var isReceivingEarly = false
    /// A record began before the end of the handshake.
    var hasEarlyRemainder = false
    /// Why the connection is closed; `nil` while it is open. From then on it only wants to end its carrier.
    package internal(set) var closeReason: TransportError?

    /// The reason phrase of a close is cut to this.
    static let maximumReasonSize = 256
    /// We never write longer records, even if the peer takes them: with its size this is one full TLS record.
    static let maximumRecordSize = Int(QMuxTransportParameters.defaultMaxRecordSize)

    var phase = QMuxPhase.open
    /// End of file came before we were done sending.
    var hasPeerFinished = false
    var reader = QMuxRecordReader(maximumSize: QMuxTransportParameters.defaultMaxRecordSize)
    var events: Deque<QMuxEvent> = []
    var heldDatagrams: Deque<ByteBuffer> = []
    /// The memory of pieces that the application had.
    var spares = SpareBuffers()
    /// What the caller said waits behind the bytes that are being read.
    var bytesFollowing = 0

    var streams: [StreamID: QMuxStream] = [:]
    var local = QMuxStreamCounts()
    var remote = QMuxStreamCounts()
    var connection: QMuxConnectionFlow

    var writer = QMuxWriter()
    var pings = QMuxPings()
    var deliveries = QMuxDeliveries()
    var clock: QMuxClock
    var counters = ConnectionStatistics()
    var idleFrames: QMuxIdleFrameBudget

    /// - Parameters:
    ///   - limits: what this end grants its peer.
    ///   - now: from when on the handshake timeout counts, unless it began earlier.
    ///   - handshakeStart: when the carrier began its own handshake; one timeout covers both.
    package init(
        role: ConnectionRole, limits: ConnectionLimits, configuration: QMuxConfiguration = QMuxConfiguration(),
        now: NIODeadline, handshakeStart: NIODeadline? = nil
    ) {
        self.role = role
        self.limits = limits
        self.configuration = configuration
        let parameters = QMuxTransportParameters(limits)
        self.remote.bidirectionalLimit = parameters.initialMaxStreamsBidirectional
        self.remote.unidirectionalLimit = parameters.initialMaxStreamsUnidirectional
        self.connection = QMuxConnectionFlow(limits)
        self.clock = QMuxClock(limits: limits, now: now, handshakeStart: handshakeStart ?? now)
        self.idleFrames = QMuxIdleFrameBudget(configuration, now: now)
        self.writer.control.append(.transportParameters(parameters.encoded()))
    }

    /// Whether streams may be used: the peer's transport parameters came, or those that are remembered hold.
    package var isEstablished: Bool { self.peerParameters != nil || self.wasEarlyDataAccepted }

    /// The peer's declaration as far as it is known.
    var knownParameters: QMuxTransportParameters? { self.peerParameters ?? self.remembered }

    package func statistics() -> ConnectionStatistics {
        var statistics = self.counters
        statistics.latestRoundTripTime = self.pings.latest
        statistics.minimumRoundTripTime = self.pings.minimum
        statistics.smoothedRoundTripTime = self.pings.smoothed
        return statistics
    }

    /// Whether ``nextEvent()`` has something. Every call may bring events, ``nextBytes(limit:now:)`` too: a stream ends
    /// when its last byte was handed over.
    package var hasEvents: Bool { !self.events.isEmpty }

    /// The next thing that the application has to hear.
    package func nextEvent() -> QMuxEvent? {
        while let event = self.events.popFirst() {
            switch event {
            case .streamReceived(let stream, _, _):
                // The event only keeps the place: the bytes stand with their stream, until nobody wants them any more.
                guard let event = self.takePiece(of: stream) else { continue }
                return event
            case .streamWasReset(let stream, _):
                if self.streams[stream]?.receive?.wasStopped == true { continue }
                return event
            case .streamClosed(let stream):
                self.forget(stream)
                return event
            case .datagramReceived:
                // The event only keeps the place: the bytes stand in their own queue, which drops its oldest.
                guard let bytes = self.heldDatagrams.popFirst() else { continue }
                return .datagramReceived(bytes)
            default:
                return event
            }
        }
        return nil
    }

    private func takePiece(of identifier: StreamID) -> QMuxEvent? {
        guard let stream = self.streams[identifier], let receive = stream.receive,
            let piece = stream.held.takeFirst()
        else { return nil }
        self.spares.keep(piece)
        // Its stream is over, so that nobody else returns its credit.
        if receive.wasReset { self.creditConnection(UInt64(piece.readableBytes)) }
        return .streamReceived(identifier, piece, finished: stream.held.isEmpty && receive.isFinished)
    }

    func report(_ event: QMuxEvent) {
        self.events.append(event)
    }

    /// The peer gets the credit for another stream only when the application has heard the end of this one: a peer that
    /// opens and resets streams faster than we listen runs into its limit.
    private func forget(_ stream: StreamID) {
        self.streams[stream] = nil
        // What ends a stream is progress, and so is the credit that follows it.
        self.idleFrames.earn(0)
        self.idleFrames.earn(0)
        guard stream.initiator != self.role else { return }
        self.remote.release(stream.direction)
        self.writer.owesMaxStreams.insert(stream.direction)
    }
}

/// How far the connection is on its way to the end.
enum QMuxPhase: Equatable {
    case open
    /// We close: this frame goes out, then the sending side is shut down.
    case closing(QMuxFrame)
    /// Nothing more to send: wait for the peer's end of file, until the drain deadline.
    case draining
    case over
}

/// How many streams one end opened, and may open.
struct QMuxStreamCounts {
    var bidirectional: UInt64 = 0
    var unidirectional: UInt64 = 0
    var bidirectionalLimit: UInt64 = 0
    var unidirectionalLimit: UInt64 = 0
    /// Streams that ended, in whose places the peer may open others once it was told.
    private var released: [StreamDirection: UInt64] = [:]

    func opened(_ direction: StreamDirection) -> UInt64 {
        direction == .bidirectional ? self.bidirectional : self.unidirectional
    }

    func limit(_ direction: StreamDirection) -> UInt64 {
        direction == .bidirectional ? self.bidirectionalLimit : self.unidirectionalLimit
    }

    mutating func openOne(_ direction: StreamDirection) {
        if direction == .bidirectional { self.bidirectional += 1 } else { self.unidirectional += 1 }
    }

    mutating func release(_ direction: StreamDirection) {
        self.released[direction, default: 0] += 1
    }

    /// The peer is about to be told. Before that it may not use the new limit: who reads nothing of what we answer gets no more
    /// streams to be answered on.
    mutating func grantReleased(_ direction: StreamDirection) -> UInt64 {
        let more = self.released.removeValue(forKey: direction) ?? 0
        self.raiseLimit(direction, to: min(self.limit(direction) + more, QMuxFrame.maximumStreamCount))
        return self.limit(direction)
    }

    /// A limit never sinks (RFC 9000, section 4.6); answers whether it rose.
    @discardableResult
    mutating func raiseLimit(_ direction: StreamDirection, to limit: UInt64) -> Bool {
        guard limit > self.limit(direction) else { return false }
        if direction == .bidirectional { self.bidirectionalLimit = limit } else { self.unidirectionalLimit = limit }
        return true
    }
}

/// Flow control of the connection as a whole (RFC 9000, section 4.1).
struct QMuxConnectionFlow {
    var sent: UInt64 = 0
    var sendLimit: UInt64 = 0
    var received: UInt64 = 0
    var consumed: UInt64 = 0
    var receiveLimit: UInt64
    /// What we grant, for the connection and for each stream.
    let window: UInt64
    let streamWindow: UInt64

    init(_ limits: ConnectionLimits) {
        self.window = min(UInt64(clamping: limits.connectionWindow), Self.largestWindow)
        self.streamWindow = min(UInt64(clamping: limits.streamWindow), Self.largestWindow)
        self.receiveLimit = self.window
    }

    /// Far below 2^62, so that sums of windows and offsets stay numbers that can be written.
    private static let largestWindow: UInt64 = 1 << 60

    var maySend: UInt64 { self.sendLimit.saturatingSubtracting(self.sent) }

    /// The peer uses up `count` bytes of its credit.
    ///
    /// - Returns: `false`, and nothing is taken, when it has less.
    mutating func charge(_ count: UInt64) -> Bool {
        guard count <= self.receiveLimit.saturatingSubtracting(self.received) else { return false }
        self.received += count
        return true
    }
}
