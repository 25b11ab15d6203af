// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import NIOCore
import NIOPosix
import Synchronization
import TernMessages
import TernServer
import TernTesting
import TernTransport
import TestTimeLimits
import Testing

@testable import TernClient

/// Lets through when it is told to. Does not care for cancellation, as the worst of connectors.
private final class Gate: Sendable {
    private struct State {
        var isOpen = false
        var waiting: [CheckedContinuation<Void, Never>] = []
        var arrivals = 0
        var watchers: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Mutex(State())

    func pass() async {
        await withCheckedContinuation { continuation in
            self.state.withLock { state in
                state.arrivals += 1
                for watcher in state.watchers { watcher.resume() }
                state.watchers = []
                if state.isOpen { continuation.resume() } else { state.waiting.append(continuation) }
            }
        }
    }

    /// Until somebody is at the gate.
    func untilSomebodyCame() async {
        await withCheckedContinuation { continuation in
            self.state.withLock { state in
                if state.arrivals > 0 { continuation.resume() } else { state.watchers.append(continuation) }
            }
        }
    }

    func open() {
        self.state.withLock { state in
            state.isOpen = true
            for continuation in state.waiting { continuation.resume() }
            state.waiting = []
        }
    }
}

@Suite("The client's tasks", .timeLimit(.minutes(5)))
struct ClientTasksTests {
    private func gatedClient(
        _ house: House, _ gate: Gate, _ edit: (inout ClientConfiguration) -> Void = { _ in }
    ) -> MessageClient {
        var configuration = ClientConfiguration(token: "dev:alice")
        edit(&configuration)
        return MessageClient(configuration) {
            await gate.pass()
            return try house.connect()
        }
    }

    /// The connection comes all the same, and nothing is said on it.
    @Test func closingWhileConnectingSendsNothingAfterwards() async throws {
        let gate = Gate()
        let (ends, sink) = AsyncStream.makeStream(of: Connection.self)
        let client = MessageClient(ClientConfiguration(token: "dev:alice")) {
            await gate.pass()
            let group = MultiThreadedEventLoopGroup.singleton
            let pair = InMemoryTransport.makePair(clientLoop: group.next(), serverLoop: group.next())
            sink.yield(Connection(adopting: pair.server))
            return Connection(adopting: pair.client)
        }
        let running = Task { try await client.run() }
        await gate.untilSomebodyCame()
        await client.close()
        await #expect(throws: ClientError.self) { try await client.identity() }
        gate.open()
        try await running.value
        var iterator = ends.makeAsyncIterator()
        let next = await iterator.next()
        let server = try #require(next)
        var streams = 0
        for try await _ in server.inboundStreams { streams += 1 }
        #expect(streams == 0)
        #expect(await server.closed().wireCode == 0)
    }

    /// Whoever closes a client before its task had its turn wanted nothing else.
    @Test func aClientThatIsClosedBeforeItRunsReturns() async throws {
        let client = MessageClient(ClientConfiguration(token: "dev:alice")) { throw CancellationError() }
        await client.close()
        try await client.run()
    }

    /// Each connection has its companion, for as long as the client wants it.
    @Test func whoeverAccompaniesAConnectionIsCancelledWithIt() async throws {
        try await House.run { house in
            let (visits, visit) = AsyncStream.makeStream(of: Connection.self)
            let (goodbyes, goodbye) = AsyncStream.makeStream(of: Bool.self)
            let client = MessageClient(ClientConfiguration(token: "dev:alice")) {
                try house.connect()
            } whileConnected: { connection in
                visit.yield(connection)
                // Ends by cancellation only.
                try? await Task.sleep(for: .seconds(3_600))
                goodbye.yield(Task.isCancelled)
            }
            let running = Task { try await client.run() }
            var visiting = visits.makeAsyncIterator()
            var leaving = goodbyes.makeAsyncIterator()
            let first = await visiting.next()
            _ = try await client.identity()
            await first?.close()
            #expect(await leaving.next() == true)
            let second = await visiting.next()
            _ = try await client.identity()
            await client.close()
            try await running.value
            #expect(await leaving.next() == true)
            #expect(await second?.closed().wireCode == 0)
        }
    }

    /// What a client's source of tokens says, one after the other, and then the last one again and again.
    private func run(
        tokens seconds: [Int64], _ body: (MessageClient, House, Task<Void, any Error>) async throws -> Void
    ) async throws -> Int {
        let secret = AccessSecret.random()
        let now = Int64(Date().timeIntervalSince1970)
        let tokens = try seconds.map {
            try AccessToken(
                user: Name("alice"), device: Name("phone"), audience: Name("tern"), expires: now + $0, issuedAt: now
            ).signed(with: secret)
        }
        let asked = Mutex(0)
        try await House.run(server: { $0.secret = secret }) { house in
            let client = house.client("nobody") { configuration in
                configuration.reconnecting.retriesFirstConnection = true
                configuration.tokenSource = {
                    asked.withLock { count in
                        count += 1
                        return tokens[min(count, tokens.count) - 1]
                    }
                }
            }
            let running = Task { try await client.run() }
            try await body(client, house, running)
        }
        return asked.withLock { $0 }
    }

    @Test func eachConnectionHasAFreshToken() async throws {
        let asked = try await self.run(tokens: [3600]) { client, house, running in
            #expect(try await client.identity().userName.text == "alice")
            house.cutAll()
            _ = try await client.send(ByteBuffer(string: "1"), to: PartyID(client.identity().user))
            await client.close()
            try await running.value
        }
        #expect(asked >= 2)
    }

    @Test func aTokenThatExpiredIsReplaced() async throws {
        let asked = try await self.run(tokens: [-3600, 3600]) { client, _, running in
            #expect(try await client.identity().userName.text == "alice")
            await client.close()
            try await running.value
        }
        #expect(asked >= 2)
    }

    @Test func aTokenThatExpiredAndIsNotReplacedEndsTheClient() async throws {
        let asked = try await self.run(tokens: [-3600]) { client, _, running in
            let error = await #expect(throws: ClientError.self) { try await running.value }
            #expect(error?.code == .authenticationRefused)
            #expect(error?.failure?.code == .tokenExpired)
        }
        #expect(asked == 2)
    }

    /// Whoever cancels a task runs its cancellation handlers while nobody can resume it: nothing may be resumed under a lock for which the
    /// handlers wait.
    @Test func waitsThatAreCancelledAsTheirAnswersComeHangNobody() async throws {
        try await House.run { house in
            let client = house.client("alice")
            try await withRunning([client]) {
                _ = try await client.identity()
                await withDiscardingTaskGroup { group in
                    for worker in 0..<4 {
                        group.addTask {
                            var random = SplitMix(state: UInt64(worker))
                            for _ in 0..<500 {
                                let question = Task { try? await client.resolveUser(Name("bob")) }
                                for _ in 0..<random.next() % 24 { await Task.yield() }
                                question.cancel()
                                _ = await question.value
                            }
                        }
                    }
                }
                #expect(try await client.resolveUser(Name("bob")).rawValue > 0)
            }
        }
    }

    @Test func whateverWaitsEndsWithItsTask() async throws {
        try await House.run { house in
            let gate = Gate()
            let client = self.gatedClient(house, gate) { $0.outboxCapacity = 1 }
            let running = Task { try await client.run() }
            await gate.untilSomebodyCame()
            let receiver = PartyID(try #require(UserID(rawValue: 1)))
            let receipt = try await client.enqueue(ByteBuffer(string: "1"), to: receiver)
            let other = Task { try await client.resolveUser(try Name("bob")) }
            let tasks: [Task<Void, any Error>] = [
                Task { _ = try await client.identity() },
                Task { _ = try await client.resolveUser(try Name("carol")) },
                Task { _ = try await client.enqueue(ByteBuffer(string: "2"), to: receiver) },
                Task { _ = try await receipt.acknowledgement() },
                Task { for try await _ in client.updates {} },
            ]
            for task in tasks {
                task.cancel()
                await #expect(throws: CancellationError.self) { try await task.value }
            }
            gate.open()
            #expect(try await other.value.rawValue > 0)
            #expect(try await receipt.acknowledgement().sequence.rawValue == 1)
            await client.close()
            try await running.value
        }
    }

    @Test func aCancelledRunEndsEverything() async throws {
        try await House.run { house in
            let gate = Gate()
            let client = self.gatedClient(house, gate)
            let running = Task { try await client.run() }
            await gate.untilSomebodyCame()
            let waiting = Task { try await client.identity() }
            running.cancel()
            await #expect(throws: ClientError.self) { try await waiting.value }
            gate.open()
            await #expect(throws: CancellationError.self) { try await running.value }
        }
    }

    /// A task without time closes at once.
    @Test func aCancelledCloseDoesNotWait() async throws {
        try await House.run { house in
            let gate = Gate()
            let client = self.gatedClient(house, gate)
            let running = Task { try await client.run() }
            await gate.untilSomebodyCame()
            let receiver = PartyID(try #require(UserID(rawValue: 1)))
            let receipt = try await client.enqueue(ByteBuffer(string: "1"), to: receiver)
            let closing = Task { await client.close(timeout: .seconds(3_600)) }
            closing.cancel()
            await closing.value
            let error = await #expect(throws: ClientError.self) { _ = try await receipt.acknowledgement() }
            #expect(error?.code == .closed)
            gate.open()
            try await running.value
        }
    }

    /// Over a real server: the receipts of every connection arrive.
    @Test func receiptsArriveAfterEveryReconnect() async throws {
        try await House.run { house in
            let (alice, bob) = (house.client("alice", receives: nil), house.client("bob"))
            try await withRunning([alice, bob]) {
                let toBob = PartyID(try await alice.resolveUser(try Name("bob")))
                for number in 1...4 as ClosedRange<UInt64> {
                    let sent = try await alice.send(ByteBuffer(string: "\(number)"), to: toBob)
                    let message = try #require(try await bob.messages(1).first)
                    bob.markRead(message)
                    while try await bob.channelState(sent.channel).read != sent.sequence { await Task.yield() }
                    house.cutAll()
                }
            }
        }
    }

    /// What was read is told before the good-bye.
    @Test func closingTellsWhatWasRead() async throws {
        try await House.run { house in
            let alice = house.client("alice", receives: nil)
            try await withRunning([alice]) {
                let toBob = PartyID(try await alice.resolveUser(try Name("bob")))
                let sent = try await alice.send(ByteBuffer(string: "1"), to: toBob)
                let bob = house.client("bob")
                try await withRunning([bob]) {
                    let message = try #require(try await bob.messages(1).first)
                    bob.markRead(message)
                }
                let again = house.client("bob", receives: nil)
                try await withRunning([again]) {
                    let state = try await again.channelState(sent.channel)
                    #expect(state.read == sent.sequence)
                }
            }
        }
    }

    /// A drain is over when everybody has gone, and not after the whole grace.
    @Test func aDrainingServerIsLeft() async throws {
        try await House.run { house in
            let clients = ["a", "b", "c"].map { house.client($0) }
            try await withRunning(clients) {
                for client in clients { _ = try await client.identity() }
                let clock = ContinuousClock()
                let start = clock.now
                await house.server.drain(grace: .seconds(120))
                #expect(clock.now - start < .seconds(60))
                for client in clients { await client.close(timeout: .zero) }
            }
        }
    }

    private static func nextUpdate(of client: MessageClient) async {
        var updates = client.updates.makeAsyncIterator()
        do { _ = try await updates.next() } catch {}
    }

    @Test func aCancelledReaderOfUpdatesEndsNobodyElsesWait() async throws {
        let gate = Gate()
        let client = MessageClient(ClientConfiguration(token: "dev:alice")) {
            await gate.pass()
            throw TransportError(.cancelled, message: "the test is over")
        }
        let running = Task { try await client.run() }
        await gate.untilSomebodyCame()
        let reading = Task { for try await _ in client.updates {} }
        await callWhileCancelled { await Self.nextUpdate(of: client) }
        await client.close()
        try await reading.value
        gate.open()
        try await running.value
    }
}
