// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import NIOCore
import TernMessages
import TernServer
import TernTransport
import TestTimeLimits
import Testing

/// Every request and message about a group, by those who have no part in it: who may do what, and who learns what.
@Suite(.untilItHangs) struct GroupAccessTests {
    enum Asker: String, CaseIterable {
        /// Never had to do with the group.
        case stranger
        /// Was a member, and left.
        case former
        /// Is in another group.
        case memberOfAnother
        /// Was invited and has not joined.
        case invited
        case member
    }

    enum Kind: String, CaseIterable {
        case closed, open
        /// The number of a group that does not exist.
        case none
    }

    private static let ok = ErrorCode.none

    /// The status of each request, in the order of ``requests(_:_:)``.
    private static func expected(_ asker: Asker, _ kind: Kind) -> [String: ErrorCode] {
        let isMember = asker == .member && kind != .none
        let mayKnow = kind == .open || kind == .closed && (asker == .invited || asker == .member)
        let forMembers: ErrorCode = isMember ? Self.ok : .notAMember
        return [
            "history": forMembers, "backwards": forMembers, "channel-state": forMembers, "offsets": forMembers,
            "list-members": forMembers, "invite-member": forMembers, "send": forMembers, "receipt": forMembers,
            "find-group": mayKnow ? Self.ok : .noSuchChannel,
            // The name is taken, which anybody finds out who wants it.
            "create-group": kind == .none ? Self.ok : .alreadyExists,
            "join-group": mayKnow ? Self.ok : .notInvited,
            "leave-group": Self.ok,
        ]
    }

    /// A world in which somebody asks.
    private struct Scene {
        var asker: TestClient
        var owner: TestClient
        var group: GroupID
        var name: Name
    }

    private func scene(_ asker: Asker, _ kind: Kind, _ harness: Harness) async throws -> Scene {
        let (owner, client) = (try await harness.client("owner"), try await harness.client("asker"))
        let name = try Name("team")
        guard kind != .none else {
            guard let group = GroupID(rawValue: 1 << 36 + 77) else { throw Missing(what: "a group") }
            if asker == .memberOfAnother { _ = try await client.ask(CreateGroup(name: try Name("other"))) }
            return Scene(asker: client, owner: owner, group: group, name: name)
        }
        let group = try await owner.ask(CreateGroup(name: name, isOpen: kind == .open)).group
        try await owner.send("secret", to: PartyID(group))
        switch asker {
        case .stranger: break
        case .memberOfAnother: _ = try await client.ask(CreateGroup(name: try Name("other"), isOpen: true))
        case .invited: _ = try await owner.ask(InviteMember(group: group, user: client.user))
        case .former, .member:
            _ = try await owner.ask(InviteMember(group: group, user: client.user))
            _ = try await client.ask(JoinGroup(group: group))
            try await owner.send("shared", to: PartyID(group))
            if asker == .former { _ = try await client.ask(LeaveGroup(group: group)) }
        }
        try await owner.send("secret again", to: PartyID(group))
        return Scene(asker: client, owner: owner, group: group, name: name)
    }

    /// Those that change nothing first.
    private func requests(_ scene: Scene) -> [(String, RequestFrame)] {
        let channel = ChannelID(group: scene.group)
        return [
            ("history", History(channel: channel, from: .zero).frame(identifier: 1)),
            ("backwards", History(channel: channel, from: .zero, direction: .backward).frame(identifier: 1)),
            ("channel-state", ReadChannelState(channel: channel).frame(identifier: 1)),
            ("offsets", TernMessages.Offsets(channel: channel).frame(identifier: 1)),
            ("list-members", ListMembers(group: scene.group).frame(identifier: 1)),
            ("find-group", FindGroup(name: scene.name).frame(identifier: 1)),
            ("invite-member", InviteMember(group: scene.group, user: scene.asker.user).frame(identifier: 1)),
        ]
    }

    private func changes(_ scene: Scene) -> [(String, RequestFrame)] {
        [
            ("join-group", JoinGroup(group: scene.group).frame(identifier: 1)),
            ("leave-group", LeaveGroup(group: scene.group).frame(identifier: 1)),
            ("create-group", CreateGroup(name: scene.name).frame(identifier: 1)),
        ]
    }

    @Test(arguments: Asker.allCases, Kind.allCases)
    func whoMayDoWhat(asker: Asker, kind: Kind) async throws {
        try await Harness.run { harness in
            let scene = try await self.scene(asker, kind, harness)
            let expected = Self.expected(asker, kind)
            var asked: Set<String> = ["send", "receipt"]
            for (name, frame) in self.requests(scene) {
                let status = try await scene.asker.ask(frame: frame).status
                #expect(status == expected[name], "\(name) by \(asker) of \(kind)")
                asked.insert(name)
            }
            let sent = await self.code { try await scene.asker.send("from \(asker)", to: PartyID(scene.group)) }
            #expect(sent == expected["send"], "send by \(asker) of \(kind)")
            #expect(try await self.receipt(scene) == expected["receipt"], "receipt by \(asker) of \(kind)")
            // The index says nothing of what one has no part in; nor do names, of users or of groups.
            let index = try await scene.asker.ask(SyncIndex()).channels.map(\.channel)
            #expect(index.contains(ChannelID(group: scene.group)) == (asker == .member && kind != .none))
            let names = try await scene.asker.ask(UserNames(users: [scene.owner.user])).members
            #expect(names.isEmpty == !(asker == .member && kind != .none))
            for (name, frame) in self.changes(scene) {
                let status = try await scene.asker.ask(frame: frame).status
                #expect(status == expected[name], "\(name) by \(asker) of \(kind)")
                asked.insert(name)
            }
            #expect(asked == Set(expected.keys))
        }
    }

    /// The code of an error, or none.
    private func code(_ body: () async throws -> Void) async -> ErrorCode {
        do {
            try await body()
            return .none
        } catch {
            return (error as? Failure)?.code ?? .internal
        }
    }

    /// A receipt has no answer but an error; a ping behind it has one.
    private func receipt(_ scene: Scene) async throws -> ErrorCode {
        let receipt = Receipt(
            kind: .read, sender: scene.asker.user, receiver: PartyID(scene.group),
            sequence: MessageSequence(rawValue: 1) ?? .zero)
        try await scene.asker.control.write(receipt.message)
        try await scene.asker.control.write(Message(type: .ping))
        var code = ErrorCode.none
        while true {
            let message = try await scene.asker.control.message()
            if message.type == .pong { return code }
            if message.type == .error { code = try Failure(message).code }
        }
    }

    /// A stranger cannot tell a closed group from one that does not exist, by whatever they ask by its number.
    @Test(arguments: [Asker.stranger, .former, .memberOfAnother])
    func aClosedGroupLooksLikeNone(asker: Asker) async throws {
        func answers(_ kind: Kind) async throws -> [ByteBuffer] {
            var answers: [ByteBuffer] = []
            try await Harness.run { harness in
                let scene = try await self.scene(asker, kind, harness)
                // The numbers and names that were asked for are in some texts; so they are the same here.
                let same = try #require(GroupID(rawValue: 1 << 36 + (kind == .none ? 77 : 0)))
                #expect(same == scene.group)
                for (_, frame) in self.requests(scene) + self.changes(scene).prefix(2) {
                    let response = try await scene.asker.ask(frame: frame)
                    let text = String(buffer: response.body).replacingOccurrences(of: "\(same.rawValue)", with: "N")
                    // Everything but the length of the text before the replacement.
                    answers.append(ByteBuffer(string: "\(response.resource) \(response.status) \(text.dropFirst(7))"))
                }
            }
            return answers
        }
        let (closed, none) = (try await answers(.closed), try await answers(.none))
        for (closed, none) in zip(closed, none) { #expect(String(buffer: closed) == String(buffer: none)) }
        #expect(closed.count == none.count)
    }

    @Test func membersReadFromTheirJoiningOn() async throws {
        try await Harness.run { harness in
            let owner = try await harness.client("owner")
            let bob = try await harness.client("bob")
            let group = try await owner.ask(CreateGroup(name: try Name("team"))).group
            let channel = ChannelID(group: group)
            for text in ["1", "2", "3"] { try await owner.send(text, to: PartyID(group)) }
            _ = try await owner.ask(InviteMember(group: group, user: bob.user))
            #expect(try await bob.ask(FindGroup(name: try Name("team"))).isInvited)
            let joined = try await bob.ask(JoinGroup(group: group))
            #expect(joined.isMember && !joined.isInvited && !joined.isOpen && !joined.sharesHistory)
            let state = try await bob.ask(ReadChannelState(channel: channel))
            #expect(state.first.rawValue == 4 && state.head.rawValue == 3 && state.unread == 0)
            #expect(state.since?.rawValue == 4)
            try await owner.send("4", to: PartyID(group))
            let pushed = await bob.nextPushes(1)
            #expect(pushed.map(\.sequence.rawValue) == [4])
            #expect(pushed.first?.previousSequence == nil)
            for direction in [History.Direction.forward, .backward] {
                let page = try await bob.ask(History(channel: channel, from: .zero, direction: direction))
                #expect(page.messages.map(\.sequence.rawValue) == [4] && page.first.rawValue == 4 && !page.hasMore)
            }
            // What others tell of what was before is not forwarded, what is told of the rest is.
            for sequence: UInt64 in [2, 4] {
                let receipt = Receipt(
                    kind: .read, sender: owner.user, receiver: PartyID(group),
                    sequence: try #require(MessageSequence(rawValue: sequence)))
                try await owner.control.write(receipt.message)
                try await owner.control.write(Message(type: .ping))
                #expect(try await owner.control.message().type == .pong)
            }
            #expect(try Receipt(try await bob.control.message()).sequence.rawValue == 4)
            let offsets = try await bob.ask(TernMessages.Offsets(channel: channel))
            #expect(offsets.entries.map(\.read.rawValue) == [4])
        }
    }
}
