// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernMessages
import TernServer
import TernStore
import TestTimeLimits
import Testing

/// Who may be called what, and who learns it.
@Suite(.untilItHangs) struct NameTests {
    private static let imitations = [
        "ali\u{200b}ce", "\u{202e}ecila", "alice\u{200d}", "alice\u{ad}", "\u{feff}alice", "al\u{2066}ice", "\u{3164}",
        "alice\u{fe0f}", "alice\u{2028}", "a\u{a0}b", " alice", "alice ", "\u{301}alice", "\u{e000}", "\u{378}",
        "alice\u{e0041}", "a\u{0}", "a\u{85}b", "\u{2800}",
    ]

    @Test(arguments: imitations)
    func aNameThatCannotBeToldFromAnotherIsRefused(_ name: String) async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            let bytes = Array(name.utf8)
            let body = ByteBuffer(bytes: [UInt8(bytes.count)] + bytes)
            var resolve = ByteBuffer(bytes: [1])
            resolve.writeImmutableBuffer(body)
            let created = try await alice.ask(frame: RequestFrame(identifier: 7, resource: .createGroup, body: body))
            #expect(created.status == .invalidName)
            let resolved = try await alice.ask(
                frame: RequestFrame(identifier: 7, resource: .resolveUser, body: resolve))
            #expect(resolved.status == .invalidName)
            let refused = await #expect(throws: Failure.self) { try await harness.client(name) }
            #expect(refused?.code == .invalidName)
        }
    }

    /// Its owner and the server's logs are shown it.
    @Test(arguments: imitations)
    func soIsThatOfADevice(_ name: String) async throws {
        try await Harness.run { harness in
            let refused = await #expect(throws: Failure.self) { try await harness.client("alice/" + name) }
            #expect(refused?.code == .invalidName)
            // Who has it from before keeps it.
            let user = try await harness.store.registerUser(named: "bob")
            guard (try? Name(name)) != nil else { return }
            let device = try await harness.store.registerDevice(named: name, of: user)
            #expect(try await harness.client("bob/" + name).answer.device.rawValue == device)
        }
    }

    @Test func deviceNamesAreComposed() async throws {
        try await Harness.run { harness in
            let composed = try await harness.client("alice/t\u{e9}l\u{e9}phone")
            let decomposed = try await harness.client("alice/te\u{301}le\u{301}phone")
            #expect(decomposed.answer.device == composed.answer.device)
            #expect(decomposed.answer.deviceName == composed.answer.deviceName)
        }
    }

    @Test func namesOfEveryScriptAreTaken() async throws {
        try await Harness.run { harness async throws in
            for name in [
                "Ærøskøbing", "Ελένη", "Наташа", "שרה", "ليلى", "王小明", "さくら", "ਸਿੰਘ", "🦆", "Jean Luc", "o'neill-2",
            ] {
                #expect(try await harness.client(name).answer.userName.text == name)
            }
        }
    }

    /// Two spellings of the same letters are the same name.
    @Test func namesAreComposed() async throws {
        try await Harness.run { harness in
            let composed = try await harness.client("Ren\u{e9}")
            let decomposed = try await harness.client("Rene\u{301}")
            #expect(decomposed.user == composed.user)
            #expect(Array(decomposed.answer.userName.text.unicodeScalars) == Array("Ren\u{e9}".unicodeScalars))
            let found = try await composed.ask(ResolveUser(name: try Name("Rene\u{301}"), createsIfAbsent: false))
            #expect(found.user == composed.user)
            _ = try await composed.ask(CreateGroup(name: try Name("cafe\u{301}")))
            #expect(try await composed.ask(FindGroup(name: try Name("caf\u{e9}"))).name.text.unicodeScalars.count == 4)
        }
    }

    /// A name that a store has from before the rules keeps its owner.
    @Test func whoHasANameFromBeforeKeepsIt() async throws {
        try await Harness.run { harness in
            let old = "old\u{200b}timer"
            let user = try await harness.store.registerUser(named: old)
            #expect(try await harness.client(old).user.rawValue == user)
            let alice = try await harness.client("alice")
            #expect(try await alice.ask(ResolveUser(name: try Name(old))).user.rawValue == user)
        }
    }

    /// Numbers are given one after the other: whoever counts must not learn everybody's name.
    @Test func strangersAreNotNamedByTheirNumbers() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            let bob = try await harness.client("bob")
            let carol = try await harness.client("carol")
            let all = [alice.user, bob.user, carol.user]
            func names(_ client: TestClient) async throws -> [String] {
                try await client.ask(UserNames(users: all)).members.map(\.name.text)
            }
            #expect(try await names(alice) == ["alice"])
            try await bob.send("hello", to: PartyID(alice.user))
            #expect(try await names(alice) == ["alice", "bob"])
            #expect(try await names(bob) == ["alice", "bob"])
            let group = try await carol.ask(CreateGroup(name: try Name("team"), isOpen: true)).group
            _ = try await bob.ask(JoinGroup(group: group))
            #expect(try await names(bob) == ["alice", "bob", "carol"])
            #expect(try await names(carol) == ["bob", "carol"])
            _ = try await bob.ask(LeaveGroup(group: group))
            #expect(try await names(carol) == ["carol"])
        }
    }

    /// The rule is the same for every request that answers with a name.
    @Test func noRequestNamesAStranger() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            let bob = try await harness.client("bob")
            let carol = try await harness.client("carol")
            func state(_ other: UInt64) async throws -> ErrorCode {
                let channel = try #require(UserID(rawValue: other).map { ChannelID(direct: alice.user, $0) })
                return try await alice.ask(frame: ReadChannelState(channel: channel).frame(identifier: 9)).status
            }
            // Whether there is such a user or not.
            #expect(try await state(carol.user.rawValue) == .noSuchUser)
            #expect(try await state(4_711) == .noSuchUser)
            // Who shares a group has a name, also before the first message.
            let group = try await carol.ask(CreateGroup(name: try Name("team"), isOpen: true)).group
            _ = try await alice.ask(JoinGroup(group: group))
            let channel = ChannelID(direct: alice.user, carol.user)
            let named = try await alice.ask(ReadChannelState(channel: channel))
            #expect(named.name.text == "carol" && named.head == .zero)
            #expect(try await state(bob.user.rawValue) == .noSuchUser)
            // So has who wrote, and the user alone with themselves.
            try await bob.send("hello", to: PartyID(alice.user))
            #expect(try await state(bob.user.rawValue) == .none)
            #expect(try await state(alice.user.rawValue) == .none)
            _ = try await alice.ask(LeaveGroup(group: group))
            #expect(try await state(carol.user.rawValue) == .noSuchUser)
        }
    }
}
