// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import TestTimeLimits
import Testing

@testable import TernStore

/// Who may be told a name, and what finding it out costs.
@Suite(.untilItHangs) struct KnownNamesTests {
    /// Groups whose only member is `user`.
    private func makeGroups(_ count: Int, of user: UInt64, in store: SQLiteMessageStore) async throws -> [UInt64] {
        try await withThrowingTaskGroup(of: UInt64.self) { tasks in
            for number in 0..<count {
                tasks.addTask {
                    try await store.createGroup(named: "\(user)-\(number)", owner: user, rules: .commons).group
                }
            }
            return try await tasks.reduce(into: []) { $0.append($1) }.sorted()
        }
    }

    /// Who is in 300 groups, and asks for many who are in as many others: a reader looks at a bounded number of rows at a time.
    @Test func whoSharesNothingCostsLittleAtATime() async throws {
        try await withTemporaryDirectory { directory in
            try await withStore(in: directory) { store in
                let (alice, bob) = try await store.pair()
                let carol = try await store.registerUser(named: "carol")
                let groups = try await self.makeGroups(300, of: alice, in: store)
                _ = try await self.makeGroups(300, of: bob, in: store)
                _ = try await store.join(group: try #require(groups.last), user: carol)
                let asked: [UInt64] = (0..<300).map { [bob, carol, 77][$0 % 3] }
                #expect(try await store.names(of: asked, knownTo: alice) == [carol: "carol"])

                let session = try ReadSession(path: directory + "/messages.sqlite")
                var question = NameQuestion(of: asked + [UInt64](1_000..<1_010), by: alice)
                var steps = 0
                while !question.isAnswered, steps < 100 {
                    let before = question.examined
                    let last = question
                    question = try session.transaction { session throws(StoreError) in
                        var question = last
                        try question.step(in: session)
                        return question
                    }
                    #expect(question.examined - before <= NameQuestion.stepSize)
                    steps += 1
                }
                // Each once: 13 users, 300 groups.
                #expect(question.names == [carol: "carol"])
                #expect(question.examined <= 13 * 302 && steps <= 4, "\(question.examined) in \(steps)")
            }
        }
    }

    /// Groups that no walk may end in, or begin anew from, because a step ended just there.
    @Test(arguments: [0, 1, 2, 3]) func aStepMayEndAnywhere(_ others: Int) async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            let groups = try await self.makeGroups(NameQuestion.stepSize - 2 + others, of: alice, in: store)
            #expect(try await store.names(of: [bob], knownTo: alice).isEmpty)
            _ = try await store.join(group: try #require(groups.last), user: bob)
            #expect(try await store.names(of: [bob], knownTo: alice) == [bob: "bob"])
        }
    }

    @Test func groupsAreNamedToTheirMembers() async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            let group = try await store.createGroup(named: "g", owner: alice, rules: .commons).group
            #expect(
                try await store.names(of: [group, bob, alice, .max], knownTo: alice) == [group: "g", alice: "alice"])
            #expect(try await store.names(of: [group, alice], knownTo: bob, in: .group(group)).isEmpty)
            _ = try await store.join(group: group, user: bob)
            for channel in [nil, ChannelKey.group(group)] {
                let names = try await store.names(of: [group, alice], knownTo: bob, in: channel)
                #expect(names == [group: "g", alice: "alice"])
            }
        }
    }

    /// One look-up by the whole key for each row, never a range where an equality is meant.
    @Test func aRowOfTheWalkIsOneLookUp() async throws {
        try await withTemporaryDirectory { directory in
            try await withStore(in: directory) { _ in }
            let connection = try SQLiteConnection(path: directory + "/messages.sqlite", mode: .readWrite)
            let plan = try connection.prepare("EXPLAIN QUERY PLAN \(ReadSession.commonGroupsQuery)").all { $0.text(3) }
            #expect(plan.contains { $0.contains("b USING PRIMARY KEY (user=? AND channel=?)") }, "\(plan)")
            #expect(plan.contains { $0.contains("member_in_group (user=? AND in_group>?)") }, "\(plan)")
            #expect(!plan.contains { $0.contains("SCAN") && !$0.contains("SCALAR") || $0.contains("TEMP") }, "\(plan)")
        }
    }

    /// A clean end costs the same however many keys there are: the plans do not depend on statistics.
    @Test func closingAnalysesNothing() async throws {
        try await withTemporaryDirectory { directory in
            try await withStore(in: directory) { store async throws in
                let (alice, bob) = try await store.pair()
                for index in 0..<50 {
                    let channel = ChannelKey.direct(alice, bob)
                    _ = try await store.append(.text("\(index)", to: channel, from: alice))
                    try await store.advanceOffsets(Offsets(read: 1), of: DeviceKey(user: bob, device: 1), in: channel)
                }
            }
            let connection = try SQLiteConnection(path: directory + "/messages.sqlite", mode: .readWrite)
            let tables = try connection.integer("SELECT count(*) FROM sqlite_master WHERE name LIKE 'sqlite_stat%'")
            #expect(tables == 0)
            #expect(try connection.integer("SELECT closed FROM run") == 1)
        }
    }
}
