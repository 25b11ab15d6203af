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
