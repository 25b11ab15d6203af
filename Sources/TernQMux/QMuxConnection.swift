// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernQMuxCore
internal import TernTLS
internal import TernTransport

/// Who made a connection and hears how it came about; every call comes on the connection's event loop.
protocol QMuxConnectionOwner: AnyObject, Sendable {
    /// The application may have it: TLS is done, the peer verified, and its transport parameters came; or, at a server, it sent
    /// 0-RTT data. Once.
    func connectionReady(_ connection: QMuxConnection)
    /// TLS is done and the peer verified, and the connection was or is handed out. Once.
    func connectionFinishedHandshake(_ connection: QMuxConnection)
    /// The connection ended, or never came about. Once.
    func connectionEnded(_ connection: QMuxConnection, reason: TransportError)
    /// Its TCP connection is gone. Once, the last call.
    func connectionFinished(_ connection: QMuxConnection)
}

/// One QMux connection on its event loop: a TCP channel, a TLS stream, a ``QMuxConnectionCore``, and the turns between them.
///
/// `@unchecked Sendable`: every stored variable is read and written on ``eventLoop`` only, which each entry point
/// checks. ``applicationProtocol`` and ``peerCertificates`` are written once, when the connection is handed out, before any
/// other thread can have a reference: a server that is told before the handshake is done asks its clients for no certificates.
final class QMuxConnection: LoopConnection, @unchecked Sendable {
    let eventLoop: any EventLoop
    let carrier = Carrier.tls
    let role: ConnectionRole
    let limits: ConnectionLimits
    let capabilities = CarrierCapabilities(
        hasUnreliableDatagrams: false, hasIndependentStreams: false, canMigrate: false)
    private(set) var applicationProtocol = ""
    private(set) var peerCertificates: [[UInt8]] = []

    let tls: TLSStream
    private var owner: (any QMuxConnectionOwner)?
    /// `nil` until TLS is done, or early data is sent or came.
    var core: QMuxConnectionCore?
    /// What a client was given to send as early as possible, and the streams that carry it.
    let replayable: [ReplayableStream]
    var replayableStreams: [StreamID] = []
    var earlyData = EarlyDataOutcome.notOffered
    /// What the handler has to hear besides what the core says.
    var occurrences: [ConnectionEvent] = []
    var keysUpdatedAt: NIODeadline?
    var deliveries = DeliveryPromises()
    var hasSettledEnd = false
    private(set) var output = QMuxOutput()
    /// `nil` before the channel is active and after it is gone.
    private(set) var context: ChannelHandlerContext?
    private(set) var socket: TCPSocket?
    var handler: (any LoopConnectionHandler)?

    var isStarted = false
    private var isHandedOut = false
    /// TLS is done, and with it what was sent early is decided.
    private(set) var isSecure = false
    private var hasToldHandshake = false
    private var hasToldOwnerEnd = false
    private var didShutDownSending = false
    /// The peer's close_notify or end of file came.
    private var hasHeardEnd = false
    private var isPumping = false
    private var isPumpScheduled = false
    private var hasWork = false
    let began: NIODeadline
    private(set) var handshakeDuration: TimeAmount?
    private var timer: Scheduled<Void>?
    private var timerDeadline: NIODeadline?
    private(set) var failure: TransportError?

    init(
        role: ConnectionRole, session: TLSSession, limits: ConnectionLimits, replayable: [ReplayableStream] = [],
        eventLoop: any EventLoop, owner: any QMuxConnectionOwner
    ) {
        self.replayable = replayable
        self.role = role
        self.limits = limits
        self.eventLoop = eventLoop
        self.tls = TLSStream(session: session)
        self.owner = owner
        self.began = .now()
    }

    /// What is encrypted in one turn: enough to fill the socket, little enough to let others have theirs.
    private static let bytesPerTurn = 512 << 10
    /// Plaintext that is decrypted before it is handed on: what is still in the fastest cache is cheapest to copy.
    private static let plaintextAtOnce = 16 << 10
    /// Ciphertext that goes to the socket at once: seven full records in 128 KiB.
    private static let ciphertextAtOnce = 7 * 16 << 10
}

// MARK: The channel's facts

extension QMuxConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    func handlerAdded(context: ChannelHandlerContext) {
        guard context.channel.isActive else { return }
        self.begin(context)
    }

    func channelActive(context: ChannelHandlerContext) {
        self.begin(context)
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // Nobody looks at what comes after the end, so nobody keeps it.
        guard self.failure == nil, !self.hasHeardEnd else { return }
        self.tls.receive(self.unwrapInboundIn(data))
        self.advance()
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.pump()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { self.schedulePump() }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case .some(ChannelEvent.inputClosed) = event as? ChannelEvent else {
            return context.fireUserInboundEventTriggered(event)
        }
        self.tls.receiveEndOfFile()
        self.advance()
        self.pump()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.fail(QMuxTransport.lostError(error, limits: self.limits, peer: context.channel.remoteAddress))
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.fail(TransportError(.carrierLost, message: "the TCP connection ended", initiator: .peer))
        self.finish()
        context.fireChannelInactive()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.finish()
    }

    private func begin(_ context: ChannelHandlerContext) {
        guard self.context == nil, self.failure == nil else { return }
        self.context = context
        self.socket = TCPSocket(context.channel)
        self.armTimer()
        self.offerEarlyData()
        self.advance()
        self.pump()
    }

    private func finish() {
        self.context = nil
        self.socket = nil
        self.timer?.cancel()
        self.timer = nil
        guard let owner else { return }
        self.owner = nil
        owner.connectionFinished(self)
    }
}

// MARK: Turns

extension QMuxConnection {
    /// Takes what arrived: the handshake first, then records.
    private func advance() {
        guard self.failure == nil else { return }
        do throws(TransportError) {
            let isSecure = try self.tls.handshake()
            self.receiveEarlyData()
            guard isSecure else {
                self.hasWork = true
                return
            }
            if !self.isSecure {
                self.isSecure = true
                self.settleEarlyData()
            }
            let core = self.core ?? self.makeCore()
            try self.receiveRecords(core)
            self.rememberTickets()
        } catch {
            self.fail(error)
        }
        self.hasWork = true
    }

    private func receiveRecords(_ core: QMuxConnectionCore) throws(TransportError) {
        let memory = QMuxMemory.ofThisThread
        var plaintext = memory.takePlaintext()
        defer { memory.plaintext = plaintext }
        var outcome = TLSStream.ReadOutcome.bytes
        while case .bytes = outcome {
            plaintext.clear()
            outcome = try self.tls.read(into: &plaintext, limit: Self.plaintextAtOnce)
            guard plaintext.readableBytes > 0 else { continue }
            core.receive(plaintext, following: self.tls.waitingCiphertext, now: .now())
        }
        if case .closed = outcome {
            self.hasHeardEnd = true
            core.peerFinished(now: .now())
        }
    }

    func makeCore() -> QMuxConnectionCore {
        let core = QMuxConnectionCore(
            role: self.role, limits: self.limits, now: .now(), handshakeStart: self.began)
        self.core = core
        return core
    }

    /// The carrier or the handshake broke.
    func fail(_ error: TransportError) {
        if self.failure == nil { self.failure = error }
        self.core?.carrierLost(error, now: .now())
        self.schedulePump()
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

    /// Goes on after the sockets of this event loop had their turn. `execute` would not do: an event loop runs tasks until
    /// there are none before it looks at its sockets again.
    private func schedulePumpAfterOthers() {
        guard !self.isPumpScheduled else { return }
        self.isPumpScheduled = true
        self.eventLoop.scheduleTask(in: .microseconds(50)) {
            self.isPumpScheduled = false
            self.pump()
        }
    }

    /// Tells what happened, sends what the channel takes, arms the timer.
    private func pump() {
        guard !self.isPumping else { return }
        self.isPumping = true
        var allowance = Self.bytesPerTurn
        repeat {
            self.hasWork = false
            self.tellEvents()
            self.transmit(&allowance)
            // What was written made room for more, and ended streams: hearing of that lets the peer open others.
            if self.tellEvents() { self.hasWork = true }
        } while self.hasWork && allowance > 0 && self.context?.channel.isWritable ?? false
        self.isPumping = false
        self.settleDeliveries()
        if allowance <= 0 { self.schedulePumpAfterOthers() }
        self.endIfNeeded()
        self.armTimer()
    }

    /// - Returns: whether there was something to tell.
    @discardableResult
    private func tellEvents() -> Bool {
        self.handOutIfReady()
        var hasTold = false
        while let handler = self.handler, !self.occurrences.isEmpty {
            handler.connectionEventOccurred(self.occurrences.removeFirst())
            hasTold = true
        }
        while let handler = self.handler, let event = self.core?.nextEvent() {
            self.tell(event, to: handler)
            hasTold = true
        }
        return hasTold
    }

    private func handOutIfReady() {
        guard let core, core.isEstablished, core.closeReason == nil else { return }
        self.openReplayableStreams()
        if !self.isHandedOut {
            self.isHandedOut = true
            self.applicationProtocol = self.tls.session.applicationProtocol ?? ""
            self.peerCertificates = self.tls.session.peerCertificates
            self.owner?.connectionReady(self)
        }
        guard self.isHandshakeComplete, !self.hasToldHandshake else { return }
        self.hasToldHandshake = true
        self.handshakeDuration = .now() - self.began
        self.owner?.connectionFinishedHandshake(self)
        self.occurrences.append(ConnectionEvent(.handshakeConfirmed, message: "the TLS handshake is done"))
    }

    /// Writes only what the channel takes now: what waits longer can still be overtaken by something more urgent.
    private func transmit(_ allowance: inout Int) {
        guard let context else { return }
        let memory = QMuxMemory.ofThisThread
        if let core, self.isSecure, self.failure == nil {
            var record = memory.takeRecord()
            defer { memory.record = record }
            while context.channel.isWritable, allowance > 0, core.write(into: &record, now: .now()) {
                allowance -= record.readableBytes
                do throws(TransportError) {
                    if self.tls.outboundCiphertext == 0 {
                        self.tls.encrypt(into: memory.takeCiphertext(for: record.readableBytes))
                    }
                    try self.tls.write(record)
                } catch {
                    self.fail(error)
                    break
                }
                if self.tls.outboundCiphertext >= Self.ciphertextAtOnce { self.flushCiphertext(context, memory) }
            }
        }
        self.flushCiphertext(context, memory)
    }

    private func flushCiphertext(_ context: ChannelHandlerContext, _ memory: QMuxMemory) {
        guard let ciphertext = self.tls.takeCiphertext() else { return }
        memory.ciphertexts.keep(ciphertext)
        self.output.wrote(ciphertext.readableBytes, streamFrames: self.core?.streamFramesWritten ?? (0, 0))
        context.writeAndFlush(self.wrapOutboundOut(ciphertext), promise: nil)
    }

    /// Does what the end of the connection asks for.
    private func endIfNeeded() {
        let reason = self.core?.closeReason ?? self.failure
        guard let reason else { return }
        if !self.hasToldOwnerEnd {
            self.hasToldOwnerEnd = true
            self.owner?.connectionEnded(self, reason: reason)
        }
        guard let context else { return }
        guard let core, self.failure == nil else { return context.close(promise: nil) }
        switch core.carrierDemand {
        case .keepOpen:
            break
        case .finishSending:
            self.shutDownSending(context)
        case .close:
            self.shutDownSending(context)
            context.close(promise: nil)
        }
    }

    /// close_notify, then FIN.
    private func shutDownSending(_ context: ChannelHandlerContext) {
        guard !self.didShutDownSending else { return }
        self.didShutDownSending = true
        self.tls.close()
        self.flushCiphertext(context, .ofThisThread)
        context.close(mode: .output, promise: nil)
    }

    private func armTimer() {
        guard self.context != nil else { return }
        let deadline = self.nextDeadline
        guard deadline != self.timerDeadline || self.timer == nil else { return }
        // A timer that is early looks again; one that is late is too late.
        if let armed = self.timerDeadline, self.timer != nil, let deadline, armed <= deadline { return }
        self.timer?.cancel()
        self.timer = nil
        self.timerDeadline = deadline
        guard let deadline else { return }
        self.timer = self.eventLoop.scheduleTask(deadline: deadline) {
            self.timer = nil
            self.timerFired()
        }
    }

    /// What was closed before the handshake was done has something to say when it is, and is not waited for longer than for the
    /// answer to a close.
    private var nextDeadline: NIODeadline? {
        guard !self.isSecure else { return self.core?.nextDeadline }
        let handshake = self.began + self.limits.handshakeTimeout
        guard let core, core.closeReason != nil, let drained = core.nextDeadline else { return handshake }
        return min(handshake, drained)
    }

    private func timerFired() {
        guard self.context != nil else { return }
        let now = NIODeadline.now()
        if let core, self.isSecure || core.closeReason != nil, let deadline = core.nextDeadline, deadline <= now {
            core.deadlineReached(now: now)
        }
        if !self.isSecure, now >= self.began + self.limits.handshakeTimeout {
            let timeout = self.limits.handshakeTimeout.inWords
            self.fail(
                TransportError(
                    .timedOut, message: "the TLS handshake did not finish within \(timeout) (handshakeTimeout)",
                    isRetrySafe: true))
        }
        self.hasWork = true
        self.pump()
    }

    private func tell(_ event: QMuxEvent, to handler: any LoopConnectionHandler) {
        switch event {
        case .streamOpened(let stream): handler.streamOpened(stream)
        case .streamReceived(let stream, let bytes, let finished):
            handler.streamReceived(stream, bytes: bytes, finished: finished)
        case .streamWasReset(let stream, let code): handler.streamWasReset(stream, code: code)
        case .streamWasStopped(let stream, let code): handler.streamWasStopped(stream, code: code)
        case .streamWritable(let stream): handler.streamWritable(stream)
        case .streamClosed(let stream): handler.streamClosed(stream)
        case .streamsAvailable(let direction): handler.streamsAvailable(direction)
        case .datagramReceived(let bytes): handler.datagramReceived(bytes)
        case .datagramSettled(let tag, let fate): handler.datagramSettled(tag, fate: fate)
        case .connectionClosed(let reason):
            self.handler = nil
            // Who hears of the end may end the process: our CONNECTION_CLOSE goes first.
            var allowance = Self.bytesPerTurn
            self.transmit(&allowance)
            handler.connectionClosed(reason)
        }
    }
}
