// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernMessages
import TernServer
import TernStore
import TestTimeLimits
import Testing

@Suite(.untilItHangs) struct QuotaTests {
    private func refusal(_ body: () async throws -> Void) async -> Failure? {
        await #expect(throws: Failure.self) { try await body() }
    }

    @Test func aUserMakesJoinsAndNamesSoMuch() async throws {
        try await Harness.run(configure: {
            $0.quotas.groups = 3
            $0.quotas.groupsCreated = 2
            $0.quotas.namesRegistered = 2
            $0.quotas.conversationsBegun = 2
            $0.quotas.groupMembers = 2
        }) { harness in
            let eve = try await harness.client("eve")
            let bob = try await harness.client("bob")
            let carol = try await harness.client("carol")
            // Made.
            let first = try await eve.ask(CreateGroup(name: try Name("one"))).group
            _ = try await eve.ask(CreateGroup(name: try Name("two")))
            let created = await self.refusal { _ = try await eve.ask(CreateGroup(name: try Name("three"))) }
            #expect(created?.code == .quotaExceeded)
            #expect(created?.isRetryable == false)
            #expect(created?.text == "you have made 2 groups; more are not allowed")
            // Leaving gives no new ones.
            _ = try await eve.ask(LeaveGroup(group: first))
            let again = await self.refusal { _ = try await eve.ask(CreateGroup(name: try Name("three"))) }
            #expect(again?.code == .quotaExceeded)
            // Joined.
            var groups: [GroupID] = []
            for name in ["b1", "b2"] {
                groups.append(try await bob.ask(CreateGroup(name: try Name(name), isOpen: true)).group)
            }
            for group in groups { _ = try await eve.ask(JoinGroup(group: group)) }
            let extra = try await carol.ask(CreateGroup(name: try Name("c1"), isOpen: true)).group
            let joined = await self.refusal { _ = try await eve.ask(JoinGroup(group: extra)) }
            #expect(joined?.code == .quotaExceeded)
            _ = try await eve.ask(LeaveGroup(group: groups[0]))
            #expect(try await eve.ask(JoinGroup(group: extra)).memberCount == 2)
            #expect(try await eve.ask(JoinGroup(group: extra)).memberCount == 2)
            // Full.
            let full = await self.refusal { _ = try await bob.ask(JoinGroup(group: extra)) }
            #expect(full?.code == .groupFull)
            // Named.
            for name in ["n1", "n2"] { _ = try await eve.ask(ResolveUser(name: try Name(name))) }
            let named = await self.refusal { _ = try await eve.ask(ResolveUser(name: try Name("n3"))) }
            #expect(named?.code == .quotaExceeded)
            _ = try await eve.ask(ResolveUser(name: try Name("bob")))
            // Begun.
            try await eve.send("hello", to: PartyID(bob.user))
            try await eve.send("again", to: PartyID(bob.user))
            try await eve.send("hello", to: PartyID(carol.user))
            let begun = await self.refusal { try await eve.send("myself", to: PartyID(eve.user)) }
            #expect(begun?.code == .quotaExceeded)
            // What others begin is theirs.
            try await carol.send("hello", to: PartyID(bob.user))
        }
    }
}
