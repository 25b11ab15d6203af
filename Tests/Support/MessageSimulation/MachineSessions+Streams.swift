// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernMessages
import TernServer
import TernStore
import TernTesting

/// The tasks of a session: one for each push stream, one for the control stream, and what requests and receipts lead to.
extension MachineSessions {
    mutating func perform(_ step: Step, _ store: ModelStore, _ now: Moment) -> [ServerEffect] {
        switch step {
        case .enter(let session): return self.enterHub(session, store, now)
        case .page(let page, let isLast, let session, let presence):
            return self.loaded(page, isLast: isLast, session, presence, store, now)
        case .admit(let session): self.admit(session, now)
        case .sweep(let groups, let user, let presence): self.hub.sweep(groups, of: user, number: presence)
        case .open(let session, let start): self.open(session, start, now)
        case .push(let session, let start): return self.push(session, start, now)
        case .settle(let session, let start): self.settle(session, start, now)
        case .broke(let session, let start):
            self.entries[session]?.pushes[start] = nil
            return self.apply(session, now) { $0.feedFailed(start) }
        case .control(let session): return self.writeControl(session, now)
        case .settleControl(let session): self.settleControl(session, now)
        case .caughtUp(let session, let frame, let page, let channel):
            return self.caughtUp(session, frame, page, channel)
        case .forward(let session, let place): self.forward(session, place, store, now)
        case .tellReceipt(let session, let receipt, let channel):
            return self.apply(session, now) { $0.tell(receipt, in: channel) }
        case .tellNotice(let session, let notice, let channel):
            return self.apply(session, now) { $0.tell(notice, of: channel) }
        case .drain(let session, let milliseconds):
            return self.apply(session, now) { $0.drain(retryAfter: milliseconds) }
        case .complete(let session, let effects, let draft): return self.complete(session, effects, draft)
        case .token(let session): return self.checkToken(session, now)
        case .closed(let session): self.leave(session, now: now)
        }
        return []
    }

    /// As the server's session does: wakes who waits, and nobody else.
    mutating func apply(
        _ session: SessionNumber, _ now: Moment, _ change: (inout SessionState) -> [SessionState.Effect]
    ) -> [ServerEffect] {
        guard var entry = self.entries.removeValue(forKey: session) else { return [] }
        let effects = change(&entry.state)
        var result: [ServerEffect] = []
        for effect in effects {
            switch effect {
            case .open(let start):
                if entry.isOpen { self.then(.open(session, start), now) } else { entry.starts.append(start) }
            case .wake(let start):
                guard entry.pushes[start]?.writer == .waiting else { continue }
                entry.pushes[start]?.writer = .serving
                self.then(.push(session, start), now)
            case .wakeControl:
                guard entry.control == .waiting else { continue }
                entry.control = .serving
                self.then(.control(session), now)
            case .close(let code, _):
                entry.isClosing = true
                result.append(.close(session, code))
                self.then(.closed(session), now)
            }
        }
        self.entries[session] = entry
        return result
    }

    // MARK: Push streams

    private mutating func open(_ session: SessionNumber, _ start: FeedStart, _ now: Moment) {
        guard self.entries[session] != nil else { return }
        self.lastStream += 1
        self.entries[session]?.pushes[start] = Push(stream: self.lastStream)
        // The client may refuse it.
        self.then(self.random.chance(0.01) ? .broke(session, start) : .push(session, start), now)
    }

    private mutating func push(_ session: SessionNumber, _ start: FeedStart, _ now: Moment) -> [ServerEffect] {
        guard var entry = self.entries[session], let stream = entry.pushes[start]?.stream else { return [] }
        var pushed: [ServerEffect] = []
        switch entry.state.takeBatch(for: start) {
        case .ended:
            entry.pushes[start] = nil
        case .wait:
            entry.pushes[start]?.writer = .settling
            self.then(.settle(session, start), now)
        case .messages(var messages):
            self.check(messages, start.channel, entry)
            let breaks = self.random.chance(0.04)
            if breaks { messages.removeLast(Int(self.random.next() % UInt64(messages.count + 1))) }
            pushed = messages.map { .push(session, stream: stream, $0) }
            entry.unread += messages.count
            if breaks {
                self.then(.broke(session, start), now)
            } else if entry.unread >= self.pushLimit {
                entry.pushes[start]?.writer = .blocked
            } else {
                self.then(.push(session, start), now)
            }
        }
        self.entries[session] = entry
        return pushed
    }

    /// Nothing of a membership that is over is pushed.
    private mutating func check(_ messages: [ChannelMessage], _ channel: ChannelKey, _ entry: Entry) {
        guard let first = messages.first?.sequence.rawValue else { return }
        if entry.left.contains(channel) { self.fail("session \(entry.handle.number): \(first) pushed after the leave") }
        if let since = entry.since[channel], first < since {
            self.fail("session \(entry.handle.number): \(first) pushed, and the user joined at \(since)")
        }
    }

    private mutating func settle(_ session: SessionNumber, _ start: FeedStart, _ now: Moment) {
        guard let entry = self.entries[session], entry.pushes[start] != nil else { return }
        let waits = entry.state.isWaiting(start)
        self.entries[session]?.pushes[start]?.writer = waits ? .waiting : .serving
        if !waits { self.then(.push(session, start), now) }
    }

    package mutating func pushTaken(
        _ session: SessionNumber, breaks: Bool, _ store: ModelStore, now: Moment
    ) -> [ServerEffect] {
        guard var entry = self.entries[session] else { return [] }
        entry.unread -= 1
        if breaks, let start = entry.pushes.keys.min(by: { $0.number < $1.number }) {
            // Whoever serves it finds that it cannot be written.
            self.then(.broke(session, start), now)
        }
        if entry.unread < self.pushLimit {
            for start in entry.pushes.keys.sorted(by: { $0.number < $1.number })
            where entry.pushes[start]?.writer == .blocked {
                entry.pushes[start]?.writer = .serving
                self.then(.push(session, start), now)
            }
        }
        self.entries[session] = entry
        return []
    }

    // MARK: The control stream

    package mutating func send(_ message: Message, to session: SessionNumber, now: Moment) -> [ServerEffect] {
        self.apply(session, now) { $0.send(message) }
    }

    private mutating func writeControl(_ session: SessionNumber, _ now: Moment) -> [ServerEffect] {
        guard var entry = self.entries[session] else { return [] }
        defer { self.entries[session] = entry }
        switch entry.state.takeControl() {
        case .messages(let messages):
            // Now and then the client does not read for a while.
            let isSlow = self.trial.stallsControl && self.random.chance(0.1)
            self.steps.add(.control(session), at: now + self.pause() * (isSlow ? 15 : 1))
            return messages.map { message in
                guard !entry.isAnswered else { return .control(session, message) }
                entry.isAnswered = true
                guard let answer = try? AuthenticationAnswer(message) else {
                    self.fail("session \(session) is told \(message.type) before it is let in")
                    return .control(session, message)
                }
                return .authenticated(session, answer)
            }
        case .wait:
            entry.control = .settling
            self.then(.settleControl(session), now)
            return []
        case .ended:
            entry.control = .ended
            return [.controlEnded(session)]
        }
    }

    private mutating func settleControl(_ session: SessionNumber, _ now: Moment) {
        guard let entry = self.entries[session] else { return }
        let waits = entry.state.isControlIdle
        self.entries[session]?.control = waits ? .waiting : .serving
        if !waits { self.then(.control(session), now) }
    }

    // MARK: Requests and receipts

    package mutating func answer(
        _ frame: RequestFrame, _ page: History.Answer, of channel: ChannelID, to session: SessionNumber, now: Moment
    ) -> [ServerEffect] {
        self.then(.caughtUp(session, frame, page, channel), now)
        return []
    }

    private mutating func caughtUp(
        _ session: SessionNumber, _ frame: RequestFrame, _ page: History.Answer, _ channel: ChannelID
    ) -> [ServerEffect] {
        guard self.entries[session] != nil else { return [] }
        var page = page
        if !page.hasMore,
            let head = self.entries[session]?.state.caughtUp(ChannelKey(simulated: channel), to: page.head.rawValue)
        {
            // The log grew while the page was read.
            page.hasMore = true
            page.head = max(page.head, MessageSequence(head))
        }
        let response = RequestFrame(identifier: frame.identifier, resource: frame.resource, body: page.encodedBody())
        return [.response(session, response)]
    }
}
