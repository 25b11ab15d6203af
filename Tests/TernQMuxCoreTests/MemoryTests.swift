// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernQMuxCore

/// What a message costs in memory, told by whose memory it is.
@Suite("QMux: memory is used again")
struct MemoryTests {
    @Test("One message after the other, dropped when it was read, lives in the same memory")
    func echo() throws {
        var ends = try Ends()
        for number in 0..<50 {
            let message = pattern(64, seed: number)
            let places = try ends.send(message) { #expect($0 == message) }
            // Both ends have what they need after the first messages.
            if number == 2 { ends.places = places }
            if number > 2 { #expect(places == ends.places) }
        }
    }

    @Test("What the application keeps is not overwritten")
    func kept() throws {
        var ends = try Ends()
        var kept: [ByteBuffer] = []
        for number in 0..<20 { _ = try ends.send(pattern(64, seed: number)) { kept.append($0) } }
        #expect(kept == (0..<20).map { pattern(64, seed: $0) })
    }

    @Test(
        "The memory of what was received is the caller's again, also in the middle of a record", arguments: [1, 7, 40])
    func givesBack(pieceSize: Int) throws {
        var ends = try Ends()
        _ = try ends.pair.client.write(pattern(5_000, seed: 3), to: ends.stream, finish: true)
        var bytes = try #require(ends.pair.client.nextBytes(now: ends.pair.now))
        var scratch = ByteBuffer()
        scratch.reserveCapacity(100)
        while let piece = bytes.readSlice(length: min(pieceSize, bytes.readableBytes)), piece.readableBytes > 0 {
            scratch.clear()
            scratch.writeImmutableBuffer(piece)
            ends.pair.server.receive(scratch, now: ends.pair.now)
            let isOurs: Void? = scratch.modifyIfUniquelyOwned { (_: inout ByteBuffer) -> Void in }
            #expect(isOurs != nil)
        }
        ends.pair.drain()
        #expect(receivedBytes(ends.pair.serverEvents, of: ends.stream) == pattern(5_000, seed: 3))
    }

    @Test("What came of a stream in one go is told in one piece, up to 128 KiB")
    func joined() throws {
        var ends = try Ends()
        let sent = pattern(300_000, seed: 1)
        _ = try ends.pair.client.write(sent, to: ends.stream, finish: true)
        while let bytes = ends.pair.client.nextBytes(now: ends.pair.now) {
            ends.pair.server.receive(bytes, now: ends.pair.now)
        }
        ends.pair.drain()
        let sizes = ends.pair.serverEvents.compactMap { event -> Int? in
            if case .streamReceived(_, let bytes, _) = event { bytes.readableBytes } else { nil }
        }
        #expect(sizes.count == 3 && sizes.allSatisfy { $0 <= 128 << 10 })
        #expect(receivedBytes(ends.pair.serverEvents, of: ends.stream) == sent)
    }

    @Test("A peer that announces much and sends little makes nobody reserve memory")
    func smallReservation() throws {
        var ends = try Ends()
        _ = try ends.pair.client.write(pattern(10, seed: 1), to: ends.stream, finish: false)
        let bytes = try #require(ends.pair.client.nextBytes(now: ends.pair.now))
        ends.pair.server.receive(bytes, following: 1 << 20, now: ends.pair.now)
        ends.pair.drain()
        guard case .streamReceived(_, let piece, _)? = ends.pair.serverEvents.last else {
            Issue.record("nothing was received")
            return
        }
        // What an earlier piece left, at most.
        #expect(piece.storageCapacity <= 2_048)
    }
}

/// What is held against what was charged.
@Suite("QMux: what is held is what was charged")
struct HeldMemoryTests {
    private static let streams = [StreamID(rawValue: 2), StreamID(rawValue: 6)]

    /// A server whose first stream has just told a large piece, as bulk does.
    private func afterBulk(_ limits: ConnectionLimits) -> LoneCore {
        let lone = LoneCore(limits: limits)
        for offset in stride(from: 0, to: 64 << 10, by: 8 << 10) {
            let frame = QMuxFrame.stream(
                Self.streams[0], offset: UInt64(offset), ByteBuffer(repeating: 7, count: 8 << 10), finished: false)
            lone.core.receive(record([frame]), following: 1 << 20, now: lone.now)
        }
        for case .streamReceived(let stream, let bytes, _) in lone.events() {
            lone.core.consumed(bytes.readableBytes, of: stream)
        }
        _ = lone.sentFrames()
        return lone
    }

    /// One byte of each stream in turn.
    private func crumbs(_ number: Int) -> [QMuxFrame] {
        [(0, 64 << 10), (1, 0)].map { index, start in
            .stream(
                Self.streams[index], offset: UInt64(start + number), ByteBuffer(repeating: 1, count: 1), finished: false
            )
        }
    }

    @Test("Crumbs of two streams in turn, of which nobody hears yet")
    func unheard() {
        var limits = ConnectionLimits()
        limits.connectionWindow = 200_000
        let lone = self.afterBulk(limits)
        for number in 0..<20_000 {
            lone.core.receive(record(self.crumbs(number)), following: 1 << 20, now: lone.now)
        }
        #expect(lone.core.closeReason == nil)
        let held = Self.streams.compactMap { lone.core.streams[$0]?.held.capacity }.reduce(0, +)
        #expect(held <= 2 * 40_000 + 2 * (128 << 10))
        #expect(lone.core.events.count <= 3)
        for stream in Self.streams { #expect(receivedBytes(lone.events(), of: stream).readableBytes <= 20_000) }
    }

    @Test("Crumbs of two streams in turn, of which the application keeps every piece", arguments: [1, 3, 50])
    func kept(perRecord: Int) {
        let lone = self.afterBulk(ConnectionLimits())
        var pieces: [ByteBuffer] = []
        for number in 0..<1000 {
            let frames = (0..<perRecord).flatMap { self.crumbs(number * perRecord + $0) }
            lone.core.receive(record(frames), following: 1 << 20, now: lone.now)
            for case .streamReceived(_, let bytes, _) in lone.events() { pieces.append(bytes) }
        }
        let bytes = pieces.reduce(0) { $0 + $1.readableBytes }
        #expect(bytes == 2000 * perRecord)
        // What a stream is likely to bring is reserved by its last piece, and a few pieces come in memory that was used before.
        #expect(pieces.reduce(0) { $0 + $1.storageCapacity } <= 3 * bytes + 16 * pieces.count + 8 * 2048)
    }

    @Test("What a reset makes useless is let go, and what it promised is heard before it")
    func resets() throws {
        let lone = LoneCore()
        let (dropped, promised) = (Self.streams[0], Self.streams[1])
        for stream in Self.streams {
            lone.receive([.stream(stream, offset: 0, ByteBuffer(repeating: 3, count: 1000), finished: false)])
        }
        lone.receive([.resetStream(dropped, code: 5, finalSize: 1000)])
        lone.receive([.resetStreamAt(promised, code: 6, finalSize: 2000, reliableSize: 900)])
        #expect(lone.core.streams[dropped]?.held.capacity == 0)
        #expect(lone.core.connection.consumed == 2000)
        let events = lone.events()
        #expect(receivedBytes(events, of: dropped).readableBytes == 0)
        #expect(receivedBytes(events, of: promised).readableBytes == 1000)
        #expect(events.suffix(2) == [.streamWasReset(promised, code: 6), .streamClosed(promised)])
        #expect(lone.core.connection.consumed == 3000)
    }

    @Test("A datagram does not keep the memory of the record that brought it")
    func datagrams() {
        let lone = LoneCore()
        for _ in 0..<10 {
            lone.receive([.datagram(ByteBuffer(repeating: 1, count: 5000), frameSize: 0), .padding(count: 9000)])
        }
        for case .datagramReceived(let bytes) in lone.events() { #expect(bytes.storageCapacity <= 8192) }
    }
}

/// Two established cores, and one stream from the client.
private struct Ends {
    var pair = CorePair()
    let stream: StreamID
    var record = ByteBuffer()
    var scratch = ByteBuffer()
    /// Where a record was written, and where a piece was read.
    var places: [UInt] = []

    init() throws {
        self.pair.pump()
        self.stream = try #require(try self.pair.client.openStream(.unidirectional))
        _ = try self.pair.client.write(pattern(64, seed: 0), to: self.stream, finish: false)
        self.pair.pump()
        self.pair.serverEvents = []
        self.scratch.reserveCapacity(4096)
    }

    /// - Returns: the addresses of the record and of the piece that arrived.
    mutating func send(_ message: ByteBuffer, hear: (ByteBuffer) -> Void) throws -> [UInt] {
        let now = self.pair.now
        _ = try self.pair.client.write(message, to: self.stream, finish: false)
        #expect(self.pair.client.write(into: &self.record, now: now))
        self.scratch.clear()
        self.scratch.writeImmutableBuffer(self.record)
        self.pair.server.receive(self.scratch, now: now)
        var places = [Self.address(of: self.record), Self.address(of: self.scratch)]
        while let event = self.pair.server.nextEvent() {
            guard case .streamReceived(self.stream, let bytes, _) = event else { continue }
            places.append(Self.address(of: bytes))
            self.pair.server.consumed(bytes.readableBytes, of: self.stream)
            hear(bytes)
        }
        return places
    }

    private static func address(of buffer: ByteBuffer) -> UInt {
        buffer.withVeryUnsafeBytes { UInt(bitPattern: $0.baseAddress) }
    }
}
