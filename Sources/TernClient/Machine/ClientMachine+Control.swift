// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernMessages
internal import TernTransport

/// The control stream, datagrams, receipts and the health of the link.
extension ClientMachine {
    /// Many receipts become one: a receipt is worth waiting this long for the next.
    private static var receiptDelay: Duration { .milliseconds(50) }
    /// Where the server does not say how long to wait.
    private static var delayAfterRefusal: Duration { .seconds(1) }
    /// Channels of which the state is asked for, to know whether marks are for them, at once.
    private static var statesAtOnce: Int { 4 }

    /// Something came over a link.
    ///
    /// - Returns: whether it is the present one.
    mutating func heard(_ number: LinkNumber, _ now: Instant) -> Bool {
        guard self.link?.number == number, self.link?.session != nil else { return false }
        self.link?.session?.health.heard(at: now)
        return true
    }

    /// A message came on the control stream.
    package mutating func controlArrived(_ number: LinkNumber, _ message: Message, now: Instant) -> [Effect] {
        guard self.heard(number, now) else { return [] }
        do throws(WireError) {
            switch message.type {
            case .inbox:
                self.announced(try InboxNotice(message), now)
            case .receipt:
                let receipt = try Receipt(message)
                self.deliver { $0.append(receipt) }
            case .goOffline:
                self.move(try GoOffline(message), now)
            case .error:
                self.controlRefused(try Failure(message), now)
            default:
                break
            }
        } catch {
            self.violation(error.message, cause: error, now)
        }
        return self.takeEffects()
    }

    /// Typing or presence of somebody.
    package mutating func noticed(_ number: LinkNumber, _ notice: LiveNotice, now: Instant) -> [Effect] {
        guard self.heard(number, now) else { return [] }
        self.deliver { $0.append(notice) }
        return self.takeEffects()
    }

    package mutating func notify(
        _ type: MessageType, _ state: LiveNotice.State, to receiver: PartyID
    ) -> [Effect] {
        guard let link, link.stage == .open, let user = link.session?.answer.user else { return [] }
        let notice = LiveNotice(type: type, state: state, sender: user, receiver: receiver)
        return [.sendDatagram(link.number, notice.message)]
    }

    mutating func writeControl(_ messages: [Message]) {
        guard let link, link.session != nil, !messages.isEmpty else { return }
        self.link?.controlBacklog += 1
        self.emit(.writeControl(link.number, messages))
    }

    /// The connection took what was to be written on the control stream.
    package mutating func controlWritten(_ number: LinkNumber, now: Instant) -> [Effect] {
        guard self.link?.number == number else { return [] }
        self.link?.controlBacklog -= 1
        self.scheduleReceipts(now)
        return self.takeEffects()
    }

    // MARK: Receipts

    /// The user has seen a channel up to `sequence`.
    ///
    /// - Parameter epoch: of the message; `nil` for the life of the log that whoever takes the updates has seen last.
    package mutating func markRead(
        _ channel: ChannelID, upTo sequence: MessageSequence, epoch: Epoch?, now: Instant
    ) -> [Effect] {
        self.mark(sequence, of: channel, .read, epoch: epoch ?? self.seenEpochs[channel], now)
        return self.takeEffects()
    }

    mutating func mark(
        _ sequence: MessageSequence, of channel: ChannelID, _ kind: Receipt.Kind, epoch: Epoch?, _ now: Instant
    ) {
        let present = self.channels?.logs[channel]?.epoch
        // What was seen before a restart says nothing of what is there now.
        guard !self.hasEnded, epoch == nil || present == nil || epoch == present,
            self.receipts.reached(sequence, of: channel, kind, epoch: epoch ?? present)
        else { return }
        self.scheduleReceipts(now)
    }

    mutating func scheduleReceipts(_ now: Instant) {
        guard self.receipts.hasUnsent, self.link?.stage == .open, !self.timers.isSet(.receipts) else { return }
        let soon = now + Self.receiptDelay
        self.timers.set(.receipts, at: max(soon, self.receipts.heldUntil ?? soon))
    }

    mutating func sendReceipts(_ now: Instant) {
        guard let link, link.stage == .open, let session = link.session else { return }
        if let held = self.receipts.heldUntil, held > now { return self.timers.set(.receipts, at: held) }
        // What follows waits until the connection took what was written: then it is newer, too.
        guard link.controlBacklog == 0 else { return }
        let taken = self.receipts.take(confirmed: self.confirmedForReceipts, user: session.answer.user)
        if !taken.receipts.isEmpty { self.link?.session?.health.said(at: now) }
        self.writeControl(taken.receipts.map(\.message))
        // The index, if it is being read, tells of most.
        guard self.channels == nil || self.channels?.index == .complete else { return }
        for channel in taken.unknown.prefix(Self.statesAtOnce) { self.askForState(of: channel, now) }
    }

    var confirmedForReceipts: [ChannelID: Epoch] {
        self.doubted.isEmpty ? self.confirmed : self.confirmed.filter { !self.doubted.contains($0.key) }
    }

    /// The server refused something on the control stream: a receipt, or a ping. That is no reason to leave it.
    private mutating func controlRefused(_ failure: Failure, _ now: Instant) {
        if failure.isRetryable {
            let wait = failure.retryAfter.map { Duration.milliseconds(Int($0)) } ?? Self.delayAfterRefusal
            self.receipts.hold(until: now + self.random.lengthened(wait))
        }
        for channel in self.receipts.refused(failure.sequence, isRetryable: failure.isRetryable) {
            self.doubted.insert(channel)
        }
        self.scheduleReceipts(now)
    }

    // MARK: Health

    mutating func setHealthTimer() {
        guard let health = self.link?.session?.health else { return }
        self.timers.set(.health, at: health.nextCheck)
    }

    mutating func checkHealth(_ now: Instant) {
        if self.requests.inFlight.isEmpty { self.link?.session?.health.requestsEnded() }
        guard let verdict = self.link?.session?.health.check(at: now) else { return }
        switch verdict {
        case .wait:
            break
        case .ping:
            let sequence = self.link?.session?.pings.next ?? .zero
            self.link?.session?.pings = sequence
            self.writeControl([Message(type: .ping, sender: .server, receiver: .server, sequence: sequence)])
        case .dead(let reason):
            return self.lose(ClientError(.timedOut, message: reason), now)
        }
        self.setHealthTimer()
    }
}
