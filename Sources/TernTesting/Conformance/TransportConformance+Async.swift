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
    ]

    private static func withConnections(
        _ harness: any ConformanceHarness, limits: ConnectionLimits = ConnectionLimits(),
        _ body: @escaping @Sendable (Connection, Connection) async throws -> Void
    ) async throws {
        let pair = try await harness.connectWithoutTimers(client: limits, server: limits)
        let (client, server) = (Connection(adopting: pair.client), Connection(adopting: pair.server))
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
}

extension Result where Failure == any Error {
    fileprivate static func catching(_ body: () async throws -> Success) async -> Result {
        do { return .success(try await body()) } catch { return .failure(error) }
    }
}

/// Fails when `body` takes longer than ``TransportConformance/patience``; `body` is cancelled then.
private func withPatience(_ body: @escaping @Sendable () async throws -> Void) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await body() }
        group.addTask {
            try await Task.sleep(for: .nanoseconds(TransportConformance.patience.nanoseconds))
            throw ConformanceFailure("it hangs")
        }
        defer { group.cancelAll() }
        try await group.next()
    }
}

/// Echoes the peer's streams on `server` while `body` runs.
private func withEchoing(_ server: Connection, _ body: () async throws -> Void) async throws {
    let echoing = Task {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for try await stream in server.inboundStreams {
                group.addTask {
                    while let bytes = try await stream.read() { try await stream.write(bytes) }
                    try await stream.finish()
                }
            }
            try await group.waitForAll()
        }
    }
    defer { echoing.cancel() }
    try await body()
}

private func expectAsyncError<Value>(
    _ code: TransportError.Code, wireCode: UInt64? = nil, _ body: () async throws -> Value
) async throws {
    do {
        _ = try await body()
    } catch let error as TransportError {
        try require(
            error.code == code && (wireCode == nil || error.wireCode == wireCode), "\(error) instead of \(code)")
        return
    }
    throw ConformanceFailure("\(code) did not come")
}

extension Connection {
    fileprivate func nextStream() async throws -> TernTransport.Stream {
        guard let stream = try await self.inboundStreams.first(where: { _ in true }) else {
            throw ConformanceFailure("no stream came")
        }
        return stream
    }

    /// Sends `bytes` on a stream of their own and collects the answer meanwhile.
    fileprivate func roundTrip(_ bytes: ByteBuffer) async throws -> ByteBuffer {
        let stream = try await self.openStream()
        async let isSent: Void = stream.sendAll(bytes)
        var answer = ByteBuffer()
        while let piece = try await stream.read() { answer.writeImmutableBuffer(piece) }
        try await isSent
        return answer
    }
}

extension TernTransport.Stream {
    fileprivate func sendAll(_ bytes: ByteBuffer) async throws {
        var rest = bytes
        while rest.readableBytes > 10_000, let piece = rest.readSlice(length: 10_000) { try await self.write(piece) }
        try await self.finish(rest)
    }
}
