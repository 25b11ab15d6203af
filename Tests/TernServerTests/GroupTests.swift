// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernMessages
import TernServer
import TernTransport
import TestTimeLimits
import Testing

@Suite(.untilItHangs) struct GroupTests {
    @Test func groupsAreMadeFoundJoinedAndLeft() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            let bob = try await harness.client("bob")
            let desk = try await harness.client("bob/desk")
            let made = try await alice.ask(CreateGroup(name: try Name("team"), isOpen: true))
            #expect(made.isMember)
            #expect(made.memberCount == 1)
            let again = await #expect(throws: Failure.self) { try await bob.ask(CreateGroup(name: try Name("team"))) }
            #expect(again?.code == .alreadyExists)
            let found = try await bob.ask(FindGroup(name: try Name("team")))
            #expect(found.group == made.group)
            #expect(!found.isMember)
            let missing = await #expect(throws: Failure.self) { try await bob.ask(FindGroup(name: try Name("none"))) }
            #expect(missing?.code == .noSuchChannel)
            // Before joining nothing can be sent, read or listed.
            let channel = ChannelID(group: made.group)
            for refused in [
                await #expect(throws: Failure.self) { try await bob.send("?", to: PartyID(made.group)) },
                await #expect(throws: Failure.self) { try await bob.ask(History(channel: channel, from: .zero)) },
                await #expect(throws: Failure.self) { try await bob.ask(ListMembers(group: made.group)) },
                await #expect(throws: Failure.self) { try await bob.ask(ReadChannelState(channel: channel)) },
                await #expect(throws: Failure.self) { try await bob.ask(TernMessages.Offsets(channel: channel)) },
            ] { #expect(refused?.code == .notAMember) }
            let joined = try await bob.ask(JoinGroup(group: made.group))
            #expect(joined.isMember)
            #expect(joined.memberCount == 2)
            #expect(try await bob.ask(JoinGroup(group: made.group)).memberCount == 2)
            // Bob's other device is told, and follows from now on.
            let notice = try InboxNotice(try await desk.control.message())
            #expect(notice.channel == channel)
            #expect(!notice.mustPull)
            try await alice.send("welcome", to: PartyID(made.group))
            #expect(await bob.nextPushes(1).first?.channel == channel)
            #expect(await desk.nextPushes(1).first?.payload == ByteBuffer(string: "welcome"))
            let members = try await bob.ask(ListMembers(group: made.group))
            #expect(members.members.map(\.name.text) == ["alice", "bob"])
            let second = try await bob.ask(ListMembers(group: made.group, after: alice.user, limit: 1))
            #expect(second.members.map(\.user) == [bob.user])
            #expect(try await bob.ask(ListMembers(group: made.group, limit: 1)).hasMore)
            _ = try await bob.ask(LeaveGroup(group: made.group))
            _ = try await bob.ask(LeaveGroup(group: made.group))
            let left = await #expect(throws: Failure.self) { try await desk.send("?", to: PartyID(made.group)) }
            #expect(left?.code == .notAMember)
            try await alice.send("gone", to: PartyID(made.group))
            try await alice.send("direct", to: PartyID(bob.user))
            #expect(await bob.nextPushes(1).first?.payload == ByteBuffer(string: "direct"))
        }
    }

    @Test func pipelinedSendersMakeOneContiguousLogThatEveryMemberSees() async throws {
        let senders = 5
        let each = 200
        let total = senders * each
        try await Harness.run { harness in
            var clients: [TestClient] = []
            for index in 0..<senders { clients.append(try await harness.client("sender\(index)")) }
            let watcher = try await harness.client("watcher")
            let group = try await watcher.ask(CreateGroup(name: try Name("team"), isOpen: true)).group
            for client in clients { _ = try await client.ask(JoinGroup(group: group)) }
            let all = clients
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                for client in all {
                    tasks.addTask {
                        let sequences = try await Self.sendAll(each, from: client, to: group)
                        #expect(sequences.count == each)
                        #expect(sequences == sequences.sorted())
                        // Everything but its own comes by push, in order.
                        let pushed = await client.nextPushes(total - each).map(\.sequence.rawValue)
                        #expect(pushed == pushed.sorted())
                        #expect(Set(pushed).union(sequences) == Set(1...UInt64(total)))
                    }
                }
                tasks.addTask {
                    let pushed = await watcher.nextPushes(total)
                    #expect(pushed.map(\.sequence.rawValue) == Array(1...UInt64(total)))
                    for client in all {
                        let texts = pushed.filter { $0.sender == client.user }.map { String(buffer: $0.payload) }
                        #expect(texts == (0..<each).map { "line \($0)" })
                    }
                }
                try await tasks.waitForAll()
            }
        }
    }

    /// Writes everything before it reads the first answer.
    private static func sendAll(_ count: Int, from client: TestClient, to group: GroupID) async throws -> [UInt64] {
        let stream = try await client.sender()
        for index in 0..<count { try await stream.write(client.text("line \(index)", to: PartyID(group))) }
        var sequences: [UInt64] = []
        for _ in 0..<count { sequences.append(try await stream.acknowledgement().sequence.rawValue) }
        return sequences
    }
}
