// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import HeldWriterSupport
import NIOCore
import TernMessages
import TernTransport
import TestTimeLimits
import Testing

@testable import TernServer
@testable import TernStore

/// Several devices of one user join, leave and send at once: memory and tables agree in every order.
@Suite(.untilItHangs)
struct MembershipOrderTests {
    /// Opened once, by the test; whoever comes before waits.
    private final class Door: Sendable {
        private let state = Monitor((isOpen: false, arrived: 0))

        func pass() async {
            self.state.update { $0.arrived += 1 }
            while !self.state.withLock({ $0.isOpen }) { await Task.yield() }
        }

        func untilSomebodyWaits() async {
            while self.state.withLock({ $0.arrived }) == 0 { await Task.yield() }
        }

        func open() { self.state.update { $0.isOpen = true } }
    }

    private func check(
        _ harness: Harness, _ client: TestClient, _ other: TestClient, _ group: GroupID, isMember: Bool
    ) async throws {
        let channel = ChannelID(group: group)
        #expect(harness.server.hub.isMember(client.user, of: channel) == isMember)
        #expect(try await harness.store.isMember(client.user.rawValue, of: group.rawValue) == isMember)
        // What the hub believes is what happens.
        try await other.send("for members", to: PartyID(group))
        let sent = await Result.of { try await client.send("from a member", to: PartyID(group)) }
        #expect(sent.isSuccess == isMember)
        try await other.send("direct", to: PartyID(client.user))
        let next = await client.nextPushes(1).first.map { String(buffer: $0.payload) }
        #expect(next == (isMember ? "for members" : "direct"))
    }

    /// The join is committed first, and its handler goes on last.
    @Test func aJoinThatIsAnsweredAfterALaterLeave() async throws {
        let door = Door()
        try await Harness.run(wrap: { DelayingStore($0, .init(join: { _ in await door.pass() })) }) { harness in
            let (alice, bob) = (try await harness.client("alice"), try await harness.client("bob"))
            let desk = try await harness.client("bob/desk")
            let group = try await alice.ask(CreateGroup(name: try Name("team"), isOpen: true)).group
            let joining = Task { try await bob.ask(JoinGroup(group: group)) }
            await door.untilSomebodyWaits()
            _ = try await desk.ask(LeaveGroup(group: group))
            door.open()
            let state = try await joining.value
            #expect(!state.isMember)
            try await self.check(harness, bob, alice, group, isMember: false)
        }
    }

    /// The leave is committed first, and its handler goes on last.
    @Test func aLeaveThatIsAnsweredAfterALaterJoin() async throws {
        let door = Door()
        try await Harness.run(wrap: { DelayingStore($0, .init(leave: { _ in await door.pass() })) }) { harness in
            let (alice, bob) = (try await harness.client("alice"), try await harness.client("bob"))
            let desk = try await harness.client("bob/desk")
            let group = try await alice.ask(CreateGroup(name: try Name("team"), isOpen: true)).group
            _ = try await bob.ask(JoinGroup(group: group))
            let leaving = Task { try await bob.ask(LeaveGroup(group: group)) }
            await door.untilSomebodyWaits()
            _ = try await desk.ask(JoinGroup(group: group))
            door.open()
            _ = try await leaving.value
            try await self.check(harness, bob, alice, group, isMember: true)
        }
    }

    /// Bob logs in; a page of his groups was read, and he leaves one and joins another before it is taken.
    @Test func whatChangesWhileAUserLogsIn() async throws {
        let door = Door()
        try await Harness.run(
            wrap: { DelayingStore($0, .init(memberships: { user in if user == 2 { await door.pass() } })) }
        ) { harness in
            let alice = try await harness.client("alice")
            let bob = try await harness.store.registerUser(named: "bob")
            let left = try await alice.ask(CreateGroup(name: try Name("left"), isOpen: true)).group
            let joined = try await alice.ask(CreateGroup(name: try Name("joined"), isOpen: true)).group
            try await harness.store.join(group: left.rawValue, user: bob)
            let login = Task { try await harness.client("bob") }
            await door.untilSomebodyWaits()
            try await harness.store.leave(group: left.rawValue, user: bob)
            try await harness.store.join(group: joined.rawValue, user: bob)
            door.open()
            let client = try await login.value
            try await self.check(harness, client, alice, joined, isMember: true)
            try await self.check(harness, client, alice, left, isMember: false)
        }
    }

    /// Messages, a leave and a join of one user in one transaction: pushes and answers follow its order.
    @Test func aLeaveBetweenTheCheckAndTheCommit() async throws {
        try await Harness.run { harness in
            let (alice, bob) = (try await harness.client("alice"), try await harness.client("bob"))
            let desk = try await harness.client("bob/desk")
            let group = try await alice.ask(CreateGroup(name: try Name("team"), isOpen: true)).group
            _ = try await bob.ask(JoinGroup(group: group))
            let held = try await HeldWriter(of: harness.store)
            let before = await held.queue { try await alice.send("1", to: PartyID(group)) }
            let leave = await held.queue { try await desk.ask(LeaveGroup(group: group)) }
            // The hub still says that bob is a member.
            #expect(harness.server.hub.isMember(bob.user, of: ChannelID(group: group)))
            let after = await held.queue { try await bob.send("not stored", to: PartyID(group)) }
            let unheard = await held.queue { try await alice.send("2", to: PartyID(group)) }
            let join = await held.queue { try await desk.ask(JoinGroup(group: group)) }
            let heard = await held.queue { try await alice.send("3", to: PartyID(group)) }
            held.letGo()
            _ = try await (before.value, leave.value, unheard.value, join.value, heard.value)
            let refused = await #expect(throws: Failure.self) { try await after.value }
            #expect(refused?.code == .notAMember)
            // "1" may be pushed, or forgotten with the membership in which it came; "2" never comes.
            let pushed = await bob.nextPushes(1).map { String(buffer: $0.payload) }
            let rest = pushed == ["1"] ? await bob.nextPushes(1).map { String(buffer: $0.payload) } : pushed
            #expect(rest == ["3"])
            let page = try await bob.ask(History(channel: ChannelID(group: group), from: .zero))
            #expect(page.messages.map { String(buffer: $0.payload) } == ["3"])
            #expect(page.first.rawValue == 3)
            withExtendedLifetime(desk) {}
        }
    }

    @Test func creatingAGroupIsToldToTheUsersOtherDevices() async throws {
        try await Harness.run { harness in
            let (alice, desk) = (try await harness.client("alice"), try await harness.client("alice/desk"))
            let group = try await alice.ask(CreateGroup(name: try Name("team"))).group
            // Before anything that was asked after the group was there.
            try await desk.control.write(Message(type: .ping))
            let notice = try InboxNotice(try await desk.control.message())
            #expect(try await desk.control.message().type == .pong)
            #expect(notice.channel == ChannelID(group: group) && notice.head == .zero && !notice.mustPull)
            let state = try await desk.ask(ReadChannelState(channel: ChannelID(group: group)))
            #expect(notice.epoch == state.epoch)
            try await alice.send("hello", to: PartyID(group))
            #expect(await desk.nextPushes(1).first?.channel == ChannelID(group: group))
        }
    }

    /// The user has left again when the handler comes to tell the other devices: they are told nothing.
    @Test func whatWasLeftIsNotTold() async throws {
        let door = Door()
        try await Harness.run(
            wrap: { DelayingStore($0, .init(creation: { await door.pass() }, join: { _ in await door.pass() })) }
        ) { harness in
            let (alice, desk) = (try await harness.client("alice"), try await harness.client("alice/desk"))
            let name = try Name("team")
            let creation = Task { try await alice.ask(CreateGroup(name: name)) }
            await door.untilSomebodyWaits()
            let group = try await desk.ask(FindGroup(name: name)).group
            _ = try await desk.ask(LeaveGroup(group: group))
            door.open()
            _ = await creation.result
            try await desk.control.write(Message(type: .ping))
            #expect(try await desk.control.message().type == .pong)
        }
    }

    /// One name, two users, one transaction: one of them has the group, and the other is not in it.
    @Test func oneOfTwoWhoMakeAGroupHasIt() async throws {
        try await Harness.run { harness in
            let (alice, bob) = (try await harness.client("alice"), try await harness.client("bob"))
            let held = try await HeldWriter(of: harness.store)
            let name = try Name("team")
            let first = await held.queue { try await alice.ask(CreateGroup(name: name)) }
            let second = await held.queue { try await bob.ask(CreateGroup(name: name, isOpen: true)) }
            held.letGo()
            let made = try await first.value
            let refused = await #expect(throws: Failure.self) { try await second.value }
            #expect(refused?.code == .alreadyExists)
            #expect(made.isMember && !made.isOpen && made.memberCount == 1)
            try await self.check(harness, bob, alice, made.group, isMember: false)
        }
    }
}

extension Result where Failure == any Error {
    fileprivate static func of(_ body: () async throws -> Success) async -> Result {
        do { return .success(try await body()) } catch { return .failure(error) }
    }

    fileprivate var isSuccess: Bool { if case .success = self { true } else { false } }
}
