// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTransport

/// Streams, from their opening to their end.
extension TransportConformance {
    static let streamBehaviours: [ConformanceBehaviour] = [
        ConformanceBehaviour("a stream is echoed", Self.echo),
        ConformanceBehaviour("streams have the numbers of RFC 9000", Self.streamNumbers),
        ConformanceBehaviour("the opener ends its half first, the other half goes on", Self.halfClose),
        ConformanceBehaviour("the acceptor ends its half first, the other half goes on", Self.halfCloseByAcceptor),
        ConformanceBehaviour("a stream may be nothing but its end", Self.emptyStream),
        ConformanceBehaviour("unidirectional streams flow one way, from either end", Self.unidirectional),
        ConformanceBehaviour("megabytes arrive byte for byte, both ways at once", Self.largeTransfer),
        ConformanceBehaviour("hundreds of streams share a connection", Self.manyStreams),
        ConformanceBehaviour("urgent bytes overtake", Self.priorities),
        ConformanceBehaviour("bytes that wait become urgent later", Self.laterPriority),
    ]

    private static func echo(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            try await server.echo()
            let stream = try await client.openStream()
            try await client.send(testBytes(1000), on: stream)
            let answer = try await client.whole(stream)
            try require(answer == testBytes(1000), "the echo differs")
            try await client.until("\(stream) close") { $0.closed.contains(stream) }
            try await server.until("\(stream) close") { $0.closed.contains(stream) }
        }
    }

    private static func streamNumbers(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            var opened: [UInt64] = []
            for direction in [StreamDirection.bidirectional, .unidirectional, .bidirectional] {
                opened.append(try await client.openStream(direction).rawValue)
            }
            opened.append(try await server.openStream(.bidirectional).rawValue)
            opened.append(try await server.openStream(.unidirectional).rawValue)
            try require(opened == [0, 2, 4, 1, 3], "the streams were numbered \(opened)")
            // Stream 4 opens stream 0 too (RFC 9000, section 3.2); whether that is told before bytes come is the
            // carrier's choice.
            try await client.send(testBytes(1), on: StreamID(rawValue: 4))
            try await server.until("stream 4") { $0.opened.contains(StreamID(rawValue: 4)) }
            try await client.send(testBytes(1), on: StreamID(rawValue: 0))
            try await server.until("stream 0") { $0.count(StreamID(rawValue: 0)) == 1 }
        }
    }

    private static func halfClose(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            let stream = try await client.openStream()
            try await client.send(testBytes(100), on: stream)
            _ = try await server.whole(stream)
            for _ in 0..<3 { try await server.send(testBytes(100), on: stream, finish: false) }
            try await client.until("300 bytes") { $0.count(stream) == 300 }
            let isOpen = try await client.perform { !$0.record.closed.contains(stream) }
            try require(isOpen, "the stream closed before its second half ended")
            try await server.send(ByteBuffer(), on: stream)
            _ = try await client.whole(stream)
            try await client.until("\(stream) close") { $0.closed.contains(stream) }
        }
    }

    private static func halfCloseByAcceptor(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            let stream = try await client.openStream()
            try await client.send(testBytes(1), on: stream, finish: false)
            try await server.until("the stream") { $0.count(stream) == 1 }
            try await server.send(testBytes(100), on: stream)
            _ = try await client.whole(stream)
            try await client.send(testBytes(100), on: stream)
            let received = try await server.whole(stream)
            try require(received.readableBytes == 101, "\(received.readableBytes) bytes came instead of 101")
            try await server.until("\(stream) close") { $0.closed.contains(stream) }
        }
    }

    private static func emptyStream(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            for direction in StreamDirection.allCases {
                let stream = try await client.openStream(direction)
                try await client.send(ByteBuffer(), on: stream)
                let received = try await server.whole(stream)
                try require(received.readableBytes == 0, "bytes came from nowhere")
                if direction == .bidirectional { try await server.send(ByteBuffer(), on: stream) }
                for end in [client, server] {
                    try await end.until("\(stream) close") { $0.closed.contains(stream) }
                }
            }
        }
    }

    private static func unidirectional(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            for (sender, receiver) in [(client, server), (server, client)] {
                let stream = try await sender.openStream(.unidirectional)
                try await sender.send(testBytes(5000), on: stream, finish: false)
                try await receiver.until("5000 bytes") { $0.count(stream) == 5000 }
                try await receiver.perform { end in
                    try expectError(.misuse, "a write against the direction") {
                        try end.connection.write(testBytes(1), to: stream, finish: false)
                    }
                }
                try await sender.send(ByteBuffer(), on: stream)
                let received = try await receiver.whole(stream)
                try require(received == testBytes(5000), "the bytes differ")
                for end in [sender, receiver] {
                    try await end.until("\(stream) close") { $0.closed.contains(stream) }
                }
            }
        }
    }

    private static func largeTransfer(_ harness: any ConformanceHarness) async throws {
        var limits = ConnectionLimits()
        limits.streamWindow = 256 << 10
        limits.connectionWindow = 384 << 10
        try await harness.withEnds(client: limits, server: limits) { client, server in
            let size = 6 << 20
            let up = try await client.openStream(.unidirectional)
            let down = try await server.openStream(.unidirectional)
            async let isSentUp: Void = client.send(testBytes(size, seed: 17), on: up)
            async let isSentDown: Void = server.send(testBytes(size, seed: 29), on: down)
            _ = try await (isSentUp, isSentDown)
            let (received, returned) = try await (server.whole(up), client.whole(down))
            try require(received == testBytes(size, seed: 17), "the bytes to the server differ")
            try require(returned == testBytes(size, seed: 29), "the bytes to the client differ")
        }
    }

    private static func manyStreams(_ harness: any ConformanceHarness) async throws {
        var limits = ConnectionLimits()
        limits.bidirectionalStreams = 16
        try await harness.withEnds(server: limits) { client, server in
            try await server.echo()
            for round in 0..<300 {
                let stream = try await client.openStreamWhenAllowed()
                try await client.send(testBytes(round, seed: round), on: stream)
            }
            try await client.until("300 closed streams") { $0.closed.count == 300 }
            let record = try await client.perform { $0.record }
            for round in 0..<300 {
                let stream = StreamID(index: UInt64(round), initiator: .client, direction: .bidirectional)
                try require(record.bytes[stream] ?? ByteBuffer() == testBytes(round, seed: round), "\(stream) differs")
            }
        }
    }

    private static func priorities(_ harness: any ConformanceHarness) async throws {
        var limits = ConnectionLimits()
        limits.connectionWindow = 64 << 10
        limits.streamWindow = 1 << 20
        try await harness.withEnds(server: limits) { client, server in
            let size = 512 << 10
            // Written in one turn, the background stream first.
            let (background, urgent) = try await client.perform { end -> (StreamID?, StreamID?) in
                let background = try end.connection.openStream(.unidirectional)
                let urgent = try end.connection.openStream(.unidirectional)
                for (stream, priority) in [(background, StreamPriority.background), (urgent, .highest)] {
                    guard let stream else { continue }
                    end.connection.setPriority(priority, of: stream)
                    _ = try end.connection.write(testBytes(size), to: stream, finish: true)
                }
                return (background, urgent)
            }
            guard let background, let urgent else { throw ConformanceFailure("no streams") }
            let total = try await server.until("the urgent stream") { $0.totalAtEnd[urgent] }
            let early = total - size
            try require(early <= 64 << 10, "\(early) bytes of the background stream came before the urgent ones")
            _ = try await server.whole(background)
        }
    }

    private static func laterPriority(_ harness: any ConformanceHarness) async throws {
        var limits = ConnectionLimits()
        limits.connectionWindow = 64 << 10
        limits.streamWindow = 1 << 20
        try await harness.withEnds(server: limits) { client, server in
            // Nothing is consumed: the window fills with the first stream, and the rest of all three waits.
            try await server.perform { $0.consumesAtOnce = false }
            let size = 256 << 10
            var streams: [StreamID] = []
            for _ in 0..<3 { streams.append(try await client.openStream(.unidirectional)) }
            let all = streams
            try await client.perform { end in
                for stream in all { _ = try end.connection.write(testBytes(size), to: stream, finish: true) }
            }
            try await server.until("a full window") { $0.total == 64 << 10 }
            try await client.perform { end in
                end.connection.setPriority(.background, of: all[0])
                end.connection.setPriority(.highest, of: all[2])
            }
            try await server.perform { end in
                end.consumesAtOnce = true
                for (stream, bytes) in end.record.bytes { end.connection.consumed(bytes.readableBytes, of: stream) }
            }
            for stream in all { _ = try await server.whole(stream) }
            let order = try await server.perform { end in
                all.sorted { end.record.totalAtEnd[$0, default: 0] < end.record.totalAtEnd[$1, default: 0] }
            }
            try require(order == [all[2], all[1], all[0]], "the streams ended in the order \(order)")
        }
    }
}

extension ConformanceEnd {
    /// Waits for ``LoopConnectionHandler/streamsAvailable(_:)`` while the limit is reached.
    func openStreamWhenAllowed(_ direction: StreamDirection = .bidirectional) async throws -> StreamID {
        while true {
            let (stream, calls) = try await self.perform { end in
                let calls = end.record.available[direction, default: 0]
                return (try end.connection.openStream(direction), calls)
            }
            if let stream { return stream }
            try await self.until("streams become available") { $0.available[direction, default: 0] > calls }
        }
    }
}
