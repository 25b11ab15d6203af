// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import NIOCore
internal import TernQUICCore
internal import TernTransport

/// Who routes datagrams to a connection; every call comes on the connection's event loop.
protocol QUICConnectionOwner: AnyObject {
    func connectionIDIssued(_ id: QUICConnectionID, by connection: QUICConnection)
    func connectionIDRetired(_ id: QUICConnectionID, by connection: QUICConnection)
    /// 0-RTT data came: the application may have the connection before its handshake is done.
    func connectionHasEarlyData(_ connection: QUICConnection)
    /// The handshake is done and the peer verified.
    func connectionEstablished(_ connection: QUICConnection)
    /// A new path is in use.
    func connectionChangedPath(_ connection: QUICConnection)
    func connection(_ connection: QUICConnection, settled path: QUICPath, _ outcome: QUICPathOutcome)
    /// A probed path is not used any more.
    func connection(_ connection: QUICConnection, released path: QUICPath)
    /// Looks at another path, or takes it.
    func connection(
        _ connection: QUICConnection, goesTo localAddress: SocketAddress?, probes: Bool
    ) -> EventLoopFuture<PathReport>
    /// The server gave us a token for the next connection.
    func connectionReceived(token: [UInt8], by connection: QUICConnection)
    /// It has more to send than its socket takes: ``QUICConnection/pump()`` when the socket is writable.
    func connectionIsBlocked(_ connection: QUICConnection)
    /// The connection ended; it may still owe the peer a CONNECTION_CLOSE.
    func connectionEnded(_ connection: QUICConnection, reason: TransportError)
    /// Nothing is left to do: forget it. The last call.
    func connectionFinished(_ connection: QUICConnection)
}

/// One QUIC connection on its event loop: turns of the loop, one timer, and the order of events around
/// ``QUICConnectionCore``.
///
/// `@unchecked Sendable`: every stored variable is read and written on ``eventLoop`` only, which each entry point
/// checks; the exceptions are constants. ``applicationProtocol`` and ``peerCertificates`` are written once, when the
/// handshake is done, before any other thread can have a reference.
final class QUICConnection: LoopConnection, @unchecked Sendable {
    let eventLoop: any EventLoop
    let carrier = Carrier.quic
    let role: ConnectionRole
    let limits: ConnectionLimits
    var capabilities: CarrierCapabilities {
        CarrierCapabilities(
            hasUnreliableDatagrams: true, hasIndependentStreams: true, canMigrate: self.role == .client,
            reportsDatagramDelivery: true)
    }
    private(set) var applicationProtocol = ""
    private(set) var peerCertificates: [[UInt8]] = []

    let core: QUICConnectionCore
    /// The socket of the path in use, or of a server.
    var socket: UDPSocket
    /// A client's sockets of other paths: of a new one until it is validated, of an old one for a moment.
    var otherSockets: [UDPSocket] = []
    /// The owner will pump when the turn of the event loop ends.
    var isInTurn = false
    /// Routes to us; `nil` when it has forgotten us.
    private(set) var owner: (any QUICConnectionOwner)?

    private var handler: (any LoopConnectionHandler)?
    private var hasToldEnd = false
    /// What happened and was not told to the handler yet: it has not started, or is being told.
    private var events = Deque<QUICEvent>()
    /// Datagrams received since the events were drained.
    private var undrained = 0
    private var datagramsHeld = 0
    private var datagramsShed: UInt64 = 0
    private(set) var closeReason: TransportError?

    /// The address that the routing table chose, where the socket is bound to none.
    var routedLocalAddress: SocketAddress?

    private var rebinding = HandshakeRebinding()
    /// Datagrams received since something was sent.
    private var unanswered = 0
    private var receivedAt = NIODeadline.distantPast
    /// The handler was told of bytes since something was sent, so an answer may come.
    private var mayAnswer = false
    /// Bytes whose credit was returned since something was sent.
    private var unsentCredit = 0
    private var hasWork = false
    private var isPumping = false
    private var isPumpScheduled = false
    private var timer = LoopTimer()

    init(core: QUICConnectionCore, socket: UDPSocket, limits: ConnectionLimits, owner: any QUICConnectionOwner) {
        self.eventLoop = socket.eventLoop
        self.role = core.role
        self.core = core
        self.socket = socket
        self.limits = limits
        self.owner = owner
    }

    var isStarted: Bool { self.handler != nil || self.hasToldEnd }
    /// The owner has forgotten the connection.
    var isFinished: Bool { self.owner == nil }
}

// MARK: What the owner calls

extension QUICConnection {
    /// Takes a datagram; ``pump()`` must follow in the same turn.
    func receive(_ datagram: UnsafeRawBufferPointer, path: QUICPath, ecn: ECN, now: NIODeadline) {
        // Nobody has started the connection and the peer goes on: what is not taken, it sends again.
        guard self.events.count < Self.maximumEventsHeld else { return }
        let path =
            self.role == .client
            ? path
            : self.rebinding.pathForConnection(
                path, first: self.core.path, isEstablished: self.core.isEstablished)
        self.core.receive(datagram, path: path, ecn: ecn, now: now)
        self.unanswered += 1
        self.receivedAt = now
        // Not after each: the bytes of a stream that arrive together are told together.
        self.undrained += 1
        guard self.undrained >= Self.datagramsPerDrain, !self.isPumping else { return }
        self.isPumping = true
        self.drainEvents()
        self.isPumping = false
    }

    /// Ends the connection without a word to the peer: its socket is gone.
    func abandon(_ reason: TransportError) {
        self.timer.cancel()
        if self.closeReason == nil { self.record(.closed(reason)) }
        self.finish()
        self.schedulePump()
    }

    private static let maximumEventsHeld = 16_384
    private static let datagramsPerDrain = 64
}

// MARK: Turns

extension QUICConnection {
    /// Tells the handler what happened, sends what is to be sent, and arms the timer.
    func pump() {
        self.hasWork = true
        self.takeTurn()
    }

    /// As ``pump()``, after datagrams came.
    ///
    /// A single one is not acknowledged at once if the application was told of bytes in it: its answer comes in a moment
    /// and carries the acknowledgement (RFC 9000, section 13.2.1 asks for one at every second packet). Otherwise each
    /// message would cost four packets instead of two.
    func pumpAfterReceiving() {
        self.takeTurn()
    }

    private func takeTurn() {
        guard !self.isPumping else { return }
        self.isPumping = true
        var rounds = 0
        var sendsMore = true
        repeat {
            let mustSend = self.hasWork
            self.hasWork = false
            self.drainEvents()
            if !mustSend, self.awaitsAnswer { break }
            sendsMore = self.transmit()
            self.drainEvents()
            rounds += 1
        } while self.hasWork && sendsMore && rounds < Self.roundsPerTurn
        self.isPumping = false
        guard !self.isFinished else { return self.timer.cancel() }
        if self.core.isFinished {
            self.timer.cancel()
            self.finish()
        } else if self.isBlocked {
            // The owner pumps when the socket takes datagrams again; time goes on.
            self.owner?.connectionIsBlocked(self)
            self.armTimer()
        } else if !sendsMore || self.hasWork {
            // Let the event loop read first: a task that submits itself at once would starve it.
            self.timer.armNoLater(than: .now() + Self.breath, for: self)
        } else {
            self.armTimer()
        }
    }

    /// Pumps when the current turn of the event loop ends.
    func schedulePump() {
        self.hasWork = true
        guard !self.isPumping, !self.isPumpScheduled else { return }
        self.isPumpScheduled = true
        self.eventLoop.execute {
            self.isPumpScheduled = false
            self.pump()
        }
    }

    private var awaitsAnswer: Bool {
        self.mayAnswer && self.unanswered == 1 && !self.hasWork && self.core.isConfirmed && !self.core.hasQueuedData
    }

    /// - Returns: whether everything that may be sent now was.
    private func transmit() -> Bool {
        guard !self.isFinished else { return true }
        self.unanswered = 0
        self.mayAnswer = false
        self.unsentCredit = 0
        for _ in 0..<Self.trainsPerRound {
            guard !self.isBlocked else { return false }
            guard let transmit = self.core.nextTransmit(into: self.socket.trainBuffer, now: .now()) else { return true }
            let bytes = UnsafeRawBufferPointer(rebasing: self.socket.trainBuffer[..<transmit.byteCount])
            let path = self.rebinding.pathForSocket(transmit.path, first: self.core.path)
            let train = DatagramTrain(segmentSize: transmit.segmentSize, path: path, ecn: transmit.ecn)
            guard self.send(bytes, as: train) else { return false }
            if transmit.isLast, !self.core.hasQueuedData { return true }
        }
        return false
    }

    private func armTimer() {
        guard let deadline = self.core.nextDeadline else { return self.timer.cancel() }
        // The deadline may be the next instant of the pacer, of no use when nothing waits to be sent.
        let pause = self.core.hasQueuedData ? Self.breath : Self.idlePause
        self.timer.armNoLater(than: max(deadline, .now() + pause), for: self)
    }

    /// Trains are up to 64 KiB: one connection sends at most 1 MiB before others of its event loop have a turn.
    private static let trainsPerRound = 8
    private static let roundsPerTurn = 2
    /// A timer that is due at once would keep the event loop from reading.
    private static let breath = TimeAmount.microseconds(20)
    private static let idlePause = TimeAmount.milliseconds(1)
    private var creditStep: Int { min(self.limits.streamWindow, self.limits.connectionWindow) / 16 }
}

extension QUICConnection: NIOScheduledCallbackHandler {
    func handleScheduledCallback(eventLoop: some EventLoop) {
        self.timer.fired()
        guard !self.isFinished else { return }
        let now = NIODeadline.now()
        // The timer was armed for an earlier datagram: the latest has its own time.
        if self.awaitsAnswer, self.receivedAt + Self.idlePause > now { return self.armTimer() }
        if let deadline = self.core.nextDeadline, deadline <= now {
            self.core.deadlineReached(now: now)
        }
        self.pump()
    }
}

// MARK: Events

extension QUICConnection {
    private func drainEvents() {
        self.undrained = 0
        self.tellHeldEvents()
        while let event = self.core.nextEvent() {
            self.take(event)
            self.tellHeldEvents()
        }
    }

    private func tellHeldEvents() {
        while let handler = self.handler, let event = self.events.popFirst() {
            self.tell(event, to: handler)
        }
    }

    /// Deals with what concerns the driver and keeps the rest for the handler.
    private func take(_ event: QUICEvent) {
        switch event {
        case .connectionIDIssued(let id): self.owner?.connectionIDIssued(id, by: self)
        case .connectionIDRetired(let id): self.owner?.connectionIDRetired(id, by: self)
        case .earlyDataReceived(let applicationProtocol):
            self.applicationProtocol = applicationProtocol
            self.owner?.connectionHasEarlyData(self)
        case .handshakeCompleted(let applicationProtocol):
            self.applicationProtocol = applicationProtocol
            self.peerCertificates = self.core.peerCertificates
            self.owner?.connectionEstablished(self)
        case .datagramReceived: self.hold(datagram: event)
        case .tokenReceived(let token): self.owner?.connectionReceived(token: token, by: self)
        case .pathChanged:
            self.owner?.connectionChangedPath(self)
            self.record(event)
        case .pathSettled(let path, let outcome):
            self.owner?.connection(self, settled: path, outcome)
            if outcome == .failed { self.record(event) }
        case .pathReleased(let path): self.owner?.connection(self, released: path)
        default: self.record(event)
        }
    }

    private func record(_ event: QUICEvent) {
        guard self.closeReason == nil else { return }
        self.events.append(event)
        if case .closed(let reason) = event {
            self.closeReason = reason
            self.owner?.connectionEnded(self, reason: reason)
        }
    }

    /// Datagrams that nobody reads yet give way to newer ones.
    private func hold(datagram: QUICEvent) {
        if self.datagramsHeld >= self.limits.bufferedDatagrams {
            let oldest = self.events.firstIndex { if case .datagramReceived = $0 { true } else { false } }
            guard let oldest else { return }
            self.events.remove(at: oldest)
            self.datagramsHeld -= 1
            self.datagramsShed += 1
        }
        self.datagramsHeld += 1
        self.record(datagram)
    }

    private func tell(_ event: QUICEvent, to handler: any LoopConnectionHandler) {
        switch event {
        case .streamOpened(let stream): handler.streamOpened(stream)
        case .streamReceived(let stream, let bytes, let finished):
            self.mayAnswer = true
            handler.streamReceived(stream, bytes: bytes, finished: finished)
        case .streamWasReset(let stream, let code): handler.streamWasReset(stream, code: code)
        case .streamWasStopped(let stream, let code): handler.streamWasStopped(stream, code: code)
        case .streamWritable(let stream): handler.streamWritable(stream)
        case .streamClosed(let stream): handler.streamClosed(stream)
        case .streamsAvailable(let direction): handler.streamsAvailable(direction)
        case .datagramReceived(let bytes):
            self.datagramsHeld -= 1
            self.mayAnswer = true
            handler.datagramReceived(bytes)
        case .handshakeConfirmed:
            handler.connectionEventOccurred(
                ConnectionEvent(.handshakeConfirmed, message: "the handshake is confirmed"))
        case .pathChanged(let path):
            handler.connectionEventOccurred(
                ConnectionEvent(.pathChanged, message: "the path is now \(path.local) to \(path.remote)"))
        case .closed(let reason):
            self.hasToldEnd = true
            self.handler = nil
            // Who hears of the end may end the process: our CONNECTION_CLOSE goes first.
            _ = self.transmit()
            handler.connectionClosed(reason)
        case .datagramSettled(let tag, let fate): handler.datagramSettled(tag, fate: fate)
        case .keysUpdated:
            handler.connectionEventOccurred(ConnectionEvent(.keysUpdated, message: "packets are protected by new keys"))
        case .pathMTUChanged(let size):
            handler.connectionEventOccurred(
                ConnectionEvent(.pathMTUChanged, message: "UDP payloads are up to \(size) bytes"))
        case .earlyDataDecided(let accepted):
            handler.connectionEventOccurred(
                accepted
                    ? ConnectionEvent(.earlyDataAccepted, message: "the server took the data sent early")
                    : ConnectionEvent(.earlyDataRejected, message: "the data sent early was sent again"))
        case .pathSettled(let path, _):
            handler.connectionEventOccurred(
                ConnectionEvent(.pathFailed, message: "no answer came on the path from \(path.local) to \(path.remote)")
            )
        case .connectionIDIssued, .connectionIDRetired, .handshakeCompleted, .earlyDataReceived, .tokenReceived,
            .pathReleased:
            break
        }
    }

    private func finish() {
        guard let owner else { return }
        self.owner = nil
        owner.connectionFinished(self)
    }
}

// MARK: LoopConnection

extension QUICConnection {
    var localAddress: SocketAddress? {
        self.eventLoop.preconditionInEventLoop()
        return self.routedLocalAddress ?? self.core.path.local.withoutIPv4Mapping
    }

    var remoteAddress: SocketAddress? {
        self.eventLoop.preconditionInEventLoop()
        return self.core.path.remote.withoutIPv4Mapping
    }

    var maximumDatagramSize: Int {
        self.eventLoop.preconditionInEventLoop()
        return self.core.maximumDatagramSize
    }

    func statistics() -> ConnectionStatistics {
        self.eventLoop.preconditionInEventLoop()
        var statistics = self.core.statistics()
        statistics.datagramsDropped += self.datagramsShed
        return statistics
    }

    var isHandshakeComplete: Bool {
        self.eventLoop.preconditionInEventLoop()
        return self.core.isEstablished
    }

    var earlyData: EarlyDataOutcome {
        self.eventLoop.preconditionInEventLoop()
        return self.core.earlyData
    }

    var replayableStreams: [StreamID] {
        self.eventLoop.preconditionInEventLoop()
        return self.core.replayableStreams
    }

    func isReplayable(_ stream: StreamID) -> Bool {
        self.eventLoop.preconditionInEventLoop()
        return self.core.isReplayable(stream)
    }

    func exportKeyingMaterial(label: String, context: [UInt8], count: Int) throws(TransportError) -> [UInt8] {
        self.eventLoop.preconditionInEventLoop()
        return try self.core.exportKeyingMaterial(label: label, context: context, count: count)
    }

    func start(handler: any LoopConnectionHandler) {
        self.eventLoop.preconditionInEventLoop()
        precondition(!self.isStarted, "a connection is started once")
        self.handler = handler
        self.schedulePump()
    }

    func openStream(_ direction: StreamDirection) throws(TransportError) -> StreamID? {
        try self.checkOpen()
        let stream = try self.core.openStream(direction)
        self.schedulePump()
        return stream
    }

    func write(_ bytes: ByteBuffer, to stream: StreamID, finish: Bool) throws(TransportError) -> Bool {
        try self.checkOpen()
        let isBelowWatermark = try self.core.write(bytes, to: stream, finish: finish)
        self.schedulePump()
        return isBelowWatermark
    }

    func reset(_ stream: StreamID, code: UInt64) {
        self.eventLoop.preconditionInEventLoop()
        guard self.closeReason == nil else { return }
        self.core.reset(stream, code: code)
        self.schedulePump()
    }

    func stopSending(_ stream: StreamID, code: UInt64) {
        self.eventLoop.preconditionInEventLoop()
        guard self.closeReason == nil else { return }
        self.core.stopSending(stream, code: code)
        self.schedulePump()
    }

    func setPriority(_ priority: StreamPriority, of stream: StreamID) {
        self.eventLoop.preconditionInEventLoop()
        guard self.closeReason == nil else { return }
        self.core.setPriority(priority, of: stream)
    }

    func consumed(_ count: Int, of stream: StreamID) {
        self.eventLoop.preconditionInEventLoop()
        guard self.closeReason == nil else { return }
        self.unsentCredit += count
        let freesStream = self.core.consumed(count, of: stream)
        // ngtcp2 tells the peer when half a window is free; until then there is nothing to send.
        if freesStream || self.unsentCredit >= self.creditStep { self.schedulePump() }
    }

    func sendDatagram(_ bytes: ByteBuffer) throws(TransportError) -> DatagramOutcome {
        try self.checkOpen()
        let outcome = try self.core.sendDatagram(bytes)
        self.schedulePump()
        return outcome
    }

    func sendDatagram(_ bytes: ByteBuffer, tag: UInt64) throws(TransportError) -> DatagramOutcome {
        try self.checkOpen()
        let outcome = try self.core.sendDatagram(bytes, tag: tag)
        self.schedulePump()
        return outcome
    }

    func updateKeys() throws(TransportError) {
        try self.checkOpen()
        // Also when it is refused: ngtcp2 prepares the next keys when it is asked for packets.
        defer { self.schedulePump() }
        try self.core.updateKeys(now: .now())
    }

    func close(code: UInt64, reason: String) {
        self.eventLoop.preconditionInEventLoop()
        guard self.closeReason == nil else { return }
        self.core.close(code: code, reason: reason)
        self.schedulePump()
    }

    private func checkOpen() throws(TransportError) {
        self.eventLoop.preconditionInEventLoop()
        if let closeReason { throw closeReason }
    }
}
