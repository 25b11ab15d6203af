// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import NIOPosix
import TernMessages
import TernStore
import TernTesting
import TernTransport
import TestTimeLimits
import Testing

@testable import TernServer

/// One user in very many groups comes and goes: nobody else waits for it.
@Suite(.untilItHangs) struct HubTests {
    private func session(_ user: UInt64) throws -> Session {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let pair = InMemoryTransport.makePair(clientLoop: loop, serverLoop: loop)
        return Session(
            user: try #require(UserID(rawValue: user)), device: try #require(DeviceID(rawValue: 1)),
            connection: Connection(adopting: pair.server),
            configuration: ServerConfiguration(name: try Name("tern")))
    }

    private func withGroups(
        _ count: Int, _ body: (SQLiteMessageStore, _ user: UInt64, _ groups: [UInt64]) async throws -> Void
    ) async throws {
        try await Harness.run { harness in
            harness.store.limit(to: .unlimited)
            let user = try await harness.store.registerUser(named: "eve")
            var groups: [UInt64] = []
            for index in 0..<count {
                groups.append(try await harness.store.createGroup(named: "g\(index)", owner: user).group)
            }
            try await body(harness.store, user, groups)
        }
    }

    @Test func enteringAndLeavingTakeTheLockInSmallSteps() async throws {
        let count = 1_000
        try await self.withGroups(count) { store, user, groups in
            let hub = Hub()
            let (first, second) = (try self.session(user), try self.session(user))
            try await hub.enter(first, limit: 8, store: store)
            try await hub.enter(second, limit: 8, store: store)
            for group in groups {
                #expect(hub.audience(of: .group(group)) == 1)
                #expect(hub.sessions(in: .group(group)).count == 2)
            }
            hub.leave(first)
            #expect(hub.sessions(in: .group(groups[0])).count == 1)
            hub.leave(second)
            for group in groups { #expect(hub.audience(of: .group(group)) == 0) }
            #expect(hub.largestStep > 0)
            #expect(hub.largestStep <= Hub.step)
        }
    }

    @Test func whoComesBackWhileTheRestIsSweptUpStays() async throws {
        try await self.withGroups(300) { store, user, groups in
            let hub = Hub()
            for _ in 0..<10 {
                let (old, new) = (try self.session(user), try self.session(user))
                try await hub.enter(old, limit: 8, store: store)
                await withTaskGroup(of: Void.self) { tasks in
                    tasks.addTask { hub.leave(old) }
                    tasks.addTask { try? await hub.enter(new, limit: 8, store: store) }
                }
                for group in groups { #expect(hub.sessions(in: .group(group)).map(\.device) == [new.device]) }
                hub.leave(new)
                for group in groups { #expect(hub.audience(of: .group(group)) == 0) }
            }
        }
    }

    /// A page of groups that was read before a leave does not bring the user back.
    @Test func whatIsLeftWhileTheGroupsAreReadStaysLeft() async throws {
        try await self.withGroups(300) { store, user, groups in
            let hub = Hub()
            let session = try self.session(user)
            let joined: UInt64 = ChannelKey.firstGroup + 5_000
            await withTaskGroup(of: Void.self) { tasks in
                tasks.addTask { try? await hub.enter(session, limit: 8, store: store) }
                tasks.addTask {
                    while hub.sessions(of: session.user).isEmpty { await Task.yield() }
                    for group in groups.suffix(50) {
                        _ = try? await store.leave(group: group, user: user)
                        hub.follow([.left(user: user, group: group)])
                    }
                    hub.follow([.joined(user: user, membership: GroupMembership(group: joined, first: 1))])
                }
            }
            for group in groups.dropLast(50) + [joined] { #expect(hub.audience(of: .group(group)) == 1) }
            for group in groups.suffix(50) { #expect(hub.audience(of: .group(group)) == 0) }
        }
    }

    /// One commit may have a message and a join behind it. Whoever connects after the commit, and before it is told, has read that they
    /// are in the group; the message is not theirs all the same.
    @Test func whatWasSaidBeforeAJoinOfTheSameCommitIsNotPushed() async throws {
        try await self.withGroups(0) { store, owner, _ in
            let joiner = try await store.registerUser(named: "bob")
            let rules = GroupRules(isOpen: true, sharesHistory: false)
            let group = try await store.createGroup(named: "talk", owner: owner, rules: rules).group
            func committed(_ number: UInt64) async throws -> CommittedMessage {
                let draft = Draft(
                    channel: .group(group), sender: DeviceKey(user: owner, device: 1),
                    key: IdempotencyKey(high: 1, low: number), type: MessageType.text.rawValue, clientTimestamp: 0,
                    payload: ByteBuffer(string: "\(number)"))
                return CommittedMessage(draft: draft, receipt: try await store.append(draft))
            }
            let before = try await committed(1)
            let joining = try await store.join(group: group, user: joiner)
            #expect(joining.isNew)
            let hub = Hub()
            let session = try self.session(joiner)
            try await hub.enter(session, limit: 8, store: store)
            hub.follow([.message(before)])
            hub.follow([.message(try await committed(2))])
            let start = try #require(try await session.feedStarts.next())
            let bytes = try #require(await session.nextPush(for: start))
            let pushed = try ChannelMessage(try Message(decoding: bytes))
            #expect(pushed.sequence.rawValue == 2)
        }
    }

    /// However many connections a user has, the store works on a few of their requests at once.
    @Test func theRequestsOfAUserShareTheirPlaces() async throws {
        let readers = 2
        try await Harness.run(configure: { $0.maximumRequestsPerUser = 1 }, store: { $0.readers = readers }) {
            harness in
            let first = try await harness.client("eve")
            let second = try await harness.client("eve/other")
            let bob = try await harness.client("bob")
            let work = try #require(harness.server.hub.work(of: first.user))
            #expect(harness.server.hub.work(of: second.user) === work)
            // One of them is being worked on, for as long as it takes.
            await work.take()
            async let one = first.ask(SyncIndex())
            async let other = second.ask(SyncIndex())
            while work.waiting < 2 { await Task.yield() }
            _ = try await bob.ask(SyncIndex())
            work.giveBack()
            _ = try await (one, other)
            #expect(work.taken == 0)
        }
    }

    @Test func tooManyConnectionsOfAUserAreRefused() async throws {
        try await self.withGroups(1) { store, user, _ in
            let hub = Hub()
            let first = try self.session(user)
            try await hub.enter(first, limit: 1, store: store)
            let second = try self.session(user)
            let refused = await #expect(throws: Failure.self) { try await hub.enter(second, limit: 1, store: store) }
            #expect(refused?.code == .rateLimited)
            hub.leave(second)
            #expect(hub.sessions(of: first.user).count == 1)
        }
    }
}
