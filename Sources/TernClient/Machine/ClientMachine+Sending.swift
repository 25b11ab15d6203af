// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore
package import TernMessages
internal import TernTransport

/// One stream per receiver: messages out, answers in, in the same order.
extension ClientMachine {
    /// Streams for messages that are open at once; a server allows at least 100, and some are for other things.
    private static var maximumSendStreams: Int { 64 }
    /// Where the server does not say how long to wait.
    private static var delayAfterRefusal: Duration { .seconds(1) }

    /// Queues a message. ``Effect/accepted(_:)`` says when it has its place, ``Effect/completeSend(_:_:)`` what became of it.
    package mutating func enqueue(
        _ payload: ByteBuffer, to receiver: PartyID, type: MessageType, id: ClientMessageID, now: Instant
    ) -> [Effect] {
        if let closedError { return [.completeSend(id, .failure(closedError))] }
        let limit = MessageHeader.maximumPayloadLength
        guard payload.readableBytes <= limit else {
            // It could not be written: the connection would fail by it, and the next one, and so on.
            let failure = Failure(
                .payloadTooLarge, "a payload of \(payload.readableBytes) bytes; \(limit) are the most")
            return [.completeSend(id, .failure(.refused(failure)))]
        }
        if self.lanes.append(payload, type: type, to: receiver, id: id) {
            self.emit(.accepted(id))
            self.serve(receiver, now)
        }
        return self.takeEffects()
    }

    /// Whoever waits for a place of this message gave up. A message that has its place is sent.
    ///
    /// - Returns: whether it had none.
    package mutating func cancelEnqueue(_ id: ClientMessageID) -> Bool {
        self.lanes.withdraw(id)
    }

    /// Writes what may be written for `receiver` now.
    ///
    /// - Parameter hasTurn: whether it waited for a stream, and there is one now.
    mutating func serve(_ receiver: PartyID, hasTurn: Bool = false, _ now: Instant) {
        guard let link, link.stage == .open, let session = link.session else { return }
        guard self.lanes.stream(of: receiver) != nil || self.mayOpenStream(for: receiver, link, hasTurn, now) else {
            return
        }
        switch self.lanes.next(for: receiver, at: now) {
        case .nothing:
            break
        case .wait(let until):
            self.timers.set(.lane(receiver), at: until)
        case .write(let entries):
            let stream: StreamNumber
            if let present = self.lanes.stream(of: receiver) {
                stream = present
            } else {
                stream = self.makeNumber()
                self.lanes.opened(stream, for: receiver)
                self.emit(.openSendStream(link.number, stream))
            }
            let messages = entries.map {
                OutgoingMessage(
                    type: $0.type, sender: session.answer.user, receiver: receiver, sequence: $0.sequence, id: $0.id,
                    timestamp: .none, isEncrypted: false, payload: $0.payload)
            }
            self.emit(.writeMessages(link.number, stream, messages))
            self.link?.session?.health.beganWaiting(at: now)
            self.setHealthTimer()
        }
    }

    /// Streams are few: the one that is idle for longest makes place; when none is, the receiver waits for its turn.
    private mutating func mayOpenStream(
        for receiver: PartyID, _ link: LinkState, _ hasTurn: Bool, _ now: Instant
    ) -> Bool {
        switch self.lanes.outlook(for: receiver, at: now) {
        case .nothing:
            return false
        case .wait(let until):
            self.timers.set(.lane(receiver), at: until)
            return false
        case .ready:
            let mayHave = hasTurn || !self.lanes.hasStreamless
            guard self.lanes.streamCount >= Self.maximumSendStreams || !mayHave else { return true }
            if mayHave, let idle = self.lanes.takeIdleStream(at: now) {
                self.emit(.finishSendStream(link.number, idle))
                return true
            }
            self.lanes.queueForStream(receiver)
            return false
        }
    }

    /// A stream has nothing to do, or is gone: whoever waits for one gets it.
    private mutating func passOnStream(of receiver: PartyID, _ now: Instant) {
        guard self.lanes.hasStreamless, self.link?.stage == .open else { return }
        guard self.lanes.streamCount < Self.maximumSendStreams || self.lanes.isIdle(receiver, at: now) else { return }
        while let next = self.lanes.nextStreamless() {
            let isReady = if case .ready = self.lanes.outlook(for: next, at: now) { true } else { false }
            self.serve(next, hasTurn: true, now)
            if isReady { return }
        }
    }

    // MARK: Answers

    /// The server answered the oldest message of a stream.
    package mutating func answered(
        _ number: LinkNumber, _ stream: StreamNumber, _ message: Message, now: Instant
    ) -> [Effect] {
        guard self.heard(number, now), let receiver = self.lanes.receiver(of: stream) else { return [] }
        do throws(WireError) {
            switch message.type {
            case .acknowledgement: self.acknowledged(try Acknowledgement(message), stream, receiver, now)
            case .error: self.refused(try Failure(message), stream, receiver, now)
            default: break
            }
        } catch {
            self.violation(error.message, cause: error, now)
        }
        return self.takeEffects()
    }

    private mutating func acknowledged(
        _ answer: Acknowledgement, _ stream: StreamNumber, _ receiver: PartyID, _ now: Instant
    ) {
        guard let session = self.link?.session, answer.receiver == receiver,
            let entry = self.lanes.settled(answer.id, on: stream),
            let channel = ChannelID(sender: PartyID(session.answer.user), receiver: receiver)
        else { return self.violation("an acknowledgement for another message", now) }
        let sent = SentMessage(
            channel: channel, epoch: answer.epoch, sequence: answer.sequence, id: answer.id,
            timestamp: answer.timestamp, durability: answer.durability, carrier: session.carrier,
            isDuplicate: answer.isDuplicate)
        self.emit(.completeSend(entry.id, .success(sent)))
        let copy = ChannelMessage(
            type: entry.type, sender: session.answer.user, senderDevice: session.answer.device, receiver: receiver,
            channel: channel, epoch: answer.epoch, sequence: answer.sequence, previousSequence: nil,
            timestamp: answer.timestamp, id: answer.id, isEncrypted: false, payload: entry.payload)
        self.ownMessageStored(copy, now)
        self.settled(receiver, now)
    }

    private mutating func refused(
        _ failure: Failure, _ stream: StreamNumber, _ receiver: PartyID, _ now: Instant
    ) {
        guard failure.isRetryable else {
            guard let entry = self.lanes.settled(failure.id, on: stream) else {
                return self.violation("an error for another message: \(failure.text.printable())", now)
            }
            self.emit(.completeSend(entry.id, .failure(.refused(failure))))
            return self.settled(receiver, now)
        }
        let asked = failure.retryAfter.map { Duration.milliseconds(Int($0)) } ?? Self.delayAfterRefusal
        let until = now + self.random.lengthened(asked)
        guard let isFirst = self.lanes.refused(failure.id, on: stream, until: until) else {
            return self.violation("an error for another message: \(failure.text.printable())", now)
        }
        // A draining server tells it to everybody; the next one takes the message.
        if isFirst, failure.code != .draining { self.deliver { $0.append(status: .refusedForNow(failure)) } }
        self.link?.session?.health.answered(stillWaiting: self.lanes.inFlightCount > 0, at: now)
        self.setHealthTimer()
        self.serve(receiver, now)
        self.passOnStream(of: receiver, now)
        self.partIfDone(now)
    }

    /// A message is decided about, and there is room for another one.
    private mutating func settled(_ receiver: PartyID, _ now: Instant) {
        self.link?.session?.wasUseful = true
        self.link?.session?.health.answered(stillWaiting: self.lanes.inFlightCount > 0, at: now)
        self.setHealthTimer()
        for entry in self.lanes.admit() {
            self.emit(.accepted(entry.id))
            if entry.receiver != receiver { self.serve(entry.receiver, now) }
        }
        self.serve(receiver, now)
        self.passOnStream(of: receiver, now)
        self.partIfDone(now)
        self.finishIfDone(now)
    }

    /// A stream for messages ended, without the connection. What had no answer is written on another one, a little later.
    package mutating func sendStreamEnded(_ number: LinkNumber, _ stream: StreamNumber, now: Instant) -> [Effect] {
        guard self.heard(number, now), let lost = self.lanes.lost(stream) else { return [] }
        let policy = self.configuration.reconnecting
        let delay = policy.delay(beforeAttempt: lost.failures, random: self.random.part())
        self.lanes.hold(lost.receiver, until: now + delay)
        self.link?.session?.health.answered(stillWaiting: self.lanes.inFlightCount > 0, at: now)
        self.serve(lost.receiver, now)
        self.passOnStream(of: lost.receiver, now)
        self.partIfDone(now)
        return self.takeEffects()
    }
}
