// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import NIOPosix
import TernTransport
import TestTimeLimits
import Testing

@Suite("The async surface before and after the handshake", .untilItHangs)
struct ConnectionHandshakeTests {
    private let carrier = ScriptedConnection(
        role: .server, isHandshakeComplete: false, on: MultiThreadedEventLoopGroup.singleton.next())
    private let first = StreamID(rawValue: 0)
    private let second = StreamID(rawValue: 4)

    @Test func theHandshakeCanBeWaitedFor() async throws {
        let connection = Connection(adopting: self.carrier)
        async let completed: Void = connection.handshakeCompleted()
        #expect(await !connection.isHandshakeComplete())
        try await self.carrier.script {
            $0.isHandshakeComplete = true
            $0.handler?.connectionEventOccurred(ConnectionEvent(.handshakeConfirmed, message: ""))
        }
        try await completed
        #expect(await connection.isHandshakeComplete())
        await connection.close()
        try await connection.handshakeCompleted()
    }

    @Test func aHandshakeThatFailsSaysWhy() async throws {
        let connection = Connection(adopting: self.carrier)
        let waiter = Task { try await connection.handshakeCompleted() }
        try await self.carrier.script {
            $0.handler?.connectionClosed(TransportError(.handshakeFailed, message: "bad finished"))
        }
        await #expect(throws: TransportError(.handshakeFailed, message: "")) { try await waiter.value }
    }

    @Test func aCancelledWaiterLeavesTheHandshakeAlone() async throws {
        let connection = Connection(adopting: self.carrier)
        let waiter = Task { try await connection.handshakeCompleted() }
        waiter.cancel()
        await #expect(throws: CancellationError.self) { try await waiter.value }
        try await self.carrier.script {
            $0.isHandshakeComplete = true
            $0.handler?.connectionEventOccurred(ConnectionEvent(.handshakeConfirmed, message: ""))
        }
        try await connection.handshakeCompleted()
        await connection.close()
    }

    @Test func streamsSayWhetherTheirBytesMayBeReplays() async throws {
        let connection = Connection(adopting: self.carrier)
        try await self.carrier.script { [first, second] carrier in
            carrier.earlyData = .accepted
            carrier.replays = [first]
            for stream in [first, second] { carrier.handler?.streamOpened(stream) }
            carrier.handler?.streamReceived(first, bytes: ByteBuffer(string: "a"), finished: true)
            carrier.isHandshakeComplete = true
            carrier.handler?.streamReceived(second, bytes: ByteBuffer(string: "b"), finished: true)
        }
        var answers: [StreamID: Bool] = [:]
        var streams = connection.inboundStreams.makeAsyncIterator()
        while answers.count < 2, let stream = try await streams.next() {
            _ = try await stream.read()
            answers[stream.id] = stream.isReplayable
        }
        #expect(answers == [self.first: true, self.second: false])
        #expect(await connection.earlyData() == .accepted)
        await connection.close()
    }

    /// A carrier holds back what came in 0-RTT until the start, and the handshake may be over by then.
    @Test func bytesThatWaitedForTheStartMayBeReplaysToo() async throws {
        try await self.carrier.script { [first] carrier in
            carrier.isHandshakeComplete = true
            carrier.replays = [first]
        }
        let connection = Connection(adopting: self.carrier)
        try await self.carrier.script { [first] carrier in
            carrier.handler?.streamOpened(first)
            carrier.handler?.streamReceived(first, bytes: ByteBuffer(string: "a"), finished: true)
        }
        let stream = try #require(try await connection.inboundStreams.first { _ in true })
        #expect(try await stream.read() == ByteBuffer(string: "a"))
        #expect(stream.isReplayable)
        await connection.close()
    }

    @Test func streamsThatCameWithTheConnectionHaveHandles() async throws {
        let client = ScriptedConnection(role: .client, on: MultiThreadedEventLoopGroup.singleton.next())
        try await client.script { [first, second] in $0.replayableStreams = [first, second] }
        let sent = [ReplayableStream(ByteBuffer(string: "whole")), ReplayableStream(ByteBuffer(), finishes: false)]
        let connection = Connection(adopting: client, replayable: sent)
        do {
            let streams = try await connection.replayableStreams()
            #expect(streams.map(\.id) == [self.first, self.second])
            try await client.script { [first] in
                $0.handler?.streamReceived(first, bytes: ByteBuffer(string: "answer"), finished: true)
            }
            #expect(try await streams[0].read() == ByteBuffer(string: "answer"))
            #expect(!streams[0].isReplayable, "an answer comes from a server that was verified")
            await #expect(throws: TransportError(.streamFinished, message: "")) {
                try await streams[0].write(ByteBuffer(string: "more"))
            }
            try await streams[1].write(ByteBuffer(string: "more"))
        }
        // Dropped: the first was finished, and must reach the server whole; the second was not.
        await connection.close()
        #expect(try await client.script { $0.resets } == [self.second])
    }

    @Test func aPeerThatAllowsFewerStreamsIsNamed() async throws {
        let client = ScriptedConnection(role: .client, on: MultiThreadedEventLoopGroup.singleton.next())
        try await client.script { [first] in $0.replayableStreams = [first] }
        let request = ReplayableStream(ByteBuffer(string: "x"))
        let connection = Connection(adopting: client, replayable: [request, request])
        await #expect(throws: TransportError(.limitExceeded, message: "")) {
            _ = try await connection.replayableStreams()
        }
        await connection.close()
    }

    @Test func aMigrationOutlivesTheTaskThatWaits() async throws {
        let client = ScriptedConnection(role: .client, on: MultiThreadedEventLoopGroup.singleton.next())
        let connection = Connection(adopting: client)
        let waiter = Task { try await connection.migrate() }
        waiter.cancel()
        await #expect(throws: CancellationError.self) { _ = try await waiter.value }
        let address = try SocketAddress(ipAddress: "192.0.2.1", port: 4433)
        let report = PathReport(localAddress: address, remoteAddress: address, validationTime: .milliseconds(3))
        client.migration.succeed(report)
        #expect(try await connection.migrate() == report)
        await #expect(throws: TransportError(.misuse, message: "")) { _ = try await connection.probe() }
        await connection.close()
        await #expect(throws: TransportError(.application, message: "", wireCode: 0)) { try await connection.migrate() }
    }

    @Test func keysAreUpdatedAndTheLastStatisticsStay() async throws {
        let client = ScriptedConnection(role: .client, on: MultiThreadedEventLoopGroup.singleton.next())
        let connection = Connection(adopting: client)
        try await connection.updateKeys()
        #expect(try await client.script { $0.keyUpdates } == 1)
        await #expect(throws: TransportError(.misuse, message: "")) {
            _ = try await connection.exportKeyingMaterial(label: "EXPORTER-test")
        }
        try await client.script { $0.counters.bytesSent = 77 }
        await connection.close()
        #expect(await connection.statistics().bytesSent == 77)
        await #expect(throws: TransportError(.application, message: "", wireCode: 0)) {
            try await connection.updateKeys()
        }
    }
}

@Suite("The fates of datagrams", .untilItHangs)
struct DatagramDeliveryTests {
    private let carrier = ScriptedConnection(role: .client, on: MultiThreadedEventLoopGroup.singleton.next())

    @Test func eachHasItsOwn() async throws {
        let connection = Connection(adopting: self.carrier)
        var deliveries: [DatagramDelivery] = []
        for _ in 0..<4 { deliveries.append(try await connection.sendTrackedDatagram(ByteBuffer(string: "d"))) }
        let fates: [DatagramFate] = [.acknowledged, .lost, .shed, .written]
        try await self.carrier.script { carrier in
            for (tag, fate) in zip(carrier.tags, fates).reversed() { carrier.handler?.datagramSettled(tag, fate: fate) }
            // A carrier that breaks its word, or has tags of its own.
            carrier.handler?.datagramSettled(carrier.tags[0], fate: .lost)
            carrier.handler?.datagramSettled(99, fate: .lost)
        }
        for (delivery, fate) in zip(deliveries, fates) { #expect(await delivery.fate() == fate) }
        await connection.close()
    }

    @Test func aDatagramThatIsRefusedHasNone() async throws {
        let connection = Connection(adopting: self.carrier)
        await #expect(throws: TransportError(.limitExceeded, message: "")) {
            _ = try await connection.sendTrackedDatagram(ByteBuffer(repeating: 0, count: 2_000))
        }
        await connection.close()
    }

    @Test func theEndOfTheConnectionLeavesThemUnknown() async throws {
        let connection = Connection(adopting: self.carrier)
        let delivery = try await connection.sendTrackedDatagram(ByteBuffer(string: "d"))
        async let fate = delivery.fate()
        await connection.close()
        #expect(await fate == nil)
    }

    @Test func aCancelledTaskMayAskAgain() async throws {
        let connection = Connection(adopting: self.carrier)
        let delivery = try await connection.sendTrackedDatagram(ByteBuffer(string: "d"))
        let waiter = Task { await delivery.fate() }
        waiter.cancel()
        #expect(await waiter.value == nil)
        try await self.carrier.script { $0.handler?.datagramSettled($0.tags[0], fate: .acknowledged) }
        #expect(await delivery.fate() == .acknowledged)
        await connection.close()
    }

    @Test func aCarrierThatNeverTellsCostsABoundedAmount() async throws {
        let connection = Connection(adopting: self.carrier)
        let first = try await connection.sendTrackedDatagram(ByteBuffer(string: "d"))
        // All at once: one after the other each would wait for two turns of threads, which takes minutes on a busy machine.
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<4_095 {
                group.addTask { _ = try await connection.sendTrackedDatagram(ByteBuffer(string: "d")) }
            }
            try await group.waitForAll()
        }
        let last = try await connection.sendTrackedDatagram(ByteBuffer(string: "d"))
        #expect(await first.fate() == nil)
        try await self.carrier.script { $0.handler?.datagramSettled($0.tags[4_096], fate: .lost) }
        #expect(await last.fate() == .lost)
        await connection.close()
    }
}
