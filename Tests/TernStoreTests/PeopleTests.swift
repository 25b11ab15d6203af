// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import TernStore
import TestTimeLimits
import Testing

@Suite(.untilItHangs) struct PeopleTests {
    @Test func namesKeepTheirIdentifiers() async throws {
        try await withTemporaryDirectory { directory in
            try await withStore(in: directory) { store in
                #expect(try await store.registerUser(named: "alice") == 1)
                #expect(try await store.registerUser(named: "bob") == 2)
                #expect(try await store.registerUser(named: "alice") == 1)
                #expect(try await store.registerDevice(named: "phone", of: 1) == 1)
                #expect(try await store.registerDevice(named: "laptop", of: 1) == 2)
                #expect(try await store.registerDevice(named: "laptop", of: 2) == 1)
                let creation = try await store.createGroup(named: "alice", owner: 1)
                #expect(creation == GroupCreation(group: 1 << 36, isNew: true))
            }
            try await withStore(in: directory) { store async throws in
                #expect(try await store.registerUser(named: "carol") == 3)
                #expect(try await store.registerUser(named: "bob") == 2)
                #expect(try await store.registerDevice(named: "laptop", of: 1) == 2)
                #expect(
                    try await store.createGroup(named: "alice", owner: 2) == GroupCreation(group: 1 << 36, isNew: false)
                )
                #expect(try await store.createGroup(named: "b", owner: 2).group == 1 << 36 + 1)
                #expect(try await store.findUser(named: "nobody") == nil)
                #expect(try await store.findGroup(named: "alice") == 1 << 36)
                #expect(
                    try await store.names(of: [1, 3, 1 << 36, 77, .max]) == [1: "alice", 3: "carol", 1 << 36: "alice"])
            }
        }
    }

    @Test func manyWhoRegisterOneNameAreOneUser() async throws {
        try await withStore { store in
            let identifiers = try await withThrowingTaskGroup(of: UInt64.self) { tasks in
                for _ in 0..<40 { tasks.addTask { try await store.registerUser(named: "alice") } }
                return try await tasks.reduce(into: Set()) { $0.insert($1) }
            }
            #expect(identifiers == [1])
        }
    }

    @Test(arguments: ["", "a\nb", "\u{0}", String(repeating: "ä", count: 128)])
    func refusesNamesThatCannotBeShown(_ name: String) async throws {
        try await withStore { store in
            _ = await storeError(.invalidName) { try await store.registerUser(named: name) }
            let user = try await store.registerUser(named: "'; DROP TABLE message; --")
            _ = await storeError(.invalidName) { try await store.createGroup(named: name, owner: user) }
            _ = await storeError(.invalidName) { try await store.registerDevice(named: name, of: user) }
        }
    }

    @Test func membershipFollowsJoiningAndLeaving() async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            let group = try await store.createGroup(named: "g", owner: bob, rules: .commons).group
            let other = try await store.createGroup(named: "h", owner: bob).group
            #expect(try await store.members(of: group, after: 0, limit: 10) == [bob])
            #expect(try await store.join(group: group, user: alice).isNew)
            #expect(!(try await store.join(group: group, user: alice).isNew))
            #expect(try await store.members(of: group, after: 0, limit: 10) == [alice, bob])
            #expect(try await store.members(of: group, after: 0, limit: 1) == [alice])
            #expect(try await store.members(of: group, after: alice, limit: 1) == [bob])
            #expect(try await store.groups(of: bob, after: 0, limit: 10) == [group, other])
            #expect(try await store.groups(of: bob, after: group, limit: 10) == [other])
            #expect(try await store.isMember(alice, of: group))
            #expect(try await store.leave(group: group, user: alice))
            #expect(!(try await store.leave(group: group, user: alice)))
            #expect(!(try await store.isMember(alice, of: group)))
            #expect(try await store.groups(of: alice, after: 0, limit: 10).isEmpty)

            _ = await storeError(.notFound) { try await store.join(group: group + 9, user: alice) }
            _ = await storeError(.notFound) { try await store.join(group: group, user: 99) }
            _ = await storeError(.notFound) { try await store.createGroup(named: "x", owner: 99) }
            _ = await storeError(.notFound) { try await store.registerDevice(named: "x", of: 99) }
            // A direct channel is no group, whatever number is asked for.
            _ = try await store.append(.text("", to: .direct(bob, bob), from: bob))
            _ = await storeError(.notFound) { try await store.join(group: bob, user: alice) }
            #expect(!(try await store.isMember(bob, of: bob)))
        }
    }
}
