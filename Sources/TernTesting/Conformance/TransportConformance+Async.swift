// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTransport

/// The async surface over the carrier.
extension TransportConformance {
    static let asyncBehaviours: [ConformanceBehaviour] = [
        ConformanceBehaviour("async: streams are echoed", Self.asyncEcho),
        ConformanceBehaviour("async: short streams do not use up the stream limit", Self.shortStreams),
        ConformanceBehaviour("async: megabytes arrive through small windows", Self.asyncTransfer),
        ConformanceBehaviour("async: codes of reset and stop reach the other task", Self.asyncAbandonment),
        ConformanceBehaviour("async: a cancelled write leaves the connection usable", Self.cancelledWrite),
        ConformanceBehaviour("async: a cancelled read leaves the stream usable", Self.cancelledRead),
        ConformanceBehaviour("async: a cancelled openStream takes no stream away", Self.cancelledOpen),
        ConformanceBehaviour("async: datagrams go round", Self.asyncDatagrams),
        ConformanceBehaviour("async: a close ends what waits", Self.asyncClose),
        ConformanceBehaviour("async: a dropped connection closes cleanly", Self.droppedConnection),
        ConformanceBehaviour("async: streams that came with the connection are answered", Self.asyncReplayable),
        ConformanceBehaviour("async: a datagram tells its fate", Self.asyncFates),
        ConformanceBehaviour("async: the handshake is awaited, and its secret is shared", Self.asyncHandshake),
        ConformanceBehaviour("async: the last statistics outlive the connection", Self.asyncStatistics),
    ]

    static func withConnections(
        _ harness: any ConformanceHarness, limits: ConnectionLimits = ConnectionLimits(),
        replayable: [ReplayableStream] = [],
        _ body: @escaping @Sendable (Connection, Connection) async throws -> Void
    ) async throws {
        let pair = try await harness.connectWithoutTimers(client: limits, server: limits, replayable: replayable)
        let client = Connection(adopting: pair.client, replayable: replayable)
        let server = Connection(adopting: pair.server)
        do {
            try await withPatience { try await body(client, server) }
        } catch {
            await client.close()
            await server.close()
            await pair.release()
            throw error
        }
        await client.close()
        await server.close()
        await pair.release()
    }

    private static func asyncEcho(_ harness: any ConformanceHarness) async throws {
        try await self.withConnections(harness) { client, server in
            try await withEchoing(server) {
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for seed in 0..<20 {
                        group.addTask {
                            let answer = try await client.roundTrip(testBytes(10_000, seed: seed))
                            try require(answer == testBytes(10_000, seed: seed), "an echo differs")
                        }
                    }
                    try await group.waitForAll()
                }
            }
        }
    }

    private static func shortStreams(_ harness: any ConformanceHarness) async throws {
        var limits = ConnectionLimits()
        limits.bidirectionalStreams = 4
        try await self.withConnections(harness, limits: limits) { client, server in
            try await withEchoing(server) {
                for seed in 0..<100 {
                    let answer = try await client.roundTrip(testBytes(20, seed: seed))
                    try require(answer == testBytes(20, seed: seed), "echo \(seed) differs")
                }
            }
        }
    }

    private static func asyncTransfer(_ harness: any ConformanceHarness) async throws {
        var limits = ConnectionLimits()
        limits.streamWindow = 64 << 10
        limits.connectionWindow = 100 << 10
        limits.writeHighWatermark = 32 << 10
        limits.writeLowWatermark = 16 << 10
        try await self.withConnections(harness, limits: limits) { client, server in
            try await withEchoing(server) {
                let bytes = testBytes(2 << 20)
                let answer = try await client.roundTrip(bytes)
                try require(answer == bytes, "the echo differs")
            }
        }
    }

    private static func asyncAbandonment(_ harness: any ConformanceHarness) async throws {
        try await self.withConnections(harness) { client, server in
            let stream = try await client.openStream()
            try await stream.write(testBytes(10))
            let peer = try await server.nextStream()
            _ = try await peer.read()
            stream.reset(code: 5)
            try await expectAsyncError(.streamReset, wireCode: 5) { while try await peer.read() != nil {} }
            stream.stopSending(code: 6)
            try await expectAsyncError(.streamStopped, wireCode: 6) {
                while true { try await peer.write(testBytes(10_000)) }
            }
        }
    }

    private static func cancelledWrite(_ harness: any ConformanceHarness) async throws {
        var limits = ConnectionLimits()
        limits.streamWindow = 16 << 10
        limits.writeHighWatermark = 16 << 10
        limits.writeLowWatermark = 0
        try await self.withConnections(harness, limits: limits) { client, server in
            let stream = try await client.openStream()
            let writer = Task { try await stream.write(testBytes(200_000)) }
            let peer = try await server.nextStream()
            guard let first = try await peer.read() else { throw ConformanceFailure("an empty stream") }
            writer.cancel()
            do {
                try await writer.value
                throw ConformanceFailure("a write above the watermark returned")
            } catch is CancellationError {}
            // The bytes are queued all the same.
            try await stream.finish()
            var received = first
            while let bytes = try await peer.read() { received.writeImmutableBuffer(bytes) }
            try require(received == testBytes(200_000), "the bytes differ")
        }
    }

    private static func cancelledRead(_ harness: any ConformanceHarness) async throws {
        try await self.withConnections(harness) { client, server in
            let stream = try await client.openStream()
            try await stream.write(testBytes(1))
            let peer = try await server.nextStream()
            let reader = Task {
                var count = 0
                while let bytes = try await peer.read() { count += bytes.readableBytes }
                return count
            }
            reader.cancel()
            do {
                _ = try await reader.value
                throw ConformanceFailure("a cancelled read returned")
            } catch is CancellationError {}
            try await stream.finish(testBytes(100))
            var count = 0
            while let bytes = try await peer.read() { count += bytes.readableBytes }
            try require(count >= 100, "only \(count) bytes came after the cancelled read")
        }
    }

    private static func cancelledOpen(_ harness: any ConformanceHarness) async throws {
        var limits = ConnectionLimits()
        limits.bidirectionalStreams = 1
        try await self.withConnections(harness, limits: limits) { client, server in
            try await withEchoing(server) {
                let first = try await client.openStream()
                let cancelled = Task { try await client.openStream() }
                let patient = Task { try await client.roundTrip(testBytes(10)) }
                cancelled.cancel()
                do {
                    _ = try await cancelled.value
                    throw ConformanceFailure("a stream beyond the limit was opened")
                } catch is CancellationError {}
                try await first.finish(testBytes(10))
                while try await first.read() != nil {}
                let answer = try await patient.value
                try require(answer == testBytes(10), "the echo differs")
            }
        }
    }

    private static func asyncDatagrams(_ harness: any ConformanceHarness) async throws {
        try await self.withConnections(harness) { client, server in
            let size = await client.maximumDatagramSize()
            let outcome = try await client.sendDatagram(testBytes(size))
            try require(outcome == .accepted, "the datagram was dropped")
            let received = try await server.inboundDatagrams.first { _ in true }
            try require(received == testBytes(size), "the datagram differs")
            // More than the path can ever carry; the limit follows it over QUIC.
            try await expectAsyncError(.limitExceeded) { try await client.sendDatagram(testBytes(70_000)) }
        }
    }

    private static func asyncClose(_ harness: any ConformanceHarness) async throws {
        var limits = ConnectionLimits()
        limits.bidirectionalStreams = 1
        try await self.withConnections(harness, limits: limits) { client, server in
            let stream = try await client.openStream()
            try await stream.write(testBytes(10))
            let peer = try await server.nextStream()
            _ = try await peer.read()
            let opener = Task { try await client.openStream() }
            let reader = Task { try await stream.read() }
            let acceptor = Task { try await client.nextStream() }
            await server.close(code: 9, reason: "enough")
            try await expectAsyncError(.application, wireCode: 9) { try await opener.value }
            try await expectAsyncError(.application, wireCode: 9) { try await reader.value }
            try await expectAsyncError(.application, wireCode: 9) { try await acceptor.value }
            try await expectAsyncError(.application, wireCode: 9) { try await peer.write(testBytes(1)) }
            let reason = await client.closed()
            try require(reason.initiator == .peer && reason.message == "enough", "\(reason)")
        }
    }

    private static func droppedConnection(_ harness: any ConformanceHarness) async throws {
        let pair = try await harness.connectWithoutTimers(client: ConnectionLimits(), server: ConnectionLimits())
        let server = Connection(adopting: pair.server)
        let outcome = await Result.catching {
            try await withPatience {
                try await self.useAndDrop(pair.client, server)
                let reason = await server.closed()
                let expected = TransportError(.application, message: "", wireCode: 0, initiator: .peer)
                try require(reason == expected, "\(reason)")
            }
        }
        await server.close()
        await pair.release()
        try outcome.get()
    }

    private static func useAndDrop(_ loopConnection: any LoopConnection, _ server: Connection) async throws {
        let client = Connection(adopting: loopConnection)
        let stream = try await client.openStream(.unidirectional)
        try await stream.write(testBytes(10))
        _ = try await server.nextStream().read()
    }

    private static func asyncReplayable(_ harness: any ConformanceHarness) async throws {
        let requests = (0..<3).map { ReplayableStream(testBytes(1000, seed: $0)) }
        try await self.withConnections(harness, replayable: requests) { client, server in
            try await withEchoing(server) {
                let streams = try await client.replayableStreams()
                try require(streams.count == 3, "\(streams.count) streams came with the connection")
                for (stream, request) in zip(streams, requests) {
                    let answer = try await stream.collect()
                    try require(answer == request.bytes, "the answer on \(stream.id) differs")
                }
                let another = try await client.roundTrip(testBytes(10))
                try require(another == testBytes(10), "the next stream's answer differs")
            }
        }
    }

    private static func asyncFates(_ harness: any ConformanceHarness) async throws {
        try await self.withConnections(harness) { client, server in
            let expected: DatagramFate = client.capabilities.reportsDatagramDelivery ? .acknowledged : .written
            for sender in [client, server] {
                let delivery = try await sender.sendTrackedDatagram(testBytes(100))
                let fate = await delivery.fate()
                try require(fate == expected, "the datagram's fate is \(fate.map { "\($0)" } ?? "unknown")")
            }
            try await expectAsyncError(.limitExceeded) { try await client.sendTrackedDatagram(testBytes(70_000)) }
        }
    }

    private static func asyncHandshake(_ harness: any ConformanceHarness) async throws {
        try await self.withConnections(harness) { client, server in
            for end in [client, server] {
                try await end.handshakeCompleted()
                let isComplete = await end.isHandshakeComplete()
                try require(isComplete, "the \(end.role)'s handshake was awaited and is not complete")
                let outcome = await end.earlyData()
                try require(outcome == .notOffered, "0-RTT without a ticket is \(outcome)")
            }
            let secrets: [[UInt8]]
            do {
                secrets = [
                    try await client.exportKeyingMaterial(label: "EXPORTER-tern"),
                    try await server.exportKeyingMaterial(label: "EXPORTER-tern"),
                ]
            } catch let error as TransportError where error.code == .misuse {
                return try await expectAsyncError(.misuse) {
                    try await server.exportKeyingMaterial(label: "EXPORTER-tern")
                }
            }
            try require(secrets[0] == secrets[1] && secrets[0].count == 32, "the secrets differ")
        }
    }

    private static func asyncStatistics(_ harness: any ConformanceHarness) async throws {
        try await self.withConnections(harness) { client, server in
            try await withEchoing(server) {
                _ = try await client.roundTrip(testBytes(50_000))
            }
            await client.close()
            for end in [client, server] {
                await end.closed()
                let statistics = await end.statistics()
                try require(
                    statistics.bytesSent >= 50_000 && statistics.bytesReceived >= 50_000,
                    "the \(end.role) ended with \(statistics)")
            }
        }
    }
}
