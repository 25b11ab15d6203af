// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernMessages
import TernTesting

/// A server whose sessions are told at once what there is to tell.
package typealias PlainServer = ModelServer<PlainSessions>

/// Sessions as Docs/PROTOCOL.md has them: everybody who is in a channel is told at once, in the order of the commits.
package struct PlainSessions: ServerSessions {
    private struct Session {
        let device: ModelStore.Device
        var isLeaving = false
        /// Channels that are not pushed.
        var pulling: Set<ChannelID> = []
        var feeds: [ChannelID: UInt64] = [:]
        var lastPushed: [ChannelID: UInt64] = [:]
        /// Pushed and not taken.
        var unread = 0
        /// What the store had when the last receipt came.
        var before = ModelStore.Offsets()
    }

    package var pushLimit = 4
    private var sessions: [SessionNumber: Session] = [:]
    private var random: SeededRandom
    private var lastStream: UInt64 = 0

    package init(seed: UInt64) {
        self.random = SeededRandom(seed: seed &+ 1)
    }

    package var numbers: [SessionNumber] { self.sessions.keys.sorted() }
    package func device(of session: SessionNumber) -> ModelStore.Device? { self.sessions[session]?.device }

    package func isMember(_ user: UserID, of channel: ChannelID, in store: ModelStore) -> Bool {
        store.isMember(user, of: channel)
    }

    // MARK: Coming and going

    package mutating func enter(
        _ session: SessionNumber, _ device: ModelStore.Device, _ answer: AuthenticationAnswer, now: Moment
    ) -> [ServerEffect] {
        self.sessions[session] = Session(device: device)
        return [.authenticated(session, answer)]
    }

    package mutating func leave(_ session: SessionNumber, now: Moment) { self.sessions[session] = nil }

    package mutating func clientLeaves(_ session: SessionNumber, now: Moment) -> [ServerEffect] {
        self.sessions[session]?.isLeaving = true
        return [.controlEnded(session)]
    }

    package mutating func drain(retryAfter milliseconds: UInt32, now: Moment) -> [ServerEffect] {
        self.numbers.map { .control($0, GoOffline(retryAfter: milliseconds).message) }
    }

    package mutating func restart() { self.sessions = [:] }

    // MARK: Telling

    package mutating func send(_ message: Message, to session: SessionNumber, now: Moment) -> [ServerEffect] {
        [.control(session, message)]
    }

    package func isControlFull(_ session: SessionNumber) -> Bool { false }
    package mutating func heard(_ session: SessionNumber, now: Moment) {}
    package mutating func wallJumped(by seconds: Int64) {}

    package mutating func notify(
        _ notice: LiveNotice, in channel: ChannelID, from session: SessionNumber, _ store: ModelStore, now: Moment
    ) -> [ServerEffect] {
        guard let user = self.sessions[session]?.device.user, store.isMember(user, of: channel) else { return [] }
        return self.sessions(of: channel, store).filter { self.sessions[$0]?.device.user != user }
            .map { .datagram($0, notice) }
    }

    package mutating func receiptCame(
        _ receipt: Receipt, in channel: ChannelID, from session: SessionNumber, _ store: ModelStore
    ) -> Bool {
        guard let device = self.sessions[session]?.device else { return false }
        self.sessions[session]?.before = store.offsets[device]?[channel] ?? ModelStore.Offsets()
        return true
    }

    package mutating func receiptStored(
        _ receipt: Receipt, in channel: ChannelID, from session: SessionNumber, after: ModelStore.Offsets,
        _ store: ModelStore, now: Moment
    ) -> [ServerEffect] {
        guard let entry = self.sessions[session] else { return [] }
        let isRead = receipt.kind == .read
        guard isRead ? after.read > entry.before.read : after.delivered > entry.before.delivered else { return [] }
        var news = receipt
        news.senderDevice = entry.device.device
        news.sequence = MessageSequence(isRead ? after.read : after.delivered)
        return self.sessions(of: channel, store).filter { $0 != session }.map { .control($0, news.message) }
    }

    package mutating func receiptRefused(from session: SessionNumber) {}

    package mutating func answer(
        _ frame: RequestFrame, _ page: History.Answer, of channel: ChannelID, to session: SessionNumber, now: Moment
    ) -> [ServerEffect] {
        if !page.hasMore { self.sessions[session]?.pulling.remove(channel) }
        let response = RequestFrame(identifier: frame.identifier, resource: frame.resource, body: page.encodedBody())
        return [.response(session, response)]
    }

    private func sessions(of channel: ChannelID, _ store: ModelStore) -> [SessionNumber] {
        let members = store.members(of: channel)
        return self.numbers.filter { number in
            guard let session = self.sessions[number] else { return false }
            return members.contains(session.device.user) && !session.isLeaving
        }
    }

    // MARK: Commits

    package mutating func beginSending(_ draft: SimulatedDraft, by session: SessionNumber) {}

    package mutating func stored(
        _ sequence: UInt64, of channel: ChannelID, by session: SessionNumber, _ store: ModelStore, now: Moment
    ) -> [ServerEffect] {
        var effects: [ServerEffect] = []
        for other in self.sessions(of: channel, store) where other != session {
            effects += self.offer(sequence, of: channel, to: other, store)
        }
        return effects
    }

    private mutating func offer(
        _ sequence: UInt64, of channel: ChannelID, to number: SessionNumber, _ store: ModelStore
    ) -> [ServerEffect] {
        guard var session = self.sessions[number], !session.pulling.contains(channel),
            let message = store.pushed(sequence, in: channel, previous: session.lastPushed[channel])
        else { return [] }
        guard session.unread < self.pushLimit, !self.random.chance(0.02) else {
            session.pulling.insert(channel)
            session.feeds[channel] = nil
            self.sessions[number] = session
            return self.notice(of: channel, to: number, mustPull: true, store)
        }
        // Another stream now and then: what is on it may overtake the one before.
        if session.feeds[channel] == nil || self.random.chance(0.15) {
            self.lastStream += 1
            session.feeds[channel] = self.lastStream
        }
        session.unread += 1
        session.lastPushed[channel] = sequence
        self.sessions[number] = session
        return [.push(number, stream: session.feeds[channel] ?? 0, message)]
    }

    private func notice(
        of channel: ChannelID, to number: SessionNumber, mustPull: Bool, _ store: ModelStore
    ) -> [ServerEffect] {
        guard let session = self.sessions[number], let log = store.logs[channel],
            let notice = InboxNotice(
                to: session.device.user, channel: channel, head: MessageSequence(log.head), epoch: log.epoch,
                mustPull: mustPull)
        else { return [] }
        return [.control(number, notice.message)]
    }

    package mutating func pushTaken(
        _ session: SessionNumber, breaks: Bool, _ store: ModelStore, now: Moment
    ) -> [ServerEffect] {
        self.sessions[session]?.unread -= 1
        // Without a new message, the channel is not pushed any more.
        guard breaks, let channel = self.sessions[session]?.feeds.keys.min() else { return [] }
        self.sessions[session]?.feeds[channel] = nil
        self.sessions[session]?.pulling.insert(channel)
        return self.notice(of: channel, to: session, mustPull: true, store)
    }

    package mutating func joined(
        _ user: UserID, _ group: GroupID, by session: SessionNumber, _ store: ModelStore, now: Moment
    ) -> [ServerEffect] {
        self.numbers.filter { $0 != session && self.sessions[$0]?.device.user == user }
            .flatMap { self.notice(of: ChannelID(group: group), to: $0, mustPull: false, store) }
    }

    /// What a membership left with the user's sessions goes with it.
    package mutating func left(_ user: UserID, _ group: GroupID, now: Moment) {
        let channel = ChannelID(group: group)
        for session in self.numbers where self.sessions[session]?.device.user == user {
            self.sessions[session]?.pulling.remove(channel)
            self.sessions[session]?.feeds[channel] = nil
            self.sessions[session]?.lastPushed[channel] = nil
        }
    }

    package mutating func answer(
        _ effects: [ServerEffect], to session: SessionNumber, _ draft: SimulatedDraft?, now: Moment
    ) -> [ServerEffect] { effects }

    package var isTelling: Bool { false }
    package func firstUntold(of channel: ChannelID) -> UInt64? { nil }

    // MARK: Time and accounts

    package var nextDeadline: Moment? { nil }
    package mutating func timeout(_ store: ModelStore, now: Moment) -> [ServerEffect] { [] }
    package var failures: [String] { [] }
    package var leftovers: [String] { [] }
    package var isEmpty: Bool { self.sessions.isEmpty }
}
