// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
package import TernMessages
package import TernTransport

/// Connections, one after another, and the end of all.
extension ClientMachine {
    /// Connects for the first time. Does nothing when that was done before, or when the client was closed.
    package mutating func start(now: Instant) -> [Effect] {
        guard !self.hasStarted, !self.hasEnded else { return [] }
        self.hasStarted = true
        if case .idle = self.life { self.life = .running }
        self.reconnecting.started(at: now)
        self.connect(now)
        return self.takeEffects()
    }

    mutating func connect(_ now: Instant) {
        guard self.link == nil, !self.hasEnded else { return }
        let link = LinkState(number: self.makeNumber())
        self.link = link
        self.emit(.connect(link.number))
    }

    /// There is a connection, on which nothing was said.
    package mutating func carrierCameUp(_ number: LinkNumber, now: Instant) -> [Effect] {
        guard self.link?.number == number, self.link?.stage == .connecting else {
            // Nobody wants it any more.
            return [.closeLink(number, .none)]
        }
        self.link?.stage = .authenticating
        self.timers.set(.authentication, at: now + self.configuration.requestTimeout)
        self.emit(.authenticate(number))
        self.measure()
        return self.takeEffects()
    }

    mutating func measure() {
        guard let link, link.stage == .authenticating else { return }
        self.emit(.measure(link.number))
    }

    /// How much went over a connection so far: one that brings nothing back, not even acknowledgements, is given up long before the
    /// authentication times out.
    package mutating func measured(_ number: LinkNumber, _ volume: LinkVolume, now: Instant) -> [Effect] {
        guard let link, link.number == number, link.stage == .authenticating else { return [] }
        if let earlier = link.volume, volume.isSilent(since: earlier) {
            let patience = self.configuration.liveness.pingTimeout
            let reason = "nothing came back for \(patience) after the handshake"
            self.lose(ClientError(.timedOut, message: reason), now)
        } else {
            // All that we sent was acknowledged, and the answer may be lost: what is sent now is acknowledged by a server that is there.
            if volume == link.volume, volume.carrier == .quic {
                self.link?.controlBacklog += 1
                self.emit(.writeControl(number, [Message(type: .ping, sender: .server, receiver: .server)]))
            }
            self.link?.volume = volume
            self.timers.set(.measurement, at: now + self.configuration.liveness.pingTimeout)
        }
        return self.takeEffects()
    }

    /// The server took the token.
    package mutating func authenticated(
        _ number: LinkNumber, _ answer: AuthenticationAnswer, over carrier: Carrier, now: Instant
    ) -> [Effect] {
        guard self.link?.number == number, self.link?.stage == .authenticating else { return [] }
        let health = LinkHealth(self.configuration.liveness, now: now)
        self.link?.stage = .open
        self.link?.session = LinkState.Session(answer: answer, carrier: carrier, openedAt: now, health: health)
        self.reconnecting.connected()
        self.timers.clear(.authentication)
        self.timers.clear(.measurement)
        self.timers.clear(.giveUp)
        let summary = ConnectionSummary(
            carrier: carrier, user: answer.user, userName: answer.userName, device: answer.device,
            deviceName: answer.deviceName, serverName: answer.serverName, durability: answer.durability)
        self.deliver { $0.append(status: .connected(summary)) }
        for tag in self.requests.identities { self.emit(.completeIdentity(tag, .success(answer))) }
        self.requests.identities = []
        self.setHealthTimer()
        self.askForIndex(now)
        for receiver in self.lanes.receiversToServe { self.serve(receiver, now) }
        self.askWaiting(now)
        self.scheduleReceipts(now)
        return self.takeEffects()
    }

    /// A connection ended, or could not be had.
    package mutating func linkEnded(_ number: LinkNumber, _ reason: any Error, now: Instant) -> [Effect] {
        guard self.link?.number == number else { return [] }
        if self.link?.stage == .parting { self.parted(now) } else { self.lose(reason, now) }
        return self.takeEffects()
    }

    /// The server ended its side of the control stream.
    package mutating func controlEnded(_ number: LinkNumber, now: Instant) -> [Effect] {
        self.linkEnded(number, ClientError(.closed, message: "the server ended the conversation"), now: now)
    }

    // MARK: Losses

    /// The connection is of no use any more, or there was none.
    mutating func lose(_ reason: any Error, asked: Duration? = nil, code: CloseCode = .none, _ now: Instant) {
        guard let link else { return }
        self.link = nil
        self.emit(.closeLink(link.number, code))
        self.forgetLink()
        self.reconnecting.lost(link, reason, at: now)
        if case .ended = self.life { return }
        if case .closing = self.life, self.lanes.count == 0 { return self.finish(nil) }
        if let error = self.reconnecting.finalError(at: now) { return self.finish(error) }
        // However it ends: a server that said that it is about to stop said when to be back.
        let isBackAt = link.stage == .moving ? link.session?.isBackAt.map { max($0 - now, .zero) } : nil
        let delay = self.reconnecting.nextDelay(
            at: now, asked: asked ?? isBackAt ?? self.wait(after: reason),
            mayBeAtOnce: isBackAt == nil && !Self.isDraining(reason),
            &self.random)
        let text = "\(reason)".printable()
        self.deliver { $0.append(status: .disconnected(text, retryingAfter: delay)) }
        if let deadline = self.reconnecting.deadline { self.timers.set(.giveUp, at: deadline) }
        if delay > .zero { self.timers.set(.rest, at: now + delay) } else { self.connect(now) }
    }

    private mutating func forgetLink() {
        for key in [Timers.Key.authentication, .measurement, .health, .moving, .parting, .receipts, .index, .pages] {
            self.timers.clear(key)
        }
        for identifier in self.requests.linkLost() { self.timers.clear(.request(identifier)) }
        self.lanes.linkLost()
        self.channels?.linkLost()
        self.receipts.linkLost()
        self.confirmed = [:]
        self.doubted = []
        self.statesAsked = []
    }

    /// The server broke the rules: there is nothing more to be said to it, on this connection.
    mutating func violation(_ message: String, cause: (any Error)? = nil, _ now: Instant) {
        self.lose(
            ClientError(.protocolViolation, message: message, cause: cause), code: .protocolViolation, now)
    }

    /// What a server that refused us asked for.
    private mutating func wait(after reason: any Error) -> Duration? {
        guard let retryAfter = (reason as? ClientError)?.failure?.retryAfter else { return nil }
        return self.random.lengthened(.milliseconds(Int(retryAfter)))
    }

    /// All clients of that server are in the same situation.
    private static func isDraining(_ reason: any Error) -> Bool {
        if let error = reason as? TransportError, error.code == .application {
            let crowded: [CloseCode] = [.draining, .tooManyConnections, .tooManyConnectionsOfUser, .gaveWay]
            return crowded.contains { $0.rawValue == error.wireCode }
        }
        return (reason as? ClientError)?.failure != nil
    }

    mutating func giveUp(_ now: Instant) {
        guard self.link?.session == nil else { return }
        if let error = self.reconnecting.finalError(at: now) { self.finish(error) }
    }

    // MARK: Moving

    /// The server is about to stop, and says within which time everybody should have gone and may come back.
    mutating func move(_ notice: GoOffline, _ now: Instant) {
        guard self.link?.stage == .open else { return }
        self.deliver { $0.append(status: .serverIsDraining) }
        let spread = notice.retryAfter.map { Duration.milliseconds(Int($0)) } ?? .zero
        let isBackAt = now + spread * self.random.part()
        self.link?.stage = .moving
        self.link?.session?.isBackAt = isBackAt
        self.timers.set(.moving, at: max(isBackAt, now + Self.shortestMove))
        self.partIfDone(now)
    }

    /// So much time have answers that are on their way, however soon we come back.
    private static var shortestMove: Duration { .milliseconds(500) }
    /// A server that does not answer a good-bye is left without.
    private static var longestParting: Duration { .seconds(1) }

    /// Something that was in flight is finished.
    mutating func partIfDone(_ now: Instant) {
        guard self.link?.stage == .moving, self.lanes.inFlightCount == 0, self.requests.applicationCount == 0 else {
            return
        }
        self.part(now)
    }

    /// Says good-bye, after the last receipts: the server has read them when it answers.
    mutating func part(_ now: Instant) {
        guard let link, let session = link.session, link.stage != .parting else { return }
        self.timers.clear(.moving)
        self.timers.clear(.receipts)
        var messages: [Message] = []
        if self.receipts.heldUntil.map({ $0 <= now }) ?? true {
            messages = self.receipts.take(confirmed: self.confirmedForReceipts, user: session.answer.user).receipts
                .map(\.message)
        }
        messages.append(GoOffline().message)
        self.link?.stage = .parting
        self.writeControl(messages)
        self.timers.set(.parting, at: now + Self.longestParting)
    }

    /// We have left.
    mutating func parted(_ now: Instant) {
        guard let link, link.stage == .parting else { return }
        if case .closing = self.life, self.lanes.count == 0 { return self.finish(nil) }
        let back = link.session?.isBackAt.map { max($0 - now, .zero) }
        self.lose(ClientError(.closed, message: "the server is about to stop"), asked: back, now)
    }

    // MARK: The end

    /// Ends the client when everything is acknowledged, at the latest after `timeout`; at once without a connection and without messages.
    package mutating func close(timeout: Duration, now: Instant) -> [Effect] {
        switch self.life {
        case .ended:
            return []
        case .closing(let until):
            guard now + timeout < until else { return [] }
        case .idle, .running:
            break
        }
        self.life = .closing(until: now + timeout)
        self.timers.set(.closing, at: now + timeout)
        for entry in self.lanes.outside.map(\.id) where self.lanes.withdraw(entry) {
            self.emit(.completeSend(entry, .failure(ClientError(.closed, message: "the client is closing"))))
        }
        if timeout <= .zero { self.finish(nil) } else { self.finishIfDone(now) }
        return self.takeEffects()
    }

    /// Nobody runs the client any more.
    package mutating func cancel() -> [Effect] {
        self.finish(ClientError(.closed, message: "the client was cancelled"))
        return self.takeEffects()
    }

    /// A closing client that has nothing more to do leaves; with a good-bye if there are receipts to be sure of.
    mutating func finishIfDone(_ now: Instant) {
        guard case .closing = self.life, self.lanes.count == 0 else { return }
        guard let link, link.session != nil, self.receipts.hasUnsent || self.receipts.hasWritten else {
            return self.finish(nil)
        }
        self.part(now)
    }

    mutating func finish(_ error: ClientError?) {
        if case .ended = self.life { return }
        self.life = .ended(error)
        let closed = error ?? ClientError(.closed, message: "the client was closed")
        if let link { self.emit(.closeLink(link.number, .none)) }
        self.link = nil
        for entry in self.lanes.removeAll() { self.emit(.completeSend(entry.id, .failure(closed))) }
        for tag in self.requests.removeAll() { self.emit(.completeRequest(tag, .failure(closed))) }
        for tag in self.requests.identities { self.emit(.completeIdentity(tag, .failure(closed))) }
        self.requests.identities = []
        self.timers.clearAll()
        self.emit(.end(error))
    }
}
