// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import Synchronization
import TernMessages
import TernServer
import TernTransport
import TestTimeLimits
import Testing

@Suite(.untilItHangs) struct ReceivingTests {
    @Test func messagesWaitForSomebodyWhoNeverConnected() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            let unknown = await #expect(throws: Failure.self) {
                try await alice.ask(ResolveUser(name: try Name("bob"), createsIfAbsent: false))
            }
            #expect(unknown?.code == .noSuchUser)
            let bobID = try await alice.ask(ResolveUser(name: try Name("bob"))).user
            for index in 1...3 { try await alice.send("\(index)", to: PartyID(bobID)) }
            let bob = try await harness.client("bob")
            #expect(bob.user == bobID)
            let index = try await bob.ask(SyncIndex())
            #expect(index.next == 0)
            let state = try #require(index.channels.first)
            #expect(state.channel == ChannelID(direct: alice.user, bobID))
            #expect(state.head.rawValue == 3)
            #expect(state.unread == 3)
            #expect(state.name.text == "alice")
            #expect(try await bob.ask(ReadChannelState(channel: state.channel)) == state)
            let page = try await bob.ask(History(channel: state.channel, from: .zero))
            #expect(page.messages.map { String(buffer: $0.payload) } == ["1", "2", "3"])
            #expect(page.epoch == state.epoch)
            #expect(!page.hasMore)
            let names = try await bob.ask(UserNames(users: [alice.user, bobID, try #require(UserID(rawValue: 99))]))
            #expect(names.members.map(\.name.text) == ["alice", "bob"])
        }
    }

    @Test func historyIsPagedBothWays() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            let stream = try await alice.sender()
            for index in 1...10 { try await stream.write(alice.text("\(index)", to: PartyID(alice.user))) }
            for _ in 1...10 { _ = try await stream.acknowledgement() }
            let channel = ChannelID(direct: alice.user, alice.user)
            func page(_ from: UInt64, _ direction: History.Direction, _ limit: UInt16) async throws -> ([UInt64], Bool)
            {
                let from = try #require(MessageSequence(rawValue: from))
                let answer = try await alice.ask(
                    History(channel: channel, from: from, direction: direction, limit: limit))
                #expect(answer.head.rawValue == 10)
                return (answer.messages.map(\.sequence.rawValue), answer.hasMore)
            }
            #expect(try await page(1, .forward, 4) == ([1, 2, 3, 4], true))
            #expect(try await page(5, .forward, 6) == ([5, 6, 7, 8, 9, 10], false))
            #expect(try await page(11, .forward, 6) == ([], false))
            #expect(try await page(0, .backward, 3) == ([8, 9, 10], true))
            #expect(try await page(7, .backward, 3) == ([5, 6, 7], true))
            #expect(try await page(2, .backward, 3) == ([1, 2], false))
            #expect(try await page(1 << 44 - 1, .backward, 1) == ([10], true))
        }
    }

    /// A client that follows section 7.2 of the protocol while others send: what it put together has no gap and
    /// nothing twice.
    @Test func catchingUpWhileMessagesComeLeavesNoGap() async throws {
        let total: UInt64 = 400
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            let bobID = try await alice.ask(ResolveUser(name: try Name("bob"))).user
            async let sending: Void = Self.sendSlowly(Int(total), from: alice, to: PartyID(bobID))
            var log: [UInt64: ByteBuffer] = [:]
            let bob = try await harness.client("bob")
            let channel = ChannelID(direct: alice.user, bobID)
            let head = try await bob.ask(SyncIndex()).channels.first?.head ?? .zero
            var next = MessageSequence.zero.next
            while next <= head {
                let page = try await bob.ask(History(channel: channel, from: next, limit: 7))
                for message in page.messages {
                    #expect(log.updateValue(message.payload, forKey: message.sequence.rawValue) == nil)
                }
                next = page.messages.last?.sequence.next ?? next
            }
            let caughtUp = UInt64(log.count)
            for await push in bob.pushes {
                log[push.sequence.rawValue] = push.payload
                if push.sequence.rawValue == total { break }
            }
            try await sending
            #expect(Set(log.keys) == Set(1...total), "caught up to \(caughtUp)")
            for (sequence, payload) in log { #expect(payload == ByteBuffer(string: "\(sequence)")) }
        }
    }

    private static func sendSlowly(_ count: Int, from client: TestClient, to receiver: PartyID) async throws {
        let stream = try await client.sender()
        for index in 1...count {
            try await stream.write(client.text("\(index)", to: receiver))
            _ = try await stream.acknowledgement()
        }
    }

    /// Reads nothing of what is pushed until the server gives up pushing, then catches up and is pushed again.
    @Test func aSlowReaderIsSwitchedToPullAndBack() async throws {
        var limits = ConnectionLimits()
        limits.streamWindow = 4096
        let small = limits
        try await Harness.run(configure: { $0.maximumQueuedPushBytes = 16 << 10 }) { harness in
            let alice = try await harness.client("alice")
            let connection = harness.connect(limits: small)
            let bob = try await TestClient(connection, token: "dev:bob", readsPushes: false)
            let stream = try await alice.sender()
            let text = String(repeating: "x", count: 2000)
            let total = 2000
            for _ in 0..<total {
                try await stream.write(alice.text(text, to: PartyID(bob.user)))
                _ = try await stream.acknowledgement()
            }
            let notice = try InboxNotice(try await bob.control.message())
            #expect(notice.mustPull)
            let channel = try #require(notice.channel)
            #expect(channel == ChannelID(direct: alice.user, bob.user))
            var read: [UInt64] = []
            while true {
                let from = MessageSequence(rawValue: UInt64(read.count) + 1) ?? .zero
                let page = try await bob.ask(History(channel: channel, from: from))
                read += page.messages.map(\.sequence.rawValue)
                if !page.hasMore { break }
            }
            #expect(read == Array(1...UInt64(total)))
            // Now the channel is live again: on the stream, behind what was under way, comes the next message.
            try await alice.send("again", to: PartyID(bob.user))
            var streams = connection.inboundStreams.makeAsyncIterator()
            let push = MessageStream(try #require(try await streams.next()))
            var first = try #require(try await push.stream.read())
            #expect(StreamKind(decoding: &first) == .channelPush)
            var last = MessageSequence.zero
            var decoder = MessageDecoder()
            decoder.append(first)
            while last.rawValue <= UInt64(total) {
                while let message = try decoder.next() {
                    #expect(message.sequence > last)
                    last = message.sequence
                }
                if last.rawValue <= UInt64(total) { decoder.append(try #require(try await push.stream.read())) }
            }
            #expect(last.rawValue == UInt64(total) + 1)
        }
    }

    /// The log grows while the client reads the pages that lead it back to pushes: still nothing is missed.
    @Test func comingBackFromPullLeavesNoGapWhileMessagesCome() async throws {
        var limits = ConnectionLimits()
        limits.streamWindow = 4096
        let small = limits
        try await Harness.run(configure: { $0.maximumQueuedPushBytes = 16 << 10 }) { harness in
            let alice = try await harness.client("alice")
            let connection = harness.connect(limits: small)
            let bob = try await TestClient(connection, token: "dev:bob", readsPushes: false)
            let channel = ChannelID(direct: alice.user, bob.user)
            try await Self.sendLarge(1000, from: alice, to: PartyID(bob.user))
            #expect(try InboxNotice(try await bob.control.message()).mustPull)
            async let sending: Void = Self.sendLarge(200, from: alice, to: PartyID(bob.user))
            var found: Set<UInt64> = []
            while true {
                let from = MessageSequence(rawValue: UInt64(found.count) + 1) ?? .zero
                let page = try await bob.ask(History(channel: channel, from: from, limit: 50))
                found.formUnion(page.messages.map(\.sequence.rawValue))
                if !page.hasMore { break }
            }
            // Every further message is pushed or announced; what is announced is pulled.
            let puller = Task {
                var pulled: Set<UInt64> = []
                while let message = try await bob.control.next() {
                    guard message.type == .inbox else { return pulled }
                    var next = MessageSequence(rawValue: 1) ?? .zero
                    while true {
                        let page = try await bob.ask(History(channel: channel, from: next))
                        pulled.formUnion(page.messages.map(\.sequence.rawValue))
                        next = page.messages.last?.sequence.next ?? next
                        if !page.hasMore { break }
                    }
                }
                return pulled
            }
            var streams = connection.inboundStreams.makeAsyncIterator()
            let push = try #require(try await streams.next())
            let isDone = Mutex(false)
            async let reading = Self.sequences(pushedOn: push, beyond: 1200) { isDone.withLock { $0 = true } }
            try await sending
            // The channel may have been switched to pull again: one of these finds it live.
            var head: UInt64 = 1200
            while !isDone.withLock({ $0 }), head < 10_000 {
                head = try await alice.send("more", to: PartyID(bob.user)).sequence.rawValue
            }
            found.formUnion(try await reading)
            try await bob.control.write(Message(type: .ping))
            found.formUnion(try await puller.value)
            #expect(found.isSuperset(of: 1...1200))
        }
    }

    private static func sendLarge(_ count: Int, from client: TestClient, to receiver: PartyID) async throws {
        let stream = try await client.sender()
        let text = String(repeating: "x", count: 2000)
        for _ in 0..<count {
            try await stream.write(client.text(text, to: receiver))
            _ = try await stream.acknowledgement()
        }
    }

    /// Reads a push stream until a message beyond that sequence came.
    private static func sequences(
        pushedOn stream: TernTransport.Stream, beyond last: UInt64, whenDone: () -> Void
    ) async throws -> Set<UInt64> {
        defer { whenDone() }
        var found: Set<UInt64> = []
        var first = try await stream.read() ?? ByteBuffer()
        _ = StreamKind(decoding: &first)
        var decoder = MessageDecoder()
        decoder.append(first)
        while true {
            while let message = try decoder.next() { found.insert(message.sequence.rawValue) }
            if found.contains(where: { $0 > last }) { return found }
            guard let bytes = try await stream.read() else { return found }
            decoder.append(bytes)
        }
    }

    @Test func aPushStreamThatTheClientStopsBecomesPull() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            let connection = harness.connect()
            let bob = try await TestClient(connection, token: "dev:bob", readsPushes: false)
            try await alice.send("1", to: PartyID(bob.user))
            var streams = connection.inboundStreams.makeAsyncIterator()
            let push = try #require(try await streams.next())
            _ = try await push.read()
            push.stopSending(code: CloseCode.streamCancelled.rawValue)
            // There is nothing more to push.
            let notice = try InboxNotice(try await bob.control.message())
            #expect(notice.mustPull)
            #expect(notice.head.rawValue == 1)
        }
    }

    @Test func manyChannelsShareFewPushStreams() async throws {
        try await Harness.run(configure: { $0.maximumPushStreams = 3 }) { harness in
            let bob = try await harness.client("bob")
            for index in 0..<10 {
                let sender = try await harness.client("sender\(index)")
                try await sender.send("1", to: PartyID(bob.user))
                // Taken one by one, so that a stream is idle when the next one is needed.
                let push = try #require(await bob.nextPushes(1).first)
                #expect(push.sender == sender.user)
                await sender.close()
            }
        }
    }

    // MARK: Receipts

    @Test func receiptsAreKeptAndForwarded() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            let bob = try await harness.client("bob/phone")
            let desk = try await harness.client("bob/desk")
            for index in 0..<5 { try await alice.send("\(index)", to: PartyID(bob.user)) }
            let channel = ChannelID(direct: alice.user, bob.user)
            func receipt(_ kind: Receipt.Kind, _ sequence: UInt64) throws -> Message {
                let sequence = try #require(MessageSequence(rawValue: sequence))
                return Receipt(kind: kind, sender: bob.user, receiver: PartyID(alice.user), sequence: sequence).message
            }
            try await bob.control.write(try receipt(.delivered, 3))
            for other in [alice, desk] {
                let forwarded = try Receipt(try await other.control.message())
                #expect(forwarded.kind == .delivered)
                #expect(forwarded.sender == bob.user)
                #expect(forwarded.senderDevice == bob.answer.device)
                #expect(forwarded.receiver == PartyID(alice.user))
                #expect(forwarded.sequence.rawValue == 3)
            }
            // Beyond the head counts as the head; backwards does nothing.
            try await bob.control.write(try receipt(.read, 1000))
            #expect(try Receipt(try await alice.control.message()).sequence.rawValue == 5)
            try await bob.control.write(try receipt(.read, 2))
            // Who sent them is not told, and what says nothing new is told to nobody.
            try await bob.control.write(Message(type: .ping))
            #expect(try await bob.control.message().type == .pong)
            try await alice.control.write(Message(type: .ping))
            #expect(try await alice.control.message().type == .pong)
            let entries = try await alice.ask(Offsets(channel: channel)).entries
            #expect(entries.map(\.user) == [bob.user])
            #expect(entries.map(\.read.rawValue) == [5])
            #expect(entries.map(\.delivered.rawValue) == [5])
            let state = try await desk.ask(ReadChannelState(channel: channel))
            #expect(state.read.rawValue == 5)
            #expect(state.unread == 0)
            #expect(state.delivered == .zero)
        }
    }

    @Test func wrongReceiptsAreRefused() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            let bob = try await harness.client("bob")
            var spoofed = Receipt(kind: .read, sender: bob.user, receiver: PartyID(alice.user), sequence: .zero).message
            try await alice.control.write(spoofed)
            #expect(try await alice.control.failure().code == .unauthenticated)
            spoofed.sender = .server
            spoofed.extensions.set(MessageExtension(.receiptKind, integer: UInt8(3)))
            try await alice.control.write(spoofed)
            #expect(try await alice.control.failure().code == .malformed)
            let group = try #require(GroupID(rawValue: 1 << 36))
            try await alice.control.write(
                Receipt(kind: .read, sender: alice.user, receiver: PartyID(group), sequence: .zero).message)
            #expect(try await alice.control.failure().code == .notAMember)
        }
    }

    // MARK: Typing and presence

    @Test func liveNoticesReachWhoTakesPart() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            let desk = try await harness.client("alice/desk")
            let bob = try await harness.client("bob")
            let carol = try await harness.client("carol")
            // Broken ones, and one for a group that alice is not in, go nowhere.
            try await alice.connection.sendDatagram(ByteBuffer(string: "nonsense"))
            let group = try await carol.ask(CreateGroup(name: try Name("team"))).group
            let notices: [(MessageType, LiveNotice.State, PartyID)] = [
                (.presence, .on, PartyID(group)), (.typing, .on, PartyID(bob.user)),
                (.presence, .away, PartyID(bob.user)),
            ]
            for (type, state, receiver) in notices {
                let notice = LiveNotice(type: type, state: state, sender: alice.user, receiver: receiver)
                try await alice.connection.sendDatagram(notice.message.encoded())
            }
            var spoofed = LiveNotice(type: .typing, state: .on, sender: carol.user, receiver: PartyID(bob.user)).message
            try await alice.connection.sendDatagram(spoofed.encoded())
            spoofed.sender = .server
            // There is no such thing as typing from afar.
            var away = spoofed
            away.payload = ByteBuffer(bytes: [2])
            try await alice.connection.sendDatagram(away.encoded())
            try await alice.connection.sendDatagram(spoofed.encoded())
            var datagrams = bob.connection.inboundDatagrams.makeAsyncIterator()
            var found: [LiveNotice] = []
            while found.count < 3 {
                found.append(try LiveNotice(Message(decoding: try #require(try await datagrams.next()))))
            }
            #expect(found.map(\.type) == [.typing, .presence, .typing])
            #expect(found.map(\.state) == [.on, .away, .on])
            #expect(found.allSatisfy { $0.sender == alice.user })
            withExtendedLifetime(desk) {}
        }
    }
}
