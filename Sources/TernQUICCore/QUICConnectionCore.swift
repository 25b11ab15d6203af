// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernSystem
internal import DequeModule
package import NIOCore
package import TernTLS
package import TernTransport

/// One QUIC connection without I/O: datagrams and time in; datagrams, events and one deadline out.
///
/// Confined to its caller's event loop; not thread-safe. It never reads a clock and never calls back. After each call
/// that takes `now`, and after `close`, the caller drains ``nextEvent()``, sends what ``nextTransmit(into:now:)`` gives
/// until it is `nil`, and arms a timer for ``nextDeadline``.
package final class QUICConnectionCore {
    package let role: ConnectionRole
    package let configuration: QUICConfiguration
    let native: NativeConnection
    let tls: TLSSession
    let startedAt: UInt64

    /// How far the connection is; one way only.
    enum Phase {
        case open
        /// We closed, and repeat the CONNECTION_CLOSE when packets come (RFC 9000, section 10.2.1).
        case closing(until: UInt64)
        /// The peer closed: silence (RFC 9000, section 10.2.2).
        case draining(until: UInt64)
        case finished
    }

    var phase: Phase = .open
    /// A CONNECTION_CLOSE that was decided but not written yet.
    var pendingClose: PendingClose?
    /// The packet with it, to be repeated.
    var closePacket: [UInt8] = []
    var repeatsClose = false
    var packetsWhileClosing = 0
    /// Why the connection is over; set once.
    var closeReason: TransportError?

    var pending: Deque<PendingEvent> = []
    var hasShedHandshake = false
    var inboundDatagrams: Deque<ByteBuffer> = []
    var outboundDatagrams: Deque<OutboundDatagram> = []
    /// The tags of datagrams in flight, by the number that ngtcp2 knows them by.
    var datagramTags: [UInt64: UInt64] = [:]
    var lastDatagramNumber: UInt64 = 0
    /// The keep-alive stands in for the probe timeout of datagrams in flight.
    var datagramWatch: DatagramWatch?
    /// The path's payload size that was told last.
    var toldPathPayload = PacketSizeSearch.smallest
    /// Tells a stream that is closed from one that never was.
    var openedStreams = QUICStreamCounts()
    var scheduler = SendScheduler()
    /// Who waits for acknowledgements.
    var deliveries = DeliveryWatches()
    var deliveryAnswers: [DeliveryWatches.Answer] = []
    /// Which path packets go to, and since when.
    var pathInUse: (number: UInt64, since: UInt64) = (0, 0)
    /// When ends that were sent to another path are looked at again.
    var nextLookAtEnds: UInt64?
    var progress = SendProgress()
    var wantsStreams: Set<StreamDirection> = []
    var packetSizes: PacketSizeSearch
    /// Stream bytes that the packet being written took for the first time.
    var newBytesInPacket = 0
    /// The packet that was written last holds all there was to send.
    var isDrained = false
    /// A packet that was written but did not fit the train before it.
    var held: HeldPacket?
    var counters = ConnectionStatistics()
    /// The memory that the connection takes beyond its limits.
    let windowShare: WindowShare
    var window: ReceiveWindow
    /// Unidirectional streams of the peer that ngtcp2 keeps though they ended.
    var endedStreamsKept = 0
    /// What their memory was charged with.
    var endedStreamsCharge = 0
    private(set) var lastNow: UInt64

    /// What reaches this connection now; for a server, the client's first choice too. Later ones come as events.
    package private(set) var connectionIDs: [QUICConnectionID]
    /// The path that was validated last.
    package internal(set) var path: QUICPath
    var move: PathMove?
    var comeback = PathComeback()
    package internal(set) var isEstablished = false
    /// Whether any packet of the peer could be decrypted yet.
    package internal(set) var hasHeardFromPeer = false
    /// A server: the client's first packets came out of order, so the connection is over before it began; a Retry makes
    /// the client send them again.
    package internal(set) var wantsRetry = false
    package internal(set) var applicationProtocol = ""
    package internal(set) var isConfirmed = false

    /// What the application said may be sent twice, and the streams that carry it.
    var replayable: [ReplayableStream] = []
    package internal(set) var replayableStreams: [StreamID] = []
    /// Streams of rejected 0-RTT that the peer's limit leaves no room for, with what they will bring.
    var streamsToReopen: [StreamID: DeliveryWatches.Mark] = [:]
    package internal(set) var earlyData = EarlyDataOutcome.notOffered
    /// Streams may be written though the handshake is not done: with 0-RTT keys by a client, in answer to 0-RTT by a server.
    var writesEarly = false

    private init(
        role: ConnectionRole, configuration: QUICConfiguration, tls: TLSSession, initial: QUICInitial?, path: QUICPath,
        now: NIODeadline
    ) throws(TransportError) {
        let now = now.uptimeNanoseconds
        self.role = role
        self.configuration = configuration
        self.tls = tls
        self.path = path
        self.packetSizes = PacketSizeSearch(configuration, path: path)
        self.windowShare = WindowShare(of: configuration.windowBudget)
        self.window = ReceiveWindow(
            initial: configuration.limits.connectionWindow, maximum: configuration.maximumConnectionWindow,
            share: self.windowShare)
        self.startedAt = now
        self.lastNow = now
        self.native = try NativeConnection(
            configuration: configuration, tls: tls, initial: initial, path: path, packetSizes: self.packetSizes,
            now: now)
        self.connectionIDs = [self.native.sourceConnectionID]
        if let initial { self.connectionIDs.append(initial.destinationConnectionID) }
    }

    /// Starts a handshake towards a server.
    ///
    /// - Parameters:
    ///   - tls: a client session for QUIC that knows the server's name; the connection owns it from now on.
    ///   - path: `local` must equal the local address that received datagrams will be reported with.
    ///   - replayable: streams to open at once, whose bytes may be sent in 0-RTT packets if `tls` resumes a session.
    package static func client(
        configuration: QUICConfiguration, tls: TLSSession, path: QUICPath, replayable: [ReplayableStream] = [],
        now: NIODeadline
    ) throws(TransportError) -> QUICConnectionCore {
        let core = try QUICConnectionCore(
            role: .client, configuration: configuration, tls: tls, initial: nil, path: path, now: now)
        core.offer(replayable)
        return core
    }

    /// Answers a client's first packet, which the caller then passes to ``receive(_:path:ecn:now:)``.
    package static func server(
        configuration: QUICConfiguration, tls: TLSSession, initial: QUICInitial, path: QUICPath, now: NIODeadline
    ) throws(TransportError) -> QUICConnectionCore {
        try QUICConnectionCore(
            role: .server, configuration: configuration, tls: tls, initial: initial, path: path, now: now)
    }

    // MARK: Datagrams and time

    /// Takes one UDP payload (not a GRO train: split it first).
    package func receive(_ datagram: UnsafeRawBufferPointer, path: QUICPath, ecn: ECN, now: NIODeadline) {
        let now = self.advance(now)
        self.counters.bytesReceived += UInt64(datagram.count)
        self.counters.packetsReceived = (self.counters.packetsReceived ?? 0) + 1
        switch self.phase {
        case .finished, .draining: return
        case .closing:
            // Ever more seldom: two ends that both closed must not keep each other awake.
            self.packetsWhileClosing += 1
            self.repeatsClose = self.packetsWhileClosing & (self.packetsWhileClosing - 1) == 0
            return
        case .open:
            guard self.pendingClose == nil else { return }
            let path = self.comeback.pathForConnection(path, current: self.path)
            self.wasRead(self.native.read(datagram, path: path, ecn: ecn, now: now), now: now)
        }
    }

    private func wasRead(_ result: tern_quic_result, now: UInt64) {
        if self.datagramWatch != nil { self.reviewDatagramWatch() }
        if !self.hasHeardFromPeer { self.hasHeardFromPeer = self.native.hasHeardFromPeer }
        if self.tls.hasNewTickets { self.rememberTickets() }
        self.digest()
        self.handle(result, now: now)
    }

    /// A client: takes what the server said in its first flight already, now that it is answered.
    func receiveHeldPackets(now: UInt64) {
        while self.closeReason == nil, self.native.hasHeldPackets {
            self.wasRead(self.native.readHeldPacket(now: now), now: now)
        }
    }

    /// When ``deadlineReached(now:)`` must be called: loss detection, delayed acknowledgements, pacing, keep-alive,
    /// idle, the end of closing. `nil`: never. It moves with every call, so re-arm lazily: an earlier alarm does no
    /// harm.
    package var nextDeadline: NIODeadline? {
        let deadline: UInt64
        switch self.phase {
        case .finished: return nil
        case .closing(let until), .draining(let until): deadline = until
        // A nanosecond later: ngtcp2 forgets a retired connection ID only after the instant that it names.
        case .open:
            let answered = self.outboundDatagrams.isEmpty ? .max : self.native.pathResponseEnds
            deadline = min(self.native.expiry, self.patienceEnds ?? .max, self.nextLookAtEnds ?? .max, answered)
        }
        return deadline >= UInt64(Int64.max) ? nil : .uptimeNanoseconds(deadline + 1)
    }

    /// Harmless when called early.
    package func deadlineReached(now: NIODeadline) {
        let now = self.advance(now)
        switch self.phase {
        case .finished: return
        case .closing(let until), .draining(let until):
            if now >= until { self.phase = .finished }
        case .open:
            guard self.pendingClose == nil else { return }
            defer { self.loseWhatIsNotAcknowledged(now: now) }
            guard self.native.expiry <= now else { return }
            self.packetSizes.timePassed(probeTimeout: self.native.probeTimeout, now: now)
            self.backOffDatagramWatch()
            let result = self.native.expire(now: now)
            self.digest()
            self.handle(result, now: now)
        }
    }

    /// A server: gives the client a token that proves its address when it connects again (RFC 9000, section 8.1.3).
    ///
    /// - Parameter token: of ``QUICAddressTokens/token(for:wallTime:)``.
    package func submit(token: [UInt8]) {
        guard case .open = self.phase, self.isEstablished, self.closeReason == nil else { return }
        self.native.submit(token: token)
    }

    /// Nothing is left to do: forget the connection and its connection IDs.
    package var isFinished: Bool {
        if case .finished = self.phase { return true }
        return false
    }

    /// The peer's chain, leaf first, each DER.
    package var peerCertificates: [[UInt8]] { self.tls.peerCertificates }

    /// The largest payload that ``sendDatagram(_:)`` takes now; 0 when the peer takes none.
    package var maximumDatagramSize: Int {
        self.isEstablished ? self.native.maximumDatagramSize(capacity: self.datagramPacketSize) : 0
    }

    package func statistics() -> ConnectionStatistics {
        var statistics = self.counters
        let native = self.native.nativeStatistics
        if self.hasHeardFromPeer, native.smoothed_rtt > 0 {
            statistics.smoothedRoundTripTime = .nanoseconds(Int64(clamping: native.smoothed_rtt))
            statistics.latestRoundTripTime = .nanoseconds(Int64(clamping: native.latest_rtt))
            if native.minimum_rtt != .max {
                statistics.minimumRoundTripTime = .nanoseconds(Int64(clamping: native.minimum_rtt))
            }
        }
        if self.hasHeardFromPeer, native.rtt_variation > 0 {
            statistics.roundTripTimeVariation = .nanoseconds(Int64(clamping: native.rtt_variation))
        }
        if native.slow_start_threshold != .max { statistics.slowStartThreshold = native.slow_start_threshold }
        if native.pacing_rate > 0 { statistics.pacingRate = native.pacing_rate }
        if native.delivery_rate > 0 { statistics.deliveryRate = native.delivery_rate }
        statistics.pathMaximumSize = UInt64(self.pathPayload)
        statistics.congestionWindow = native.congestion_window
        statistics.bytesInFlight = native.bytes_in_flight
        statistics.packetsLost = native.packets_lost == .max ? nil : native.packets_lost
        return statistics
    }

    /// The caller's clock, which must not run backwards: ngtcp2 counts on it.
    func advance(_ now: NIODeadline) -> UInt64 {
        self.lastNow = max(self.lastNow, now.uptimeNanoseconds)
        return self.lastNow
    }

    func keepConnectionIDs(_ ids: [QUICConnectionID]) {
        self.connectionIDs = ids
    }

    func noteIssued(_ id: QUICConnectionID) {
        guard self.connectionIDs.count < 64 else { return }
        self.connectionIDs.append(id)
    }

    func noteRetired(_ id: QUICConnectionID) {
        self.connectionIDs.removeAll { $0 == id }
    }
}

/// A CONNECTION_CLOSE to be written.
struct PendingClose {
    var isApplication: Bool
    var code: UInt64
    var reason: String
}

/// A datagram that waits to be sent.
struct OutboundDatagram {
    var bytes: ByteBuffer
    /// Who asks for its fate.
    var tag: UInt64?
}

/// A packet that waits for the next train.
struct HeldPacket {
    var bytes: [UInt8]
    var path: QUICPath
    var ecn: UInt8
}

enum PendingEvent {
    case event(QUICEvent)
    /// The bytes are taken when the event is: until then more may join them.
    case streamReceived(QUICStream)
    case datagramReceived
}
