// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernQUICCore
internal import TernTransport

// Turns of the event loop: what happened is told, what is to be sent is sent, the timer is armed.
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
        self.settleDeliveries()
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
    func transmit() -> Bool {
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
        guard var deadline = self.core.nextDeadline else { return self.timer.cancel() }
        if self.closeReason != nil { deadline = Self.endOfPeriod(deadline) }
        // The deadline may be the next instant of the pacer, of no use when nothing waits to be sent.
        let pause = self.core.hasQueuedData ? Self.breath : Self.idlePause
        self.timer.armNoLater(than: max(deadline, .now() + pause), for: self)
    }

    /// Nothing happens at the end of a connection's silence but that it is forgotten. It may last longer (RFC 9000, section 10.2,
    /// wants three probe timeouts at least), so that many end in one turn of the loop.
    private static func endOfPeriod(_ deadline: NIODeadline) -> NIODeadline {
        let period = UInt64(Self.silencePeriod.nanoseconds)
        let periods = deadline.uptimeNanoseconds / period + 1
        let (end, overflows) = periods.multipliedReportingOverflow(by: period)
        return overflows || end > UInt64(Int64.max) ? deadline : .uptimeNanoseconds(end)
    }

    private static let silencePeriod = TimeAmount.milliseconds(64)

    /// Trains are up to 64 KiB: one connection sends at most 1 MiB before others of its event loop have a turn.
    private static let trainsPerRound = 8
    private static let roundsPerTurn = 2
    /// A timer that is due at once would keep the event loop from reading.
    private static let breath = TimeAmount.microseconds(20)
    private static let idlePause = TimeAmount.milliseconds(1)
    var creditStep: Int { min(self.limits.streamWindow, self.limits.connectionWindow) / 16 }
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
