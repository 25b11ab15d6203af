// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import MessageJudgementSupport
import NIOCore
import TernClient
import TernMessages
import TernStore

/// Compares what everybody has with what the store has, which nobody uses any more.
struct TrialJudgement {
    let store: SQLiteMessageStore
    let board: TrialBoard
    let people: [[TrialDevice]]
    /// Of each device in turn, what the server said of its channels when all was quiet.
    let states: [[(index: ChannelState, alone: ChannelState)]]

    private typealias Log = (epoch: Epoch, messages: [StoredMessage])

    func judge() async throws -> [String] {
        var failures: [String] = []
        let logs = try await self.readLogs(&failures)
        let messages = self.board.messages
        failures += self.judge(logs, messages)
        failures += self.judgeRefusals(logs, messages)
        let truths = logs.mapValues { log in
            DeviceTruth.Log(
                epoch: log.epoch, ids: log.messages.map { ClientMessageID(high: $0.key.high, low: $0.key.low) })
        }
        let devices = self.people.flatMap { $0 }
        for (device, states) in zip(devices, self.states) {
            let account = device.account
            failures += account.failures
            let entries = try await self.entries(of: device)
            failures += Judgement(account, Self.truth(entries, truths)).failures
            failures += self.judgeMemberships(account, logs, messages)
            failures += Self.compare(states, entries, device, logs)
        }
        for person in self.people {
            failures += self.judgeStays(of: person[0].user, try await self.entries(of: person[0]))
        }
        return failures
    }

    // MARK: The store

    private func readLogs(_ failures: inout [String]) async throws -> [ChannelID: Log] {
        let users = self.people.map { $0[0].user }
        var channels = self.board.groups.map(\.channel)
        for (index, one) in users.enumerated() {
            channels += users[index...].map { ChannelID(direct: one, $0) }
        }
        var logs: [ChannelID: Log] = [:]
        for channel in channels {
            let key = ChannelKey(channel)
            let head = try await self.store.head(of: key)
            var messages: [StoredMessage] = []
            while case let page = try await self.store.history(
                of: key, from: UInt64(messages.count) + 1, .forward, limit: 1_000, byteLimit: 1 << 22),
                !page.messages.isEmpty
            {
                messages += page.messages
            }
            let sequences = messages.map(\.sequence)
            if sequences != Array(0..<UInt64(messages.count)).map({ $0 + 1 }) || head.sequence != sequences.last ?? 0 {
                failures.append("\(channel): its head is \(head.sequence), and it has \(sequences)")
            }
            if head.epoch != 0 { logs[channel] = (Epoch(rawValue: UInt64(head.epoch)), messages) }
        }
        return logs
    }

    private func entries(of device: TrialDevice) async throws -> [ChannelID: SyncEntry] {
        let key = DeviceKey(user: device.user.rawValue, device: device.device.rawValue)
        var entries: [ChannelID: SyncEntry] = [:]
        for entry in try await self.store.syncIndex(for: key, after: nil, limit: 1_000).entries {
            guard let channel = ChannelID(first: entry.channel.low, second: entry.channel.high) else { continue }
            entries[channel] = entry
        }
        return entries
    }

    private static func truth(
        _ entries: [ChannelID: SyncEntry], _ logs: [ChannelID: DeviceTruth.Log]
    ) -> DeviceTruth {
        let parts = entries.map { channel, entry in
            let since = channel.group == nil ? nil : entry.since
            return (
                channel,
                DeviceTruth.Part(
                    first: entry.first, since: since, delivered: entry.own.delivered, read: entry.own.read)
            )
        }
        return DeviceTruth(logs: logs, parts: Dictionary(parts) { first, _ in first })
    }

    /// Every stored message was sent by who is said to have sent it, there, and is stored once.
    private func judge(_ logs: [ChannelID: Log], _ messages: [TrialBoard.MessageKey: TrialBoard.Message]) -> [String] {
        var failures: [String] = []
        var seen: Set<TrialBoard.MessageKey> = []
        for (channel, log) in logs {
            for stored in log.messages {
                guard let user = UserID(rawValue: stored.sender.user) else { continue }
                let id = ClientMessageID(high: stored.key.high, low: stored.key.low)
                let key = TrialBoard.MessageKey(user: user, id: id)
                if !seen.insert(key).inserted { failures.append("\(channel): \(stored.sequence) is stored twice") }
                guard let message = messages[key],
                    ChannelID(sender: PartyID(user), receiver: message.receiver) == channel,
                    stored.sender.device == UInt32(truncatingIfNeeded: id.high),
                    String(buffer: stored.payload).hasPrefix(TrialDevice.text(id, by: user))
                else {
                    failures.append("\(channel): nobody sent \(stored.sequence)")
                    continue
                }
            }
        }
        return failures
    }

    // MARK: Memberships

    /// Messages are refused for a reason, and then they are not stored; and nobody sends to a group that is not theirs.
    private func judgeRefusals(
        _ logs: [ChannelID: Log], _ messages: [TrialBoard.MessageKey: TrialBoard.Message]
    ) -> [String] {
        var failures: [String] = []
        for (key, message) in messages {
            guard let result = message.result, let answeredAt = message.answeredAt else { continue }
            let what = "message \(key.id) of \(key.user) to \(message.receiver)"
            let stays = message.receiver.group.map { self.board.stays(of: key.user, in: $0) } ?? []
            switch result {
            case .success:
                guard message.receiver.group != nil else { continue }
                let isPossible = stays.contains { stay in
                    stay.askedAt <= answeredAt && stay.leaveAnsweredAt ?? .seconds(1 << 40) >= message.askedAt
                }
                if !isPossible { failures.append("\(what) was stored, and they were not in the group") }
            case .failure(let error):
                guard error.failure?.code == .notAMember, let group = message.receiver.group else {
                    failures.append("\(what) failed: \(error)")
                    continue
                }
                let isMember = stays.contains { stay in
                    guard let joinedAt = stay.answeredAt, joinedAt <= message.askedAt else { return false }
                    return stay.leaveAskedAt.map { $0 > answeredAt } ?? true
                }
                if isMember { failures.append("\(what) was refused, and they were in the group") }
                let isStored = logs[ChannelID(group: group)]?.messages.contains {
                    $0.sender.user == key.user.rawValue && $0.key.high == key.id.high && $0.key.low == key.id.low
                }
                // It may have been stored, its answer lost, and a leave have come before it was sent again.
                if isStored == true, !stays.contains(where: { $0.leaveAskedAt != nil }) {
                    failures.append("\(what) was refused, and is stored")
                }
            }
        }
        return failures
    }

    /// Nothing of a group that is not theirs: from before they joined, or after they left.
    private func judgeMemberships(
        _ account: DeviceAccount, _ logs: [ChannelID: Log],
        _ messages: [TrialBoard.MessageKey: TrialBoard.Message]
    ) -> [String] {
        var failures: [String] = []
        let groups = Dictionary(self.board.groups.map { ($0.channel, $0) }) { first, _ in first }
        for (channel, received) in account.received where channel.group != nil {
            guard let group = groups[channel] else { continue }
            let stays = self.board.stays(of: account.user, in: group.id)
            for sequence in received.sequences {
                guard let log = logs[channel], sequence <= UInt64(log.messages.count),
                    case let stored = log.messages[Int(sequence) - 1],
                    let sender = UserID(rawValue: stored.sender.user),
                    let message = messages[
                        TrialBoard.MessageKey(
                            user: sender, id: ClientMessageID(high: stored.key.high, low: stored.key.low))]
                else { continue }
                let isTheirs = stays.contains { stay in
                    guard message.askedAt <= stay.leaveAnsweredAt ?? .seconds(1 << 40) else { return false }
                    return group.sharesHistory || message.answeredAt ?? .seconds(1 << 40) >= stay.askedAt
                }
                if !isTheirs { failures.append("\(account.name): got \(sequence) of \(channel), and was not in it") }
            }
        }
        return failures
    }

    /// Who was let in is in, and who left is not.
    private func judgeStays(of user: UserID, _ entries: [ChannelID: SyncEntry]) -> [String] {
        self.board.groups.compactMap { group in
            let stays = self.board.stays(of: user, in: group.id)
            let isIn = entries[group.channel] != nil
            let mayBe = stays.contains { $0.leaveAnsweredAt == nil }
            let mustBe = stays.contains { $0.answeredAt != nil && $0.leaveAskedAt == nil }
            if isIn, !mayBe { return "\(user) is in \(group.channel), and should not be" }
            if !isIn, mustBe { return "\(user) is not in \(group.channel), and should be" }
            return nil
        }
    }

    // MARK: What the server said

    /// The index, the state alone and the store say the same; and the count of what is unread is right.
    private static func compare(
        _ states: [(index: ChannelState, alone: ChannelState)], _ entries: [ChannelID: SyncEntry],
        _ device: TrialDevice,
        _ logs: [ChannelID: Log]
    ) -> [String] {
        var failures: [String] = []
        let name = device.plan.name
        if states.count != entries.count {
            failures.append("\(name): the server told of \(states.count) channels, and there are \(entries.count)")
        }
        for (index, alone) in states {
            if index != alone { failures.append("\(name): the index says \(index), and the state is \(alone)") }
            guard let entry = entries[index.channel] else {
                failures.append("\(name): \(index.channel) is not theirs")
                continue
            }
            let told = [
                index.head.rawValue, index.first.rawValue, index.delivered.rawValue, index.read.rawValue,
                UInt64(index.unread),
            ]
            let has = [entry.head.sequence, entry.first, entry.own.delivered, entry.userRead, entry.unread]
            if told != has { failures.append("\(name): \(index.channel) was told as \(told), and is \(has)") }
            let sent = logs[index.channel]?.messages.last { $0.sender.user == device.user.rawValue }?.sequence ?? 0
            let seen = max(entry.userRead, sent, entry.since - 1)
            let unread = entry.head.sequence > seen ? entry.head.sequence - seen : 0
            if unread != entry.unread {
                failures.append("\(name): \(entry.unread) of \(index.channel) are called unread, and \(unread) are")
            }
        }
        return failures
    }
}

extension ChannelKey {
    init(_ channel: ChannelID) {
        if let group = channel.group {
            self = .group(group.rawValue)
        } else {
            self = .direct(channel.first, channel.second)
        }
    }
}
