// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTransport

/// Windows and limits.
extension TransportConformance {
    static let flowBehaviours: [ConformanceBehaviour] = [
        ConformanceBehaviour("an unread stream stops its writer, and reading lets it go on", Self.streamBackpressure),
        ConformanceBehaviour("the connection's window bounds all streams together", Self.connectionBackpressure),
        ConformanceBehaviour("a blocked stream does not block another", Self.independence),
        ConformanceBehaviour("the stream limit holds back, and says when to go on", Self.streamLimit),
        ConformanceBehaviour("a stream counts until its bytes are consumed", Self.unreadStreamsCount),
        ConformanceBehaviour("the ends have different limits", Self.asymmetricLimits),
    ]

    private static func streamBackpressure(_ harness: any ConformanceHarness) async throws {
        var limits = ConnectionLimits()
        limits.streamWindow = 64 << 10
        limits.writeHighWatermark = 32 << 10
        limits.writeLowWatermark = 8 << 10
        try await harness.withEnds(client: limits, server: limits) { client, server in
            try await server.perform { $0.consumesAtOnce = false }
            let stream = try await client.openStream()
            let size = 256 << 10
            let writer = Task { try await client.send(testBytes(size), on: stream) }
            defer { writer.cancel() }
            try await server.until("a full window") { $0.count(stream) == 64 << 10 }
            try await server.perform { end in
                try require(end.record.count(stream) == 64 << 10, "more than the window came")
                end.consumesAtOnce = true
                end.connection.consumed(64 << 10, of: stream)
            }
            try await writer.value
            let received = try await server.whole(stream)
            try require(received == testBytes(size), "the bytes differ")
            let calls = try await client.perform { $0.record.writable[stream, default: 0] }
            try require(calls > 0, "nobody was told to go on")
        }
    }

    private static func connectionBackpressure(_ harness: any ConformanceHarness) async throws {
        var limits = ConnectionLimits()
        limits.streamWindow = 64 << 10
        limits.connectionWindow = 96 << 10
        try await harness.withEnds(server: limits) { client, server in
            try await server.perform { $0.consumesAtOnce = false }
            var streams: [StreamID] = []
            for _ in 0..<4 { streams.append(try await client.openStream(.unidirectional)) }
            for stream in streams {
                _ = try await client.perform { try $0.connection.write(testBytes(50_000), to: stream, finish: true) }
            }
            try await server.until("a full window") { $0.total >= 96 << 10 }
            try await server.perform { end in
                try require(end.record.total == 96 << 10, "\(end.record.total) bytes came through a window of 98304")
                end.consumesAtOnce = true
                for (stream, bytes) in end.record.bytes { end.connection.consumed(bytes.readableBytes, of: stream) }
            }
            for stream in streams {
                let received = try await server.whole(stream)
                try require(received == testBytes(50_000), "\(stream) differs")
            }
        }
    }

    private static func independence(_ harness: any ConformanceHarness) async throws {
        var limits = ConnectionLimits()
        limits.streamWindow = 32 << 10
        try await harness.withEnds(server: limits) { client, server in
            try await server.perform { $0.consumesAtOnce = false }
            let blocked = try await client.openStream(.unidirectional)
            _ = try await client.perform { try $0.connection.write(testBytes(100 << 10), to: blocked, finish: true) }
            try await server.until("a full window") { $0.count(blocked) == 32 << 10 }
            let free = try await client.openStream(.unidirectional)
            try await client.send(testBytes(20 << 10), on: free)
            let received = try await server.whole(free)
            try require(received == testBytes(20 << 10), "the free stream differs")
        }
    }

    private static func streamLimit(_ harness: any ConformanceHarness) async throws {
        var limits = ConnectionLimits()
        limits.bidirectionalStreams = 2
        limits.unidirectionalStreams = 1
        try await harness.withEnds(server: limits) { client, server in
            for (direction, limit) in [(StreamDirection.bidirectional, 2), (.unidirectional, 1)] {
                var streams: [StreamID] = []
                for _ in 0..<limit { streams.append(try await client.openStream(direction)) }
                let beyond = try await client.perform { try $0.connection.openStream(direction) }
                try require(beyond == nil, "a \(direction) stream beyond the limit was opened")
                try await client.send(testBytes(10), on: streams[0])
                _ = try await server.whole(streams[0])
                if direction == .bidirectional { try await server.send(ByteBuffer(), on: streams[0]) }
                try await client.until("streams become available") { $0.available[direction, default: 0] == 1 }
                let next = try await client.openStream(direction)
                try require(next.index == UInt64(limit), "\(next) is not the next one")
                let again = try await client.perform { try $0.connection.openStream(direction) }
                try require(again == nil, "one ended stream made room for two")
            }
        }
    }

    private static func unreadStreamsCount(_ harness: any ConformanceHarness) async throws {
        var limits = ConnectionLimits()
        limits.unidirectionalStreams = 1
        try await harness.withEnds(server: limits) { client, server in
            try await server.perform { $0.consumesAtOnce = false }
            let first = try await client.openStream(.unidirectional)
            try await client.send(testBytes(100), on: first)
            _ = try await server.whole(first)
            try await client.until("\(first) close") { $0.closed.contains(first) }
            let beyond = try await client.perform { try $0.connection.openStream(.unidirectional) }
            try require(beyond == nil, "an unread stream did not count")
            try await server.perform { $0.connection.consumed(100, of: first) }
            try await client.until("streams become available") { $0.available[.unidirectional, default: 0] == 1 }
            _ = try await client.openStream(.unidirectional)
        }
    }

    private static func asymmetricLimits(_ harness: any ConformanceHarness) async throws {
        var clientLimits = ConnectionLimits()
        clientLimits.bidirectionalStreams = 0
        clientLimits.unidirectionalStreams = 3
        clientLimits.streamWindow = 16 << 10
        var serverLimits = ConnectionLimits()
        serverLimits.unidirectionalStreams = 0
        try await harness.withEnds(client: clientLimits, server: serverLimits) {
            [clientLimits, serverLimits] client, server in
            try require(client.connection.limits == clientLimits.withoutTimers, "the client's limits are not its own")
            try require(server.connection.limits == serverLimits.withoutTimers, "the server's limits are not its own")
            let refused = try await (
                client.perform { try $0.connection.openStream(.unidirectional) },
                server.perform { try $0.connection.openStream(.bidirectional) }
            )
            try require(refused.0 == nil && refused.1 == nil, "a forbidden stream was opened")
            try await client.perform { $0.consumesAtOnce = false }
            let down = try await server.openStream(.unidirectional)
            _ = try await server.perform { try $0.connection.write(testBytes(50 << 10), to: down, finish: true) }
            try await client.until("a full window") { $0.count(down) == 16 << 10 }
            let up = try await client.openStream()
            try await client.send(testBytes(50 << 10), on: up)
            _ = try await server.whole(up)
        }
    }
}
