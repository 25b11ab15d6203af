// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import HeldWriterSupport
import NIOCore
import Synchronization
import TestTimeLimits
import Testing

@testable import TernStore

/// Who may enter a group, write to it and read it.
@Suite(.untilItHangs) struct MembershipTests {
    private func history(
        _ store: SQLiteMessageStore, _ channel: ChannelKey, for user: UInt64, from sequence: UInt64 = 1,
        _ direction: HistoryDirection = .forward
    ) async throws -> HistoryPage {
        try await store.history(of: channel, for: user, from: sequence, direction, limit: 100, byteLimit: .max)
    }

    // MARK: Forced interleavings

    /// The leave is committed between the moment in which somebody looked whether the sender is a member and the append.
    @Test func nothingIsStoredAfterALeave() async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            let group = try await store.createGroup(named: "g", owner: alice, rules: .commons).group
            try await store.join(group: group, user: bob)
            _ = try await store.append(.text("1", to: .group(group), from: bob))
            let held = try await HeldWriter(of: store)
            #expect(try await store.isMember(bob, of: group))
            let before = await held.queue { try await store.append(.text("2", to: .group(group), from: bob)) }
            let leave = await held.queue { try await store.leave(group: group, user: bob) }
            let after = await held.queue { try await store.append(.text("3", to: .group(group), from: bob)) }
            let join = await held.queue { try await store.join(group: group, user: bob) }
            let again = await held.queue { try await store.append(.text("4", to: .group(group), from: bob)) }
            held.letGo()
            #expect(try await before.value.sequence == 2)
            #expect(try await leave.value)
            _ = await storeError(.notAMember) { try await after.value }
            #expect(try await join.value.isNew)
            #expect(try await again.value.sequence == 3)
            #expect(try await store.log(of: .group(group)).map(\.text) == ["1", "2", "4"])
            try await store.leave(group: group, user: bob)
            _ = await storeError(.notAMember) { try await store.append(.text("5", to: .group(group), from: bob)) }
            // Not even a message that is there already is acknowledged to somebody who has left.
            _ = await storeError(.notAMember) {
                try await store.append(.text("x", to: .group(group), from: bob, key: 0xa11))
            }
        }
    }

    /// Messages, joins and leaves are told in the order in which they were committed, before anybody is answered.
    @Test func eventsComeInTheOrderOfTheCommits() async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            let told = Mutex<[CommitEvent]>([])
            store.observeCommits { events in told.withLock { $0 += events } }
            let group = try await store.createGroup(named: "g", owner: alice, rules: GroupRules(isOpen: true)).group
            #expect(told.withLock { $0 } == [.joined(user: alice, membership: .init(group: group, first: 1))])
            let held = try await HeldWriter(of: store)
            _ = await held.queue { try await store.append(.text("1", to: .group(group), from: alice)) }
            _ = await held.queue { try await store.join(group: group, user: bob) }
            _ = await held.queue { try await store.join(group: group, user: bob) }
            _ = await held.queue { try await store.append(.text("2", to: .group(group), from: bob)) }
            _ = await held.queue { try await store.leave(group: group, user: bob) }
            _ = await held.queue { try await store.leave(group: group, user: bob) }
            let last = await held.queue { try await store.append(.text("3", to: .group(group), from: alice)) }
            held.letGo()
            _ = try await last.value
            let names = told.withLock { $0 }.dropFirst().map { event in
                switch event {
                case .message(let message): "message \(message.receipt.sequence)"
                case .joined(let user, let membership): "joined \(user) from \(membership.first)"
                case .left(let user, _): "left \(user)"
                }
            }
            #expect(names == ["message 1", "joined \(bob) from 2", "message 2", "left \(bob)", "message 3"])
        }
    }

    /// New epochs in one transaction with messages before and after: no log loses its head.
    @Test func newEpochsShareATransactionWithMessages() async throws {
        try await withTemporaryDirectory { directory in
            try await withStore(in: directory) { store async throws in
                let (alice, bob) = try await store.pair()
                let (one, other) = (ChannelKey.direct(alice, bob), ChannelKey.direct(alice, alice))
                _ = try await store.append(.text("0", to: one, from: alice))
                let held = try await HeldWriter(of: store)
                let first = await held.queue { try await store.append(.text("1", to: one, from: alice)) }
                let new = await held.queue { try await store.append(.text("1", to: other, from: alice)) }
                let renewal = await held.queue { try await store.startNewEpochs() }
                let second = await held.queue { try await store.append(.text("2", to: one, from: bob)) }
                held.letGo()
                try await renewal.value
                #expect(try await first.value.sequence == 2)
                #expect(try await new.value.sequence == 1)
                let later = try await second.value
                #expect(later.sequence == 3)
                let earlier = try await first.value
                #expect(later.epoch != earlier.epoch)
                #expect(try await store.head(of: one).epoch == later.epoch)
                #expect(try await store.append(.text("2", to: other, from: alice)).sequence == 2)
            }
            // Heads and messages agree, or opening a log would call it corrupt.
            try await withStore(in: directory) { store async throws in
                #expect(try await store.append(.text("3", to: .direct(1, 2), from: 1)).sequence == 4)
                #expect(try await store.append(.text("3", to: .direct(1, 1), from: 1)).sequence == 3)
            }
        }
    }

    @Test func oneOfTwoGroupsOfANameIsMade() async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            let held = try await HeldWriter(of: store)
            let first = await held.queue { try await store.createGroup(named: "g", owner: alice, rules: .commons) }
            let second = await held.queue { try await store.createGroup(named: "g", owner: bob) }
            held.letGo()
            let (made, found) = (try await first.value, try await second.value)
            #expect(made.isNew && !found.isNew && found.group == made.group)
            let group = made.group
            #expect(try await store.members(of: group, after: 0, limit: 9) == [alice])
            #expect(try await store.group(group, for: bob)?.rules == .commons)
        }
    }

    // MARK: Invitations

    @Test func aClosedGroupIsForThoseWhoWereInvited() async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            let carol = try await store.registerUser(named: "carol")
            let group = try await store.createGroup(named: "g", owner: alice).group
            _ = await storeError(.notInvited) { try await store.join(group: group, user: bob) }
            // Neither strangers nor the invited invite.
            _ = await storeError(.notAMember) { try await store.invite(bob, to: group, by: bob) }
            _ = await storeError(.notAMember) { try await store.invite(bob, to: group, by: carol) }
            _ = await storeError(.notAMember) { try await store.invite(bob, to: group + 9, by: alice) }
            _ = await storeError(.notFound) { try await store.invite(99, to: group, by: alice) }
            try await store.invite(bob, to: group, by: alice)
            try await store.invite(bob, to: group, by: alice)
            _ = await storeError(.notAMember) { try await store.invite(carol, to: group, by: bob) }
            #expect(try await store.group(group, for: bob)?.isInvited == true)
            #expect(try await store.group(group, for: carol)?.isInvited == false)
            #expect(try await store.join(group: group, user: bob).isNew)
            #expect(try await store.group(group, for: bob)?.isInvited == false)
            #expect(try await store.group(group, for: bob)?.isMember == true)
            // An invitation is good for one entrance.
            try await store.leave(group: group, user: bob)
            _ = await storeError(.notInvited) { try await store.join(group: group, user: bob) }
            #expect(try await store.group(group + 9, for: bob) == nil)
            #expect(try await store.group(.max, for: bob) == nil)
        }
    }

    /// Who asks again because the answer was lost has used up nothing more.
    @Test func aRepeatedInvitationNeedsNoQuota() async throws {
        try await withStore { store in
            var quotas = UserQuotas.unlimited
            quotas.invitations = 1
            store.limit(to: quotas)
            let (alice, bob) = try await store.pair()
            let group = try await store.createGroup(named: "g", owner: alice).group
            for _ in 0..<2 { try await store.invite(bob, to: group, by: alice) }
            let carol = try await store.registerUser(named: "carol")
            _ = await storeError(.quotaExceeded) { try await store.invite(carol, to: group, by: alice) }
        }
    }

    @Test func invitationsThatNobodyTookAreBounded() async throws {
        try await withStore { store in
            var quotas = UserQuotas()
            quotas.invitations = 2
            store.limit(to: quotas)
            let alice = try await store.registerUser(named: "alice")
            var others: [UInt64] = []
            for index in 0..<4 { others.append(try await store.registerUser(named: "u\(index)")) }
            let group = try await store.createGroup(named: "g", owner: alice).group
            let open = try await store.createGroup(named: "h", owner: alice, rules: .commons).group
            for other in others { try await store.invite(other, to: open, by: alice) }
            for other in others.prefix(2) { try await store.invite(other, to: group, by: alice) }
            let refused = await storeError(.quotaExceeded) { try await store.invite(others[2], to: group, by: alice) }
            #expect(refused?.message == "2 of your invitations were not taken yet; more are not allowed")
            try await store.join(group: group, user: others[0])
            try await store.invite(others[2], to: group, by: alice)
            // Others have their own.
            try await store.invite(others[3], to: group, by: others[0])
        }
    }

    // MARK: What a member may read

    @Test func membersReadFromTheirJoiningOn() async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            let group = try await store.createGroup(named: "g", owner: alice, rules: GroupRules(isOpen: true)).group
            let channel = ChannelKey.group(group)
            let device = DeviceKey(user: bob, device: 1)
            for index in 1...3 { _ = try await store.append(.text("\(index)", to: channel, from: alice)) }
            try await store.advanceOffsets(Offsets(read: 2), of: DeviceKey(user: alice, device: 1), in: channel)
            _ = await storeError(.notAMember) { try await self.history(store, channel, for: bob) }
            try await store.join(group: group, user: bob)
            let empty = try await self.history(store, channel, for: bob)
            #expect(empty.messages.isEmpty && empty.first == 4 && !empty.hasMore && empty.head.sequence == 3)
            for index in 4...5 { _ = try await store.append(.text("\(index)", to: channel, from: alice)) }
            for from: UInt64 in [0, 1, 3, 4] {
                let page = try await self.history(store, channel, for: bob, from: from)
                #expect(page.messages.map(\.sequence) == [4, 5] && page.first == 4)
            }
            let back = try await self.history(store, channel, for: bob, from: 9, .backward)
            #expect(back.messages.map(\.sequence) == [5, 4] && !back.hasMore)
            #expect(try await self.history(store, channel, for: bob, from: 3, .backward).messages.isEmpty)
            #expect(try await self.history(store, channel, for: alice).messages.count == 5)
            let entry = try #require(try await store.syncEntry(for: device, in: channel))
            #expect(entry.first == 4 && entry.unread == 2 && entry.head.sequence == 5)
            let page = try await store.syncIndex(for: device, after: nil, limit: 9)
            #expect(page.entries == [entry])
            #expect(
                try await store.memberships(of: bob, after: 0, limit: 9) == [GroupMembership(group: group, first: 4)])

            // What others told of messages before says nothing, written or not; and nor does what bob tells of them.
            for _ in 0..<2 {
                let none = try await store.offsets(
                    in: channel, for: bob, after: DeviceKey(user: 0, device: 0), limit: 9)
                #expect(none.entries.isEmpty && !none.hasMore)
                try await store.advanceOffsets(Offsets(read: 3), of: device, in: channel)
                #expect(try await store.offsets(of: device, in: channel) == Offsets())
                try await store.flush()
            }
            try await store.advanceOffsets(Offsets(delivered: 5, read: 4), of: device, in: channel)
            #expect(try await store.offsets(of: device, in: channel) == Offsets(delivered: 5, read: 4))
            #expect(try await store.syncEntry(for: device, in: channel)?.unread == 1)

            // Who comes back begins anew.
            try await store.leave(group: group, user: bob)
            _ = await storeError(.notAMember) { try await self.history(store, channel, for: bob) }
            _ = try await store.append(.text("6", to: channel, from: alice))
            try await store.join(group: group, user: bob)
            #expect(try await self.history(store, channel, for: bob).first == 7)
            #expect(try await store.syncEntry(for: device, in: channel)?.own == Offsets())
        }
    }

    @Test func aGroupMayShareItsHistory() async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            let rules = GroupRules(isOpen: false, sharesHistory: true)
            let group = try await store.createGroup(named: "g", owner: alice, rules: rules).group
            for index in 1...3 { _ = try await store.append(.text("\(index)", to: .group(group), from: alice)) }
            try await store.invite(bob, to: group, by: alice)
            try await store.join(group: group, user: bob)
            let page = try await self.history(store, .group(group), for: bob)
            #expect(page.messages.count == 3 && page.first == 1)
            #expect(try await store.group(group, for: bob)?.rules == rules)
            let entry = try await store.syncEntry(for: DeviceKey(user: bob, device: 1), in: .group(group))
            #expect(entry?.first == 1 && entry?.unread == 0)
        }
    }

    @Test func aDirectChannelIsForItsTwoUsers() async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            let carol = try await store.registerUser(named: "carol")
            let channel = ChannelKey.direct(alice, bob)
            #expect(try await self.history(store, channel, for: alice).head.sequence == 0)
            _ = await storeError(.notAMember) { try await self.history(store, channel, for: carol) }
            _ = try await store.append(.text("1", to: channel, from: alice))
            #expect(try await self.history(store, channel, for: bob).messages.count == 1)
            _ = await storeError(.notAMember) { try await self.history(store, channel, for: carol) }
            _ = await storeError(.notAMember) {
                try await store.offsets(in: channel, for: carol, after: DeviceKey(user: 0, device: 0), limit: 9)
            }
        }
    }
}
