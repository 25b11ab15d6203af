// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import Synchronization
import TernMessages
import TernStore
import TernTransport
import TestTimeLimits
import Testing

@testable import TernClient

/// Clients of a real server and a real store, over in-memory connections.
@Suite("The message client", .untilItHangs)
struct MessageClientTests {
    @Test func twoUsersTalk() async throws {
        try await House.run { house in
            let (alice, bob) = (house.client("alice"), house.client("bob"))
            try await withRunning([alice, bob]) {
                let toBob = PartyID(try await alice.resolveUser(try Name("bob")))
                let toAlice = PartyID(try await bob.resolveUser(try Name("alice")))
                let first = try await alice.send(ByteBuffer(string: "hello"), to: toBob)
                #expect(first.sequence.rawValue == 1)
                #expect(!first.isDuplicate)
                let second = try await bob.send(ByteBuffer(string: "hi"), to: toAlice)
                #expect(second.sequence.rawValue == 2)
                #expect(second.channel == first.channel)
                #expect(second.epoch == first.epoch)
                for client in [alice, bob] {
                    let messages = try await client.messages(2)
                    #expect(messages.map { String(buffer: $0.payload) } == ["hello", "hi"])
                    #expect(messages.map(\.sequence.rawValue) == [1, 2])
                }
            }
        }
    }

    @Test func emptyMessagesAndAnyBytesArriveAsSent() async throws {
        try await House.run { house in
            let (alice, bob) = (house.client("alice", receives: nil), house.client("bob"))
            try await withRunning([alice, bob]) {
                let toBob = PartyID(try await alice.resolveUser(try Name("bob")))
                let payloads = [
                    ByteBuffer(), ByteBuffer(bytes: [0xff, 0xff, 0xff, 0xff]), ByteBuffer(repeating: 0, count: 65_536),
                ]
                for payload in payloads { try await alice.send(payload, to: toBob) }
                #expect(try await bob.messages(3).map(\.payload) == payloads)
            }
        }
    }

    /// What no message has room for is refused at once, and costs no connection.
    @Test func aPayloadBeyondTheFormatIsRefused() async throws {
        try await House.run { house in
            let alice = house.client("alice")
            try await withRunning([alice]) {
                let own = PartyID(try await alice.resolveUser(try Name("alice")))
                let large = ByteBuffer(repeating: 0, count: 1 << 20)
                let error = await #expect(throws: ClientError.self) { try await alice.send(large, to: own) }
                #expect(error?.failure?.code == .payloadTooLarge)
                let refused = await #expect(throws: ClientError.self) {
                    try await alice.send(ByteBuffer(repeating: 0, count: 1 << 20 - 1), to: own)
                }
                #expect(refused?.failure?.code == .payloadTooLarge, "the server takes less")
                #expect(try await alice.send(ByteBuffer(string: "small"), to: own).sequence.rawValue == 1)
            }
        }
    }

    @Test func aGroupHearsEverybodyInOneOrder() async throws {
        try await House.run { house in
            let clients = ["a", "b", "c"].map { house.client($0) }
            try await withRunning(clients) {
                _ = try await clients[0].createGroup(try Name("team"), isOpen: true)
                for client in clients { _ = try await client.enterGroup(try Name("team")) }
                let group = PartyID(try await clients[0].findGroup(try Name("team")).group)
                try await withThrowingTaskGroup(of: Void.self) { tasks in
                    for (index, client) in clients.enumerated() {
                        tasks.addTask {
                            for number in 0..<100 {
                                _ = try await client.enqueue(ByteBuffer(string: "\(index)-\(number)"), to: group)
                            }
                        }
                    }
                    try await tasks.waitForAll()
                }
                var texts: [[String]] = []
                for client in clients {
                    let messages = try await client.messages(300)
                    #expect(messages.map(\.sequence.rawValue) == Array(1...300))
                    texts.append(messages.map { String(buffer: $0.payload) })
                }
                #expect(texts[0] == texts[1])
                #expect(texts[1] == texts[2])
                for index in 0..<3 {
                    let own = texts[0].filter { $0.hasPrefix("\(index)-") }
                    #expect(own == (0..<100).map { "\(index)-\($0)" }, "each sender's order is kept")
                }
            }
        }
    }

    /// Every acknowledged message is in the log once, and the receiver gets the log in order, whenever connections are cut.
    @Test(arguments: [1, 2, 3, 4, 5, 6] as [UInt64])
    func nothingIsLostOrDoubledWhenConnectionsAreCut(seed: UInt64) async throws {
        try await House.run { house in
            let (alice, bob) = (house.client("alice", receives: nil), house.client("bob"))
            try await withRunning([alice, bob]) {
                let toBob = PartyID(try await alice.resolveUser(try Name("bob")))
                // A first connection that is cut before it is one ends a client.
                _ = try await bob.identity()
                let count = 600
                var generator = SplitMix(state: seed)
                var cuts = Set((0..<8).map { _ in Int.random(in: 1..<count, using: &generator) })
                cuts.insert(count / 2)
                var receipts: [SendReceipt] = []
                let reader = Task { try await bob.messages(count) }
                for number in 0..<count {
                    receipts.append(try await alice.enqueue(ByteBuffer(string: "\(number)"), to: toBob))
                    if cuts.contains(number) {
                        // Sometimes in the middle of what is on its way, sometimes when everything is acknowledged.
                        if Bool.random(using: &generator) { _ = try await receipts[number].acknowledgement() }
                        house.cutAll()
                    }
                }
                var sequences: [UInt64] = []
                for receipt in receipts { sequences.append(try await receipt.acknowledgement().sequence.rawValue) }
                #expect(sequences == (1...UInt64(count)).map { $0 })
                let received = try await reader.value
                #expect(received.map(\.sequence.rawValue) == sequences)
                #expect(received.map { String(buffer: $0.payload) } == (0..<count).map { "\($0)" })
            }
        }
    }

    @Test func aClientCatchesUpWithWhatItMissed() async throws {
        try await House.run { house in
            let alice = house.client("alice", receives: nil)
            try await withRunning([alice]) {
                let toBob = PartyID(try await alice.resolveUser(try Name("bob")))
                for number in 1...1200 { _ = try await alice.enqueue(ByteBuffer(string: "\(number)"), to: toBob) }
                try await alice.send(ByteBuffer(string: "1201"), to: toBob)
                let bob = house.client("bob", receives: .sequence(900))
                try await withRunning([bob]) {
                    let first = try await bob.messages(302)
                    #expect(first.map(\.sequence.rawValue) == Array(900...1201))
                    try await alice.send(ByteBuffer(string: "live"), to: toBob)
                    #expect(try await bob.messages(1).map { String(buffer: $0.payload) } == ["live"])
                }
            }
        }
    }

    @Test func liveMeansFromNowOn() async throws {
        try await House.run { house in
            let alice = house.client("alice", receives: nil)
            try await withRunning([alice]) {
                let toBob = PartyID(try await alice.resolveUser(try Name("bob")))
                try await alice.send(ByteBuffer(string: "before"), to: toBob)
                let bob = house.client("bob", receives: .live)
                try await withRunning([bob]) {
                    _ = try await bob.channels()
                    try await alice.send(ByteBuffer(string: "after"), to: toBob)
                    #expect(try await bob.messages(1).map { String(buffer: $0.payload) } == ["after"])
                }
            }
        }
    }

    @Test func receiptsAreStoredAndForwarded() async throws {
        try await House.run { house in
            let (alice, bob) = (house.client("alice"), house.client("bob"))
            try await withRunning([alice, bob]) {
                let toBob = PartyID(try await alice.resolveUser(try Name("bob")))
                let sent = try await alice.send(ByteBuffer(string: "x"), to: toBob)
                _ = try await bob.messages(1)
                bob.markRead(sent.channel, upTo: sent.sequence)
                for try await update in alice.updates {
                    guard case .receipt(let receipt) = update, receipt.kind == .read else { continue }
                    #expect(receipt.sequence == sent.sequence)
                    break
                }
                let state = try await bob.channelState(sent.channel)
                #expect(state.read == sent.sequence)
                #expect(state.unread == 0)
            }
        }
    }

    @Test func aRefusedTokenEndsTheClient() async throws {
        try await House.run { house in
            let client = MessageClient(ClientConfiguration(token: "nonsense"), connect: house.connect)
            let error = await #expect(throws: ClientError.self) { try await client.run() }
            #expect(error?.code == .authenticationRefused)
            #expect(error?.failure?.code == .unauthenticated)
            await #expect(throws: ClientError.self) {
                try await client.send(ByteBuffer(), to: PartyID(try await client.resolveUser(try Name("x"))))
            }
        }
    }

    @Test func aRefusedMessageFailsAloneAndTheRestGoesOn() async throws {
        try await House.run { house in
            let (alice, bob) = (house.client("alice", receives: nil), house.client("bob"))
            try await withRunning([alice, bob]) {
                let toBob = PartyID(try await alice.resolveUser(try Name("bob")))
                let large = try await alice.enqueue(ByteBuffer(repeating: 1, count: 65_537), to: toBob)
                let small = try await alice.enqueue(ByteBuffer(string: "small"), to: toBob)
                let error = await #expect(throws: ClientError.self) { _ = try await large.acknowledgement() }
                #expect(error?.failure?.code == .payloadTooLarge)
                #expect(try await small.acknowledgement().sequence.rawValue == 1)
                let group = try await bob.createGroup(try Name("private"))
                let outsider = await #expect(throws: ClientError.self) {
                    try await alice.send(ByteBuffer(string: "let me in"), to: PartyID(group.group))
                }
                #expect(outsider?.failure?.code == .notAMember)
            }
        }
    }

    @Test func theFirstConnectionThatFailsIsSaid() async throws {
        try await House.run { house in
            house.closeForNewcomers(true)
            let client = house.client("alice")
            let error = await #expect(throws: ClientError.self) { try await client.run() }
            #expect(error?.code == .unreachable)
        }
    }

    @Test func aClientComesBackWhenTheServerDoes() async throws {
        try await House.run { house in
            let (alice, bob) = (house.client("alice", receives: nil), house.client("bob"))
            try await withRunning([alice, bob]) {
                let toBob = PartyID(try await alice.resolveUser(try Name("bob")))
                try await alice.send(ByteBuffer(string: "1"), to: toBob)
                #expect(try await bob.messages(1).map { String(buffer: $0.payload) } == ["1"])
                house.closeForNewcomers(true)
                house.cutAll()
                let waiting = try await alice.enqueue(ByteBuffer(string: "2"), to: toBob)
                var attempts = 0
                for try await update in bob.updates {
                    if case .disconnected = update { attempts += 1 }
                    if attempts == 3 { break }
                }
                house.closeForNewcomers(false)
                #expect(try await waiting.acknowledgement().sequence.rawValue == 2)
                #expect(try await bob.messages(1).map { String(buffer: $0.payload) } == ["2"])
            }
        }
    }

    /// What the server can't take now is sent again, and the user is told why nothing moves.
    @Test func aFullDiskIsSaidAndTriedAgain() async throws {
        try await House.run(store: { $0.maximumPages = 64 }) { house in
            let alice = house.client("alice", receives: nil) { $0.outboxCapacity = 1 << 14 }
            try await withRunning([alice]) {
                let toBob = PartyID(try await alice.resolveUser(try Name("bob")))
                var receipts: [SendReceipt] = []
                for _ in 0..<200 {
                    receipts.append(try await alice.enqueue(ByteBuffer(repeating: 7, count: 4096), to: toBob))
                }
                #expect(try await receipts[0].acknowledgement().sequence.rawValue == 1)
                // Twice: it is tried again on the same connection.
                var refusals: [Failure] = []
                for try await update in alice.updates {
                    if case .disconnected(let reason, _) = update { Issue.record("disconnected: \(reason)") }
                    if case .refusedForNow(let failure) = update { refusals.append(failure) }
                    if refusals.count == 2 { break }
                }
                #expect(refusals.map(\.code) == [.storageFull, .storageFull])
                await alice.close(timeout: .milliseconds(10))
            }
        }
    }

    @Test func closingFailsWhatWasNotAcknowledged() async throws {
        try await House.run { house in
            let alice = house.client("alice", receives: nil)
            let run = Task { try await alice.run() }
            let toBob = PartyID(try await alice.resolveUser(try Name("bob")))
            house.closeForNewcomers(true)
            house.cutAll()
            let waiting = try await alice.enqueue(ByteBuffer(string: "never"), to: toBob)
            await alice.close(timeout: .milliseconds(50))
            let error = await #expect(throws: ClientError.self) { _ = try await waiting.acknowledgement() }
            #expect(error?.code == .closed)
            try await run.value
            await #expect(throws: ClientError.self) { _ = try await alice.enqueue(ByteBuffer(), to: toBob) }
        }
    }

    /// An attempt that hangs must not make the client's time longer.
    @Test func givesUpWhileAnAttemptHangs() async throws {
        try await House.run { house in
            var configuration = ClientConfiguration(token: "dev:alice")
            configuration.reconnecting.giveUpAfter = .seconds(1)
            let attempts = Mutex(0)
            let client = MessageClient(configuration) {
                let number = attempts.withLock { attempts in
                    attempts += 1
                    return attempts
                }
                if number == 1 { return try house.connect() }
                if number == 2 { throw TransportError(.unreachable, message: "the cable is out") }
                try await Task.sleep(for: .seconds(3_600))
                return try house.connect()
            }
            let running = Task { try await client.run() }
            _ = try await client.identity()
            house.cutAll()
            let error = await #expect(throws: ClientError.self) { try await running.value }
            #expect(error?.code == .unreachable)
            #expect(error?.message == "there was no connection for 1.0 seconds: the cable is out")
        }
    }
}
