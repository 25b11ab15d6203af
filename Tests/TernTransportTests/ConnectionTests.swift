// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import NIOPosix
import Synchronization
import TernTesting
import TernTransport
import TestTimeLimits
import Testing

@Suite("The async surface", .untilItHangs)
struct ConnectionTests {
    @Test func echoesAStream() async throws {
        try await withPair { client, server in
            let stream = try await client.openStream()
            try await stream.finish(ByteBuffer(string: "hello"))
            let peer = try #require(try await server.inboundStreams.first { _ in true })
            #expect(peer.id == stream.id)
            let received = try await peer.collect()
            try await peer.finish(received)
            #expect(String(buffer: try await stream.collect()) == "hello")
        }
    }

    @Test func writeSuspendsUntilThePeerReads() async throws {
        var limits = ConnectionLimits()
        limits.streamWindow = 64 << 10
        limits.writeHighWatermark = 32 << 10
        limits.writeLowWatermark = 16 << 10
        try await withPair(limits: limits) { client, server in
            let stream = try await client.openStream()
            let chunk = ByteBuffer(repeating: 7, count: 8 << 10)
            let written = Counter()
            let writer = Task {
                for _ in 0..<100 {
                    try await stream.write(chunk)
                    written.increment()
                }
                try await stream.finish()
            }
            let peer = try #require(try await server.inboundStreams.first { _ in true })
            // 64 KiB fill the peer's window; a little over 32 KiB wait in the carrier, and as much on the way to it; the read returned
            // credit for at most 64 KiB more. With 8 KiB in each write, far fewer than 100 can have returned.
            var total = try #require(try await peer.read()).readableBytes
            #expect(written.value <= 8 + 5 + 5 + 8)
            while let bytes = try await peer.read() { total += bytes.readableBytes }
            #expect(total == 100 * chunk.readableBytes)
            try await writer.value
        }
    }

    @Test func aCancelledWriterLeavesTheStreamUsable() async throws {
        var limits = ConnectionLimits()
        limits.streamWindow = 1 << 10
        limits.writeHighWatermark = 1 << 10
        limits.writeLowWatermark = 0
        try await withPair(limits: limits) { client, server in
            let stream = try await client.openStream()
            let writer = Task { try await stream.write(ByteBuffer(repeating: 1, count: 100 << 10)) }
            let peer = try #require(try await server.inboundStreams.first { _ in true })
            var total = try #require(try await peer.read()).readableBytes
            writer.cancel()
            await #expect(throws: CancellationError.self) { try await writer.value }
            let finisher = Task { try await stream.finish(ByteBuffer(string: "end")) }
            while let bytes = try await peer.read() { total += bytes.readableBytes }
            try await finisher.value
            #expect(total == (100 << 10) + 3)
        }
    }

    @Test func openStreamWaitsForThePeersLimit() async throws {
        var limits = ConnectionLimits()
        limits.bidirectionalStreams = 1
        try await withPair(limits: limits) { client, server in
            let first = try await client.openStream()
            try await first.finish()
            let second = Task { try await client.openStream() }
            let peer = try #require(try await server.inboundStreams.first { _ in true })
            #expect(try await peer.read() == nil)
            try await peer.finish()
            #expect(try await first.read() == nil)
            #expect(try await second.value.id.index == 1)
        }
    }

    @Test func aWaitingOpenerCanBeCancelled() async throws {
        var limits = ConnectionLimits()
        limits.unidirectionalStreams = 0
        try await withPair(limits: limits) { client, _ in
            let opener = Task { try await client.openStream(.unidirectional) }
            opener.cancel()
            await #expect(throws: CancellationError.self) { _ = try await opener.value }
        }
    }

    @Test func resetAndStopCarryTheirCodes() async throws {
        try await withPair { client, server in
            let stream = try await client.openStream()
            try await stream.write(ByteBuffer(string: "x"))
            let peer = try #require(try await server.inboundStreams.first { _ in true })
            _ = try await peer.read()
            stream.reset(code: 42)
            await #expect(throws: TransportError(.streamReset, message: "", wireCode: 42, initiator: .peer)) {
                _ = try await peer.read()
            }
            stream.stopSending(code: 43)
            await #expect(throws: TransportError(.streamStopped, message: "", wireCode: 43, initiator: .peer)) {
                while true { try await peer.write(ByteBuffer(repeating: 0, count: 64 << 10)) }
            }
            await #expect(throws: TransportError(.streamFinished, message: "", wireCode: 42)) {
                try await stream.write(ByteBuffer(string: "late"))
            }
        }
    }

    @Test func misuseIsSaid() async throws {
        try await withPair { client, server in
            let stream = try await client.openStream(.unidirectional)
            await #expect(throws: TransportError(.misuse, message: "")) { _ = try await stream.read() }
            try await stream.finish(ByteBuffer(string: "one way"))
            let peer = try #require(try await server.inboundStreams.first { _ in true })
            await #expect(throws: TransportError(.misuse, message: "")) {
                try await peer.write(ByteBuffer(string: "no"))
            }
            #expect(String(buffer: try await peer.collect()) == "one way")
        }
    }

    @Test func datagramsGoBothWaysAndTheOldestIsDropped() async throws {
        var limits = ConnectionLimits()
        limits.bufferedDatagrams = 2
        try await withPair(limits: limits) { client, server in
            for text in ["a", "b", "c"] { try await client.sendDatagram(ByteBuffer(string: text)) }
            // A stream's byte behind the datagrams says that they arrived.
            let marker = try await client.openStream(.unidirectional)
            try await marker.finish()
            _ = try await server.inboundStreams.first { _ in true }
            var datagrams = server.inboundDatagrams.makeAsyncIterator()
            #expect(try await datagrams.next().map { String(buffer: $0) } == "b")
            #expect(try await datagrams.next().map { String(buffer: $0) } == "c")
            #expect(await server.statistics().datagramsDropped == 1)
            await #expect(throws: TransportError(.limitExceeded, message: "")) {
                try await client.sendDatagram(ByteBuffer(repeating: 0, count: 1 << 20))
            }
        }
    }

    @Test func closingReachesEverybodyOnce() async throws {
        try await withPair { client, server in
            let stream = try await client.openStream()
            try await stream.write(ByteBuffer(string: "x"))
            let peer = try #require(try await server.inboundStreams.first { _ in true })
            await client.close(code: 9, reason: "enough")
            let reason = await server.closed()
            #expect(reason == TransportError(.application, message: "", wireCode: 9, initiator: .peer))
            #expect(reason.message == "enough")
            #expect(await client.closed() == TransportError(.application, message: "", wireCode: 9))
            #expect(try await peer.read() != nil, "what had arrived can still be read")
            await #expect(throws: reason) { _ = try await peer.read() }
            await #expect(throws: reason) { _ = try await server.openStream() }
            await #expect(throws: reason) { for try await _ in server.inboundStreams {} }
        }
    }

    @Test func aCleanCloseEndsTheSequences() async throws {
        try await withPair { client, server in
            await client.close()
            for try await _ in server.inboundStreams { Issue.record("no stream was opened") }
            for try await _ in server.inboundDatagrams { Issue.record("no datagram was sent") }
        }
    }

    @Test func droppingTheHandleCloses() async throws {
        let group = MultiThreadedEventLoopGroup.singleton
        let pair = InMemoryTransport.makePair(clientLoop: group.next(), serverLoop: group.next())
        let server = Connection(adopting: pair.server)
        _ = Connection(adopting: pair.client)
        #expect(await server.closed() == TransportError(.application, message: "", wireCode: 0, initiator: .peer))
    }

    @Test func droppingAStreamResetsAndStopsIt() async throws {
        try await withPair { client, server in
            var stream: Stream? = try await client.openStream()
            try await stream?.write(ByteBuffer(string: "x"))
            let peer = try #require(try await server.inboundStreams.first { _ in true })
            stream = nil
            await #expect(throws: TransportError(.streamReset, message: "", wireCode: 0, initiator: .peer)) {
                while try await peer.read() != nil {}
            }
        }
    }

    @Test func whatNobodyReadsStillReturnsItsCredit() async throws {
        var limits = ConnectionLimits()
        limits.connectionWindow = 64 << 10
        limits.streamWindow = 64 << 10
        try await withPair(limits: limits) { client, server in
            // Each stream fills the whole window of the connection and is dropped unread: without its credit the next one would hang.
            let dropper = Task { for try await _ in server.inboundStreams {} }
            for _ in 0..<20 {
                let stream = try await client.openStream(.unidirectional)
                try? await stream.write(ByteBuffer(repeating: 1, count: 64 << 10))
                try? await stream.finish()
            }
            let last = try await client.openStream(.unidirectional)
            try? await last.write(ByteBuffer(repeating: 1, count: 512 << 10))
            await client.close()
            _ = await dropper.result
        }
    }

    @Test func aCutLinkFailsEverything() async throws {
        let group = MultiThreadedEventLoopGroup.singleton
        let pair = InMemoryTransport.makePair(clientLoop: group.next(), serverLoop: group.next())
        let (client, server) = (Connection(adopting: pair.client), Connection(adopting: pair.server))
        let stream = try await client.openStream()
        let reader = Task { try await stream.read() }
        pair.cut()
        await #expect(throws: TransportError(.carrierLost, message: "")) { _ = try await reader.value }
        #expect(await server.closed().code == .carrierLost)
    }
}

/// Two connected ends on two loops, closed at the end.
private func withPair(
    limits: ConnectionLimits = ConnectionLimits(),
    _ body: (_ client: Connection, _ server: Connection) async throws -> Void
) async throws {
    let group = MultiThreadedEventLoopGroup.singleton
    let pair = InMemoryTransport.makePair(
        clientLoop: group.next(), serverLoop: group.next(), clientLimits: limits, serverLimits: limits)
    let (client, server) = (Connection(adopting: pair.client), Connection(adopting: pair.server))
    try await body(client, server)
    await client.close()
    await server.closed()
}

extension Stream {
    fileprivate func collect() async throws -> ByteBuffer {
        var all = ByteBuffer()
        while var bytes = try await self.read() { all.writeBuffer(&bytes) }
        return all
    }
}

private final class Counter: Sendable {
    private let count = Mutex(0)
    var value: Int { self.count.withLock { $0 } }
    func increment() { self.count.withLock { $0 += 1 } }
}
