// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernMessages
import TernServer
import TernStore
import TernTransport
import TestTimeLimits
import Testing

@Suite(.untilItHangs) struct SendingTests {
    @Test func aMessageIsAcknowledgedAndPushedToEverybodyButItsConnection() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice/phone")
            let desk = try await harness.client("alice/desk")
            let bob = try await harness.client("bob")
            let id = ClientMessageID.random()
            let ack = try await alice.send("hello", to: PartyID(bob.user), id: id)
            #expect(ack.sequence.rawValue == 1)
            #expect(ack.id == id)
            #expect(ack.isDuplicate == false)
            #expect(ack.durability == .normal)
            for receiver in [bob, desk] {
                let push = try #require(await receiver.nextPushes(1).first)
                #expect(push.payload == ByteBuffer(string: "hello"))
                #expect(push.sender == alice.user)
                #expect(push.senderDevice == alice.answer.device)
                #expect(push.receiver == PartyID(bob.user))
                #expect(push.id == id)
                #expect(push.epoch == ack.epoch)
                #expect(push.sequence == ack.sequence)
                #expect(push.previousSequence == nil)
                #expect(push.timestamp == ack.timestamp)
            }
            // What alice's phone gets first is bob's answer: its own message was not pushed to it.
            try await bob.send("hi", to: PartyID(alice.user))
            let answer = try #require(await alice.nextPushes(1).first)
            #expect(answer.payload == ByteBuffer(string: "hi"))
            #expect(answer.sequence.rawValue == 2)
            let copy = try #require(await desk.nextPushes(1).first)
            #expect(copy.previousSequence?.rawValue == 1)
        }
    }

    @Test func aChannelWithOneselfWorks() async throws {
        try await Harness.run { harness in
            let phone = try await harness.client("alice/phone")
            let desk = try await harness.client("alice/desk")
            try await phone.send("note", to: PartyID(phone.user))
            #expect(await desk.nextPushes(1).first?.payload == ByteBuffer(string: "note"))
        }
    }

    @Test func sendingAgainGivesTheSameSequence() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            let bob = try await harness.client("bob")
            let id = ClientMessageID.random()
            let first = try await alice.send("hello", to: PartyID(bob.user), id: id)
            try await alice.send("other", to: PartyID(bob.user))
            let again = try await alice.send("hello", to: PartyID(bob.user), id: id)
            #expect(again.isDuplicate)
            #expect(again.sequence == first.sequence)
            #expect(again.timestamp == first.timestamp)
            let conflict = await #expect(throws: Failure.self) {
                try await alice.send("hullo", to: PartyID(bob.user), id: id)
            }
            #expect(conflict?.code == .conflict)
            #expect(conflict?.id == id)
            #expect(conflict?.isRetryable == false)
            // Another device of the same user, with the same id: the same message.
            let desk = try await harness.client("alice/desk")
            #expect(try await desk.send("hello", to: PartyID(bob.user), id: id).isDuplicate)
            // Nothing was stored or pushed twice.
            #expect(await bob.nextPushes(2).map(\.sequence.rawValue) == [1, 2])
            let page = try await alice.ask(History(channel: ChannelID(direct: alice.user, bob.user), from: .zero))
            #expect(page.head.rawValue == 2)
        }
    }

    /// Each refusal is answered in its place, and what is good around it is stored.
    @Test func refusedMessagesDoNotHoldUpTheOthers() async throws {
        try await Harness.run(configure: { $0.maximumPayloadLength = 100 }) { harness in
            let alice = try await harness.client("alice")
            let bob = try await harness.client("bob")
            let carol = try await harness.client("carol")
            let stream = try await alice.sender()
            func good(_ text: String) -> Message { alice.text(text, to: PartyID(bob.user), sequence: 3) }
            var spoofed = good("spoofed")
            spoofed.sender = PartyID(bob.user)
            var critical = good("critical")
            let unknown = try #require(ExtensionType(rawValue: 99))
            critical.extensions.set(MessageExtension(unknown, isCritical: true, value: ByteBuffer()))
            var optional = good("optional")
            optional.extensions.set(MessageExtension(unknown, value: ByteBuffer(string: "?")))
            var edit = good("edit")
            edit.type = .edit
            var anonymous = good("")
            anonymous.sender = .server
            let nameless = Message(type: .text, sender: PartyID(alice.user), receiver: PartyID(bob.user))
            let cases: [(Message, ErrorCode?)] = [
                (good("1"), nil), (good(String(repeating: "x", count: 101)), .payloadTooLarge),
                (good(String(repeating: "x", count: 100)), nil), (spoofed, .unauthenticated),
                (critical, .unknownCriticalExtension), (optional, nil), (edit, .unsupportedType),
                (alice.text("?", to: PartyID(carol.user)), .wrongChannel), (nameless, .malformed), (anonymous, nil),
                (Message(type: .acknowledgement, receiver: PartyID(bob.user)), .unsupportedType), (good("last"), nil),
            ]
            for (message, _) in cases { try await stream.write(message) }
            var sequence: UInt64 = 0
            for (message, code) in cases {
                if let code {
                    let failure = try await stream.failure()
                    #expect(failure.code == code)
                    #expect(failure.sequence == message.sequence)
                    #expect(failure.id == (try? message.extensions.clientMessageID))
                } else {
                    sequence += 1
                    #expect(try await stream.acknowledgement().sequence.rawValue == sequence)
                }
            }
            try await stream.stream.finish()
            #expect(try await stream.next() == nil)
            #expect(await bob.nextPushes(Int(sequence)).map(\.sequence.rawValue) == Array(1...sequence))
        }
    }

    /// The first message says whom a stream is for, whatever becomes of it: a client that writes many without waiting knows
    /// which answers to expect.
    @Test func aRefusedMessageBindsItsStreamToo() async throws {
        try await Harness.run(configure: { $0.maximumPayloadLength = 100 }) { harness in
            let alice = try await harness.client("alice")
            let (bob, carol) = (try await harness.client("bob"), try await harness.client("carol"))
            let good = alice.text("good", to: PartyID(bob.user))
            var (spoofed, edit, critical) = (good, good, good)
            spoofed.sender = PartyID(carol.user)
            edit.type = .edit
            critical.extensions.set(
                MessageExtension(try #require(ExtensionType(rawValue: 99)), isCritical: true, value: ByteBuffer()))
            let large = alice.text(String(repeating: "x", count: 101), to: PartyID(bob.user))
            let cases: [(Message, ErrorCode)] = [
                (spoofed, .unauthenticated), (edit, .unsupportedType), (critical, .unknownCriticalExtension),
                (large, .payloadTooLarge),
            ]
            for (first, code) in cases {
                let stream = try await alice.sender()
                try await stream.write(first)
                try await stream.write(alice.text("other", to: PartyID(carol.user)))
                try await stream.write(alice.text("good", to: PartyID(bob.user)))
                #expect(try await stream.failure().code == code)
                #expect(try await stream.failure().code == .wrongChannel, "after \(code)")
                _ = try await stream.acknowledgement()
            }
        }
    }

    /// Ids that are counters: everybody uses the same ones at the same time, and everybody gets every message of the others.
    @Test func membersMayUseTheSameIds() async throws {
        let count = 200
        try await Harness.run { harness in
            let carol = try await harness.client("carol")
            let group = PartyID(try await carol.ask(CreateGroup(name: try Name("team"), isOpen: true)).group)
            let senders = [try await harness.client("alice"), try await harness.client("bob")]
            for sender in senders {
                _ = try await sender.ask(JoinGroup(group: try #require(group.group)))
            }
            try await withThrowingDiscardingTaskGroup { tasks in
                for sender in senders {
                    tasks.addTask {
                        let stream = try await sender.sender()
                        for index in 1...UInt64(count) {
                            let id = ClientMessageID(high: 0, low: index)
                            try await stream.write(sender.text("\(index)", to: group, id: id))
                        }
                        for _ in 0..<count { _ = try await stream.acknowledgement() }
                    }
                }
            }
            for (reader, expected) in [(carol, 2 * count), (senders[0], count), (senders[1], count)] {
                let pushed = await reader.nextPushes(expected)
                #expect(pushed.count == expected)
                #expect(pushed.allSatisfy { $0.sender != reader.user })
            }
        }
    }

    @Test func receiversMustExist() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            let nobody = try #require(UserID(rawValue: 4711))
            let noGroup = try #require(GroupID(rawValue: 1 << 36 + 4711))
            let user = await #expect(throws: Failure.self) { try await alice.send("?", to: PartyID(nobody)) }
            #expect(user?.code == .noSuchUser)
            let group = await #expect(throws: Failure.self) { try await alice.send("?", to: PartyID(noGroup)) }
            #expect(group?.code == .notAMember)
            let server = await #expect(throws: Failure.self) { try await alice.send("?", to: .server) }
            #expect(server?.code == .malformed)
        }
    }

    @Test func aStreamThatEndsInsideAMessageKeepsWhatCameBefore() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            let stream = try await alice.sender()
            let receiver = PartyID(alice.user)
            var bytes = try alice.text("whole", to: receiver).encoded()
            let cut = try alice.text("cut", to: receiver).encoded()
            bytes.writeImmutableBuffer(try #require(cut.getSlice(at: 0, length: cut.readableBytes - 1)))
            try await stream.stream.finish(bytes)
            #expect(try await stream.acknowledgement().sequence.rawValue == 1)
            #expect(try await stream.failure().code == .malformed)
            #expect(try await stream.next() == nil)
            let page = try await alice.ask(History(channel: ChannelID(direct: alice.user, alice.user), from: .zero))
            #expect(page.messages.count == 1)
        }
    }

    @Test func anotherVersionEndsOnlyItsStream() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            let stream = try await alice.sender()
            try await stream.write(alice.text("good", to: PartyID(alice.user)))
            try await stream.stream.write(ByteBuffer(repeating: 0x80, count: 32))
            #expect(try await stream.acknowledgement().sequence.rawValue == 1)
            #expect(try await stream.failure().code == .unsupportedVersion)
            #expect(try await stream.next() == nil)
            #expect(try await alice.send("on", to: PartyID(alice.user)).sequence.rawValue == 2)
        }
    }

    @Test func messagesAboveTheRateAreRefusedWithAWait() async throws {
        try await Harness.run(configure: { $0.messageRate = RateLimit(rate: 0.001, burst: 2) }) { harness in
            let alice = try await harness.client("alice")
            let stream = try await alice.sender()
            for index in 0..<3 { try await stream.write(alice.text("\(index)", to: PartyID(alice.user))) }
            _ = try await stream.acknowledgement()
            _ = try await stream.acknowledgement()
            let failure = try await stream.failure()
            #expect(failure.code == .rateLimited)
            #expect(failure.isRetryable)
            #expect(failure.id != nil)
            #expect(try #require(failure.retryAfter) > 900_000)
        }
    }

    @Test func aFullDiskAcknowledgesNothing() async throws {
        try await Harness.run(store: { $0.maximumPages = 64 }) { harness in
            let alice = try await harness.client("alice")
            let stream = try await alice.sender()
            let text = String(repeating: "x", count: 60_000)
            var acknowledged: UInt64 = 0
            var refusal: Failure?
            for _ in 0..<20 {
                try await stream.write(alice.text(text, to: PartyID(alice.user)))
                let answer = try await stream.message()
                if answer.type == .error {
                    refusal = try Failure(answer)
                    break
                }
                acknowledged = try Acknowledgement(answer).sequence.rawValue
            }
            #expect(refusal?.code == .storageFull)
            #expect(refusal?.isRetryable == true)
            #expect(acknowledged > 0)
            // Reading goes on, and what was acknowledged is there.
            let channel = ChannelID(direct: alice.user, alice.user)
            let page = try await alice.ask(History(channel: channel, from: .zero, direction: .backward, limit: 1))
            #expect(page.head.rawValue == acknowledged)
        }
    }
}
