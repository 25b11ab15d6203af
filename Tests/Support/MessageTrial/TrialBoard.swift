// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Synchronization
import TernClient
import TernMessages

/// What everybody asked for, and when it was answered: what became of it in between is the server's business.
final class TrialBoard: Sendable {
    struct Group: Sendable {
        let id: GroupID
        let isOpen: Bool
        let sharesHistory: Bool

        var channel: ChannelID { ChannelID(group: self.id) }
    }

    struct MessageKey: Hashable, Sendable {
        let user: UserID
        let id: ClientMessageID
    }

    struct Message: Sendable {
        let receiver: PartyID
        let askedAt: Duration
        /// Or a little later.
        var answeredAt: Duration?
        var result: Result<SentMessage, ClientError>?
    }

    struct StayKey: Hashable, Sendable {
        let user: UserID
        let group: GroupID
    }

    /// A membership of a group: from somewhere between two moments until somewhere between two moments.
    struct Stay: Sendable {
        let askedAt: Duration
        var answeredAt: Duration?
        var leaveAskedAt: Duration?
        var leaveAnsweredAt: Duration?
    }

    private struct State {
        var groups: [Group] = []
        var messages: [MessageKey: Message] = [:]
        var stays: [StayKey: [Stay]] = [:]
        var invited: Set<StayKey> = []
        var heads: [ChannelID: SentMessage] = [:]
        var lastNumber = 0
    }

    private let begin = ContinuousClock.now
    private let state = Mutex(State())

    /// Since the beginning.
    var now: Duration { self.begin.duration(to: .now) }

    // MARK: Messages

    func asked(_ user: UserID, _ id: ClientMessageID, to receiver: PartyID) {
        let now = self.now
        self.state.withLock { $0.messages[MessageKey(user: user, id: id)] = Message(receiver: receiver, askedAt: now) }
    }

    func answered(_ user: UserID, _ id: ClientMessageID, _ result: Result<SentMessage, ClientError>) {
        let now = self.now
        self.state.withLock { state in
            state.messages[MessageKey(user: user, id: id)]?.answeredAt = now
            state.messages[MessageKey(user: user, id: id)]?.result = result
            guard case .success(let sent) = result else { return }
            if let known = state.heads[sent.channel], known.sequence >= sent.sequence { return }
            state.heads[sent.channel] = sent
        }
    }

    var messages: [MessageKey: Message] { self.state.withLock { $0.messages } }
    /// The last message of each channel that was acknowledged.
    var heads: [ChannelID: SentMessage] { self.state.withLock { $0.heads } }

    // MARK: Groups

    func makeNumber() -> Int {
        self.state.withLock { state in
            state.lastNumber += 1
            return state.lastNumber
        }
    }

    var groups: [Group] { self.state.withLock { $0.groups } }

    func made(_ group: Group, by user: UserID, askedAt: Duration) {
        let now = self.now
        self.state.withLock { state in
            state.groups.append(group)
            state.stays[StayKey(user: user, group: group.id)] = [Stay(askedAt: askedAt, answeredAt: now)]
        }
    }

    func invited(_ user: UserID, to group: GroupID) {
        self.state.withLock { _ = $0.invited.insert(StayKey(user: user, group: group)) }
    }

    func wasInvited(_ user: UserID, to group: GroupID) -> Bool {
        self.state.withLock { $0.invited.contains(StayKey(user: user, group: group)) }
    }

    func stays(of user: UserID, in group: GroupID) -> [Stay] {
        self.state.withLock { $0.stays[StayKey(user: user, group: group)] ?? [] }
    }

    /// They are about to join.
    func joins(_ user: UserID, _ group: GroupID) {
        let now = self.now
        self.state.withLock { $0.stays[StayKey(user: user, group: group), default: []].append(Stay(askedAt: now)) }
    }

    /// - Parameter isIn: `nil` when it is not known.
    func joined(_ user: UserID, _ group: GroupID, isIn: Bool?) {
        let now = self.now
        self.state.withLock { state in
            let key = StayKey(user: user, group: group)
            guard let last = state.stays[key]?.indices.last, let isIn else { return }
            if isIn { state.stays[key]?[last].answeredAt = now } else { state.stays[key]?.removeLast() }
        }
    }

    func leaves(_ user: UserID, _ group: GroupID) {
        let now = self.now
        self.state.withLock { state in
            let key = StayKey(user: user, group: group)
            for index in state.stays[key]?.indices ?? 0..<0 where state.stays[key]?[index].leaveAskedAt == nil {
                state.stays[key]?[index].leaveAskedAt = now
            }
        }
    }

    func left(_ user: UserID, _ group: GroupID) {
        let now = self.now
        self.state.withLock { state in
            let key = StayKey(user: user, group: group)
            for index in state.stays[key]?.indices ?? 0..<0 where state.stays[key]?[index].leaveAnsweredAt == nil {
                state.stays[key]?[index].leaveAnsweredAt = now
            }
        }
    }
}
