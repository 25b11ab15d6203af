// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOPosix
import Tern
import TernTesting
import TestTimeLimits
import Testing

/// The code of the articles about streams and datagrams, over the in-memory carrier.
@Suite("Streams and datagrams", .untilItHangs)
struct StreamAndDatagramTests {
    @Test func aTransferIsAsFastAsItsReader() async throws {
        try await withPair { client, server in
            async let received = self.receive(on: server)
            let chunks = (0..<100).map { ByteBuffer(repeating: UInt8($0), count: 10_000) }
            try await self.send(chunks, over: client)
            let count = try await received
            #expect(count == 1_000_000)
        }
    }

    private func send(_ chunks: [ByteBuffer], over connection: Connection) async throws {
        // snippet: streams-send
        let stream = try await connection.openStream(.unidirectional)
        for chunk in chunks {
            try await stream.write(chunk)  // Suspends while the peer does not keep up.
        }
        try await stream.finish()
        // end
    }

    private func receive(on connection: Connection) async throws -> Int {
        var total = 0
        // snippet: streams-receive
        for try await stream in connection.inboundStreams {
            for try await bytes in stream.inbound {
                total += bytes.readableBytes  // Taking the bytes lets the peer send more.
            }
            break
        }
        // end
        return total
    }

    @Test func streamsEndInTheirOwnWays() async throws {
        try await withPair { client, server in
            let request = try await client.openStream()
            request.setPriority(.highest)
            try await request.write(ByteBuffer(string: "a long question"))
            let peer = try #require(try await server.inboundStreams.first { _ in true })
            _ = try await peer.read()
            self.giveUp(request)
            await #expect(throws: TransportError(.streamReset, message: "", wireCode: 7, initiator: .peer)) {
                while try await peer.read() != nil {}
            }
            #expect(try await self.answer(on: peer) == 8)
        }
    }

    private func giveUp(_ stream: TernTransport.Stream) {
        // snippet: streams-give-up
        stream.reset(code: 7)  // What I said does not count any more.
        stream.stopSending(code: 8)  // And I do not want the answer.
        // end
    }

    private func answer(on stream: TernTransport.Stream) async throws -> UInt64? {
        // snippet: streams-stopped
        do {
            while true { try await stream.write(ByteBuffer(string: "a long answer")) }
        } catch let error as TransportError where error.code == .streamStopped {
            return error.wireCode
        }
        // end
    }

    @Test func priorities() async throws {
        try await withPair { client, _ in
            // snippet: streams-priority
            let download = try await client.openStream()
            download.setPriority(.background)
            let control = try await client.openStream()
            control.setPriority(.highest)
            // end
            #expect(download.id != control.id)
        }
    }

    @Test func positionsAreSentAndTheNewestIsTaken() async throws {
        try await withPair { client, server in
            let position = ByteBuffer(string: "48.1, 11.6")
            try await self.send(position, over: client)
            #expect(try await self.newestPosition(on: server) == position)
        }
    }

    private func send(_ position: ByteBuffer, over connection: Connection) async throws {
        // snippet: datagrams-send
        if await connection.maximumDatagramSize() >= position.readableBytes {
            try await connection.sendDatagram(position)
        }
        // end
    }

    private func newestPosition(on connection: Connection) async throws -> ByteBuffer? {
        // snippet: datagrams-receive
        for try await position in connection.inboundDatagrams {
            return position
        }
        // end
        return nil
    }

    @Test func aDatagramTellsItsFate() async throws {
        try await withPair { client, _ in
            let attempts = try await self.sendUntilAcknowledged(ByteBuffer(string: "x"), over: client)
            #expect(attempts == 1)
        }
    }

    private func sendUntilAcknowledged(_ position: ByteBuffer, over connection: Connection) async throws -> Int {
        var attempts = 0
        // snippet: datagrams-fate
        repeat {
            attempts += 1
            let delivery = try await connection.sendTrackedDatagram(position)
            if await delivery.fate() != .lost { break }
        } while attempts < 3
        // end
        return attempts
    }
}
