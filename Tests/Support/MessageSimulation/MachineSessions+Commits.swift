// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernMessages
import TernServer
import TernStore
import TernTesting

/// What the store commits: told to the hub, then to each session, one after the other, before the next commit; and answered when all
/// of it was told.
extension MachineSessions {
    package var isTelling: Bool { !self.tellings.isEmpty }

    package func firstUntold(of channel: ChannelID) -> UInt64? {
        let key = ChannelKey(simulated: channel)
        return self.tellings.compactMap { telling in
            switch telling {
            case .event(.message(let message), _, _), .offer(_, let message):
                message.draft.channel == key ? message.receipt.sequence : nil
            case .event, .change, .announce, .answer: nil
            }
        }.min()
    }

    private mutating func add(_ telling: Telling, _ now: Moment) {
        if self.tellings.isEmpty { self.tellingDue = max(self.tellingDue, now) }
        self.tellings.append(telling)
    }

    // MARK: What was committed

    package mutating func beginSending(_ draft: SimulatedDraft, by session: SessionNumber) {
        self.entries[session]?.state.beginSending([draft.draft])
    }

    package mutating func stored(
        _ sequence: UInt64, of channel: ChannelID, by session: SessionNumber, _ store: ModelStore, now: Moment
    ) -> [ServerEffect] {
        guard let log = store.logs[channel], let stored = log.messages[Int(sequence) - 1],
            let draft = SimulatedDraft(
                stored.message, by: ModelStore.Device(user: stored.message.sender, device: stored.device))
        else { return [] }
        let receipt = TernStore.Receipt(
            epoch: UInt32(log.epoch.rawValue), sequence: sequence, timestamp: 0, isDuplicate: false)
        let message = CommittedMessage(draft: draft.draft, receipt: receipt)
        self.add(.event(.message(message), members: store.members(of: channel), since: 0), now)
        return []
    }

    package mutating func joined(
        _ user: UserID, _ group: GroupID, by session: SessionNumber, _ store: ModelStore, now: Moment
    ) -> [ServerEffect] {
        let channel = ChannelID(group: group)
        let membership = GroupMembership(group: group.rawValue, first: store.first(in: channel, for: user))
        let since = store.groups[group]?.members[user] ?? 1
        self.add(.event(.joined(user: user.rawValue, membership: membership), members: [], since: since), now)
        guard let log = store.logs[channel],
            let notice = InboxNotice(
                to: user, channel: channel, head: MessageSequence(log.head), epoch: log.epoch, mustPull: false)
        else { return [] }
        self.add(.announce(session, notice, user, group), now)
        return []
    }

    package mutating func left(_ user: UserID, _ group: GroupID, now: Moment) {
        self.add(.event(.left(user: user.rawValue, group: group.rawValue), members: [], since: 0), now)
    }

    package mutating func answer(
        _ effects: [ServerEffect], to session: SessionNumber, _ draft: SimulatedDraft?, now: Moment
    ) -> [ServerEffect] {
        self.add(.answer(session, effects, draft?.draft), now)
        return []
    }

    // MARK: Telling

    mutating func tell(_ telling: Telling, _ store: ModelStore, _ now: Moment) -> [ServerEffect] {
        switch telling {
        case .event(let event, let members, let since):
            self.tellings.insert(contentsOf: self.follow(event, members, since, store), at: 0)
        case .offer(let session, let message):
            return self.apply(session, now) { $0.offer(message) }
        case .change(let session, let channel, let isMember, let since):
            if isMember {
                self.entries[session]?.left.remove(channel)
                self.entries[session]?.since[channel] = since
            } else {
                self.entries[session]?.left.insert(channel)
            }
            let effects = self.apply(session, now) { $0.membershipChanged(channel, isMember: isMember) }
            self.entries[session]?.receipts.forget(channel)
            return effects
        case .announce(let session, let notice, let user, let group):
            // Whoever asked for the commit does this, not the writer.
            guard self.hub.isMember(user.rawValue, of: group.rawValue) else { return [] }
            for other in self.numbers(self.hub.sessions(of: user.rawValue)) where other != session {
                self.steps.add(.tellNotice(other, notice, .group(group.rawValue)), at: now)
            }
        case .answer(let session, let effects, let draft):
            guard let last = self.entries[session]?.lastAnswer else { return [] }
            let moment = max(last, now + self.pause())
            self.entries[session]?.lastAnswer = moment
            self.steps.add(.complete(session, effects, draft), at: moment)
        }
        return []
    }

    private func numbers(_ handles: [Handle]) -> [SessionNumber] { handles.map(\.number).sorted() }

    /// As the server's hub does.
    private mutating func follow(
        _ event: CommitEvent, _ members: [UserID], _ since: UInt64, _ store: ModelStore
    ) -> [Telling] {
        switch event {
        case .message(let message):
            let sessions = self.hub.sessions(in: message.draft.channel, at: message.receipt.sequence)
            self.check(sessions, message, members, store)
            return self.numbers(sessions).map { .offer($0, message) }
        case .joined(let user, let membership):
            self.hub.joined(user, membership)
            return self.numbers(self.hub.sessions(of: user)).map {
                .change($0, .group(membership.group), isMember: true, since: since)
            }
        case .left(let user, let group):
            self.hub.left(user, group: group)
            return self.numbers(self.hub.sessions(of: user)).map {
                .change($0, .group(group), isMember: false, since: 0)
            }
        }
    }

    /// Everybody who was let in and is in the channel hears of a message, and nobody else does.
    private mutating func check(
        _ sessions: [Handle], _ message: CommittedMessage, _ members: [UserID], _ store: ModelStore
    ) {
        guard let channel = ChannelID(first: message.draft.channel.low, second: message.draft.channel.high) else {
            return
        }
        let told = Set(sessions.map(\.number))
        let sequence = message.receipt.sequence
        for (number, entry) in self.entries.sorted(by: { $0.key < $1.key }) {
            let user = entry.device.user
            let mayRead = store.isMember(user, of: channel) && store.first(in: channel, for: user) <= sequence
            if told.contains(number), !members.contains(user), !mayRead {
                self.fail("session \(number) of \(user) was told \(sequence) of \(channel), which is not theirs")
            }
            if !told.contains(number), entry.isOpen, !entry.isClosing, members.contains(user), mayRead {
                self.fail("session \(number) of \(user) was not told \(sequence) of \(channel)")
            }
        }
        if told.contains(where: { self.entries[$0] == nil }) { self.fail("a session that ended is told something") }
    }

    mutating func complete(_ session: SessionNumber, _ effects: [ServerEffect], _ draft: Draft?) -> [ServerEffect] {
        guard self.entries[session] != nil else { return [] }
        if let draft { self.entries[session]?.state.endSending([draft]) }
        return effects
    }
}
