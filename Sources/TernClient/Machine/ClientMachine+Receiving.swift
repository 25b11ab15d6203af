// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
package import TernMessages

/// What the server pushes and announces, and the reading of what is missing.
extension ClientMachine {
    /// A gap that pushes on other streams may close by themselves is worth waiting this long.
    private static var gapDelay: Duration { .milliseconds(50) }

    // MARK: Pushes

    /// The server pushed a message.
    package mutating func pushed(_ number: LinkNumber, _ message: ChannelMessage, now: Instant) -> [Effect] {
        guard self.heard(number, now) else { return [] }
        self.change(message.channel, message.epoch, now) { log in log.received(message) }
        self.follow(message.channel, mayFillItself: true, now)
        return self.takeEffects()
    }

    /// A message of our own has its place in the log.
    mutating func ownMessageStored(_ message: ChannelMessage, _ now: Instant) {
        let hasRoom = self.updates.hasRoom
        self.change(message.channel, message.epoch, now) { log in
            // Nobody takes updates: it is read from the log when somebody does.
            hasRoom || !log.hasStarted ? log.received(message) : log.headBecameKnown(message.sequence.rawValue)
        }
        self.follow(message.channel, mayFillItself: true, now)
    }

    /// The server announced a channel.
    mutating func announced(_ notice: InboxNotice, _ now: Instant) {
        guard let channel = notice.channel else { return }
        self.change(channel, notice.epoch, now) { log in
            log.headBecameKnown(notice.head.rawValue, mustPull: notice.mustPull)
        }
        self.follow(channel, mayFillItself: false, now)
    }

    /// The state of a channel became known, by the index or by itself.
    mutating func stated(_ state: ChannelState, _ now: Instant) {
        self.receipts.isKnown(delivered: state.delivered, of: state.channel, state.epoch)
        let beginning = self.channels?.beginning(of: state) ?? 1
        self.change(state.channel, state.epoch, now) { log in
            let started = log.start(at: beginning)
            return started + log.headBecameKnown(state.head.rawValue, first: state.first.rawValue)
        }
        self.follow(state.channel, mayFillItself: false, now)
    }

    /// Puts a fact into a channel's log and delivers what follows from it.
    private mutating func change(
        _ channel: ChannelID, _ epoch: Epoch, _ now: Instant,
        _ fact: (inout ChannelLog) -> [ChannelMessage]
    ) {
        self.confirmed[channel] = epoch
        self.doubted.remove(channel)
        guard var taken = self.channels?.takeLog(of: channel, epoch) else { return }
        if taken.restarted { self.restarted(channel, epoch) }
        let ready = fact(&taken.log)
        self.channels?.logs[channel] = taken.log
        self.deliver(ready)
        if taken.beginning == .byState, !taken.log.hasStarted { self.askForState(of: channel, now) }
    }

    private mutating func restarted(_ channel: ChannelID, _ epoch: Epoch) {
        self.receipts.forget(channel)
        self.deliver { $0.append(.channelRestarted(channel, epoch)) }
    }

    private mutating func deliver(_ messages: [ChannelMessage]) {
        guard !messages.isEmpty else { return }
        self.link?.session?.wasUseful = true
        self.deliver { updates in for message in messages { updates.append(.message(message)) } }
    }

    // MARK: Gaps

    /// Sees to it that what `channel` lacks is asked for.
    private mutating func follow(_ channel: ChannelID, mayFillItself: Bool, _ now: Instant) {
        guard self.channels?.logs[channel]?.wantsPage == true else { return }
        guard mayFillItself else {
            self.channels?.enqueue(channel)
            return self.askForPages(now)
        }
        if !self.timers.isSet(.log(channel)) { self.timers.set(.log(channel), at: now + Self.gapDelay) }
    }

    /// The wait of a channel is over.
    mutating func readAgain(_ channel: ChannelID, _ now: Instant) {
        guard self.channels != nil else { return }
        self.channels?.logs[channel]?.mayReadAgain()
        // Of a group that we have just entered, nothing may be known but that its state was refused for now.
        guard let log = self.channels?.logs[channel] else { return self.askForState(of: channel, now) }
        if !log.hasStarted, self.channels?.index == .complete { return self.askForState(of: channel, now) }
        self.follow(channel, mayFillItself: false, now)
    }

    /// Asks for as many pages as may be on their way, while there is room for what they bring.
    mutating func askForPages(_ now: Instant) {
        guard self.link?.stage == .open, self.updates.hasRoom else { return }
        while let page = self.channels?.nextPage(confirmed: self.confirmed) {
            self.ask(page, for: .page(page.channel), now)
        }
    }

    mutating func pageArrived(_ frame: RequestFrame, of channel: ChannelID, _ now: Instant) throws(WireError) {
        self.channels?.pagesInFlight -= 1
        defer { self.askForPages(now) }
        if let failure = try frame.failure() { return self.pageRefused(failure, of: channel, now) }
        let page = try History.Answer(of: frame.body)
        // What belongs elsewhere would be delivered as if it were in its place.
        guard page.messages.allSatisfy({ $0.channel == channel && $0.epoch == page.epoch }) else {
            throw WireError(.malformed, "a page with messages of another log")
        }
        guard self.channels?.logs[channel]?.epoch == page.epoch else {
            // Another life of the log, which is read from its start.
            self.change(channel, page.epoch, now) { log in log.headBecameKnown(page.head.rawValue) }
            return self.follow(channel, mayFillItself: false, now)
        }
        guard let progress = self.channels?.logs[channel]?.pageArrived(page) else { return }
        if let missing = progress.missing, let first = MessageSequence(rawValue: missing.lowerBound),
            let last = MessageSequence(rawValue: missing.upperBound)
        {
            self.deliver { $0.append(.messagesMissing(channel, page.epoch, first...last)) }
        }
        self.deliver(progress.ready)
        if progress.isStalled {
            let stalls = self.channels?.logs[channel]?.stalls ?? 1
            self.postpone(channel, until: now + Self.delay(afterTries: stalls), now)
        } else {
            self.follow(channel, mayFillItself: false, now)
        }
    }

    private mutating func pageRefused(_ failure: Failure, of channel: ChannelID, _ now: Instant) {
        guard failure.isRetryable || failure.code == .cancelled else {
            self.channels?.logs[channel]?.wasRefused()
            return
        }
        self.postpone(channel, until: now + self.wait(after: failure), now)
    }

    private mutating func postpone(_ channel: ChannelID, until: Instant, _ now: Instant) {
        self.channels?.logs[channel]?.postpone()
        self.timers.set(.log(channel), at: until)
    }

    /// How long the server wants us to wait, or we ourselves.
    private mutating func wait(after failure: Failure) -> Duration {
        self.random.lengthened(failure.retryAfter.map { .milliseconds(Int($0)) } ?? .milliseconds(500))
    }

    private static func delay(afterTries count: Int) -> Duration {
        min(.milliseconds(100) * (1 << min(count - 1, 6)), .seconds(5))
    }

    // MARK: The index

    /// Reads the index, and by it learns what was missed.
    mutating func askForIndex(_ now: Instant) {
        guard self.link?.stage == .open, let book = self.channels else { return }
        let cursor: UInt64
        switch book.index {
        case .notAsked: cursor = 0
        case .later(let again): cursor = again
        case .asked, .complete: return
        }
        self.channels?.index = .asked(cursor: cursor)
        self.ask(SyncIndex(cursor: cursor), for: .index(cursor: cursor), now)
    }

    mutating func indexArrived(_ frame: RequestFrame, cursor: UInt64, _ now: Instant) throws(WireError) {
        if let failure = try frame.failure() {
            guard failure.isRetryable else { return self.lose(ClientError.refused(failure), now) }
            self.channels?.index = .later(cursor: cursor)
            self.timers.set(.index, at: now + self.wait(after: failure))
            return
        }
        let page = try SyncIndex.Answer(of: frame.body)
        for state in page.channels { self.stated(state, now) }
        guard page.next == 0 else {
            guard page.next != cursor, !page.channels.isEmpty else {
                throw WireError(.malformed, "an index that does not get on")
            }
            self.channels?.index = .later(cursor: page.next)
            return self.askForIndex(now)
        }
        for channel in self.channels?.indexEnded() ?? [] {
            guard channel.group == nil else {
                self.askForState(of: channel, now)
                continue
            }
            // A conversation that began while the index was read.
            let ready = self.channels?.logs[channel]?.start(at: 1) ?? []
            self.deliver(ready)
            self.follow(channel, mayFillItself: false, now)
        }
        self.askWaiting(now)
        self.scheduleReceipts(now)
    }

    // MARK: States

    mutating func askForState(of channel: ChannelID, _ now: Instant) {
        guard self.link?.stage == .open, self.statesAsked.insert(channel).inserted else { return }
        self.ask(ReadChannelState(channel: channel), for: .state(channel), now)
    }

    mutating func stateArrived(_ frame: RequestFrame, of channel: ChannelID, _ now: Instant) throws(WireError) {
        self.statesAsked.remove(channel)
        if let failure = try frame.failure() {
            if failure.isRetryable {
                self.timers.set(.log(channel), at: now + self.wait(after: failure))
                self.receipts.hold(until: now + self.wait(after: failure))
            } else {
                // We are not in it.
                self.receipts.forget(channel)
                if self.channels?.logs[channel]?.hasStarted == false { self.channels?.logs[channel] = nil }
            }
        } else {
            let state = try ChannelState(of: frame.body)
            guard state.channel == channel else { throw WireError(.malformed, "the state of another channel") }
            self.stated(state, now)
        }
        self.scheduleReceipts(now)
    }

    /// We made a group, or joined one.
    mutating func entered(_ state: GroupState, byJoining: Bool, _ now: Instant) {
        let channel = ChannelID(group: state.group)
        guard self.channels != nil else { return }
        if byJoining, self.channels?.logs[channel]?.hasStarted != true { self.channels?.joined.insert(channel) }
        self.askForState(of: channel, now)
    }
}

extension WireBody {
    /// From a whole body.
    init(of body: ByteBuffer) throws(WireError) {
        var body = body
        try self.init(decoding: &body)
    }
}

extension RequestFrame {
    /// What the server refused; `nil` when it did not.
    func failure() throws(WireError) -> Failure? {
        self.status == .none ? nil : try RequestFailure(of: self.body).failure(self.status)
    }
}
