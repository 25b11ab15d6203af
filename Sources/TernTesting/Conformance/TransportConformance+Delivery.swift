// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTransport

/// What arrives before the end, and how one hears of it.
extension TransportConformance {
    static let deliveryBehaviours: [ConformanceBehaviour] = [
        ConformanceBehaviour("what was delivered outlives the close that follows", Self.deliveredOutlivesClose),
        ConformanceBehaviour("delivery waits for a peer that does not read", Self.deliveryWaits),
        ConformanceBehaviour("an end without bytes is delivered, too", Self.emptyDelivery),
        ConformanceBehaviour("who hears of a delivery may ask for the next one at once", Self.consecutiveDeliveries),
        ConformanceBehaviour("what was reset or stopped is not delivered", Self.abandonedDelivery),
        ConformanceBehaviour("a connection that ends first says that nothing is known", Self.deliveryAfterTheEnd),
        ConformanceBehaviour("async: a graceful close brings the tail of a one-way stream", Self.gracefulClose),
        ConformanceBehaviour("async: both ends may close gracefully at once", Self.gracefulCloseOfBoth),
        ConformanceBehaviour("async: a graceful close says what did not arrive in time", Self.impatientClose),
        ConformanceBehaviour("async: a peer that closes cleanly misses no end, only bytes", Self.lateEnd),
        ConformanceBehaviour("async: a stream tells that it was delivered, and that it was not", Self.asyncDelivered),
    ]

    private static var smallWindows: ConnectionLimits {
        var limits = ConnectionLimits()
        limits.streamWindow = 64 << 10
        limits.connectionWindow = 100 << 10
        return limits
    }

    private static func deliveredOutlivesClose(_ harness: any ConformanceHarness) async throws {
        for direction in StreamDirection.allCases {
            try await harness.withEnds(server: self.smallWindows) { client, server in
                let stream = try await client.openStream(direction)
                try await client.perform { end in
                    _ = try end.connection.write(testBytes(500_000), to: stream, finish: true)
                }
                try await client.delivery(of: stream)
                try await client.perform { $0.connection.close(code: 0, reason: "") }
                let received = try await server.whole(stream)
                try require(received == testBytes(500_000), "the bytes differ")
            }
        }
    }

    private static func deliveryWaits(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds(server: self.smallWindows) { client, server in
            try await server.perform { $0.consumesAtOnce = false }
            let blocked = try await client.openStream(.unidirectional)
            let all = try await client.perform { end -> EventLoopFuture<Void> in
                _ = try end.connection.write(testBytes(150_000), to: blocked, finish: false)
                return end.connection.delivery(of: nil)
            }
            // The stream's window is full; another stream is not held up by that.
            try await server.until("a full window") { $0.count(blocked) == 64 << 10 }
            let other = try await client.openStream(.bidirectional)
            try await client.send(testBytes(1000), on: other)
            try await client.delivery(of: other)
            let isKnown = try await client.perform { _ in all.isSettled }
            try require(!isKnown, "bytes that no window took were delivered")
            try await server.perform { end in
                end.consumesAtOnce = true
                end.connection.consumed(end.record.count(blocked), of: blocked)
                end.connection.consumed(end.record.count(other), of: other)
            }
            try await all.get()
            try await server.until("all bytes") { $0.count(blocked) == 150_000 }
        }
    }

    private static func emptyDelivery(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            let stream = try await client.openStream()
            try await client.send(testBytes(10), on: stream, finish: false)
            try await client.delivery(of: stream)
            try await client.send(ByteBuffer(), on: stream)
            try await client.delivery(of: stream)
            try await client.delivery(of: nil)
            let finished = try await server.whole(stream)
            try require(finished == testBytes(10), "the bytes differ")
            // Asking again, and of a stream that is closed, gets the same answer.
            try await server.send(ByteBuffer(), on: stream)
            try await client.until("\(stream) close") { $0.closed.contains(stream) }
            try await client.delivery(of: stream)
            let oneWay = try await server.openStream(.unidirectional)
            try await server.send(ByteBuffer(), on: oneWay)
            try await server.delivery(of: oneWay)
            try await client.expectUndelivered(oneWay, .misuse)
        }
    }

    private static func consecutiveDeliveries(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds(server: self.smallWindows) { client, server in
            let (first, second) = try await (client.openStream(.unidirectional), client.openStream(.unidirectional))
            let both = try await client.perform { end -> EventLoopFuture<Void> in
                let connection = end.connection
                for stream in [first, second] { _ = try connection.write(testBytes(10), to: stream, finish: true) }
                return connection.delivery(of: first).assumeIsolated().flatMap { connection.delivery(of: second) }
                    .nonisolated()
            }
            try await both.get()
            // The same where the end of the connection is the answer.
            try await server.perform { $0.consumesAtOnce = false }
            let blocked = try await client.openStream(.unidirectional)
            let none = try await client.perform { end -> EventLoopFuture<Void> in
                let connection = end.connection
                _ = try connection.write(testBytes(150_000), to: blocked, finish: true)
                return connection.delivery(of: blocked).assumeIsolated()
                    .flatMapError { _ in connection.delivery(of: blocked) }.nonisolated()
            }
            try await server.until("a full window") { $0.count(blocked) == 64 << 10 }
            try await client.perform { $0.connection.close(code: 0, reason: "") }
            let isDelivered: Void? = try? await none.get()
            try require(isDelivered == nil, "bytes that no window took were delivered")
        }
    }

    private static func abandonedDelivery(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds(server: self.smallWindows) { client, server in
            try await server.perform { $0.consumesAtOnce = false }
            let (reset, stopped) = try await (client.openStream(), client.openStream())
            for stream in [reset, stopped] {
                try await client.perform { end in
                    _ = try end.connection.write(testBytes(80_000), to: stream, finish: true)
                }
            }
            try await server.until("both streams") { $0.count(reset) > 0 && $0.count(stopped) > 0 }
            let answers = try await client.perform { end in
                let answers = [reset, stopped].map { end.connection.delivery(of: $0) }
                end.connection.reset(reset, code: 3)
                return answers
            }
            try await server.perform { $0.connection.stopSending(stopped, code: 4) }
            for (answer, code) in zip(answers, [TransportError.Code.streamFinished, .streamStopped]) {
                try await expectAsyncError(code) { try await answer.get() }
            }
            // They are no hindrance to all others.
            let good = try await client.openStream(.unidirectional)
            try await client.send(testBytes(10), on: good)
            try await client.delivery(of: nil)
        }
    }

    private static func deliveryAfterTheEnd(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds(server: self.smallWindows) { client, server in
            try await server.perform { $0.consumesAtOnce = false }
            let stream = try await client.openStream(.unidirectional)
            let answer = try await client.perform { end -> EventLoopFuture<Void> in
                _ = try end.connection.write(testBytes(150_000), to: stream, finish: true)
                return end.connection.delivery(of: stream)
            }
            try await server.until("bytes") { $0.count(stream) > 0 }
            try await server.perform { $0.connection.close(code: 5, reason: "") }
            try await expectAsyncError(.application, wireCode: 5) { try await answer.get() }
            try await client.until("the end") { $0.end != nil }
            try await client.expectUndelivered(stream, .application)
            try await client.expectUndelivered(nil, .application)
        }
    }

    // MARK: - The async surface

    private static func gracefulClose(_ harness: any ConformanceHarness) async throws {
        for _ in 0..<10 {
            try await self.withConnections(harness, limits: self.smallWindows) { client, server in
                let stream = try await client.openStream(.unidirectional)
                try await stream.finish(testBytes(120_000))
                async let isClosed: Void = client.closeGracefully(within: TransportConformance.patience)
                let received = try await server.nextStream().collect()
                try require(received == testBytes(120_000), "\(received.readableBytes) bytes came")
                try await isClosed
                let expected = TransportError(.application, message: "", wireCode: 0)
                let reason = await client.closed()
                try require(reason == expected, "\(reason)")
                // Closed is closed.
                try await client.closeGracefully()
            }
        }
    }

    private static func gracefulCloseOfBoth(_ harness: any ConformanceHarness) async throws {
        for _ in 0..<10 {
            try await self.withConnections(harness) { client, server in
                async let isServed: Void = {
                    let stream = try await server.nextStream()
                    try await stream.finish(try await stream.collect())
                    // Its client may be gone before it has acknowledged the answer: then nobody knows.
                    try? await server.closeGracefully(within: TransportConformance.patience)
                }()
                let answer = try await client.roundTrip(testBytes(5000))
                try require(answer == testBytes(5000), "the echo differs")
                try await client.closeGracefully(within: TransportConformance.patience)
                try await isServed
            }
        }
    }

    private static func impatientClose(_ harness: any ConformanceHarness) async throws {
        try await self.withConnections(harness, limits: self.smallWindows) { client, server in
            let stream = try await client.openStream(.unidirectional)
            async let isWritten: Void = stream.write(testBytes(300_000))
            // Nobody reads it.
            let peer = try await server.nextStream()
            try await expectAsyncError(.undelivered) { try await client.closeGracefully(within: .milliseconds(50)) }
            let reason = await client.closed()
            try require(reason.code == .application && reason.wireCode == 0, "\(reason)")
            _ = try? await isWritten
            peer.stopSending(code: 0)
        }
    }

    /// The server has all it wants when it has the request; the end of the client's stream comes when the server is about to close,
    /// or has closed.
    private static func lateEnd(_ harness: any ConformanceHarness) async throws {
        for isAfterTheClose in [false, true] {
            for _ in 0..<10 {
                try await self.withConnections(harness) { client, server in
                    let stream = try await client.openStream()
                    try await stream.write(testBytes(100))
                    try await stream.delivered()
                    let peer = try await server.nextStream()
                    let request = try await peer.read()
                    try require(request == testBytes(100), "the request differs")
                    try await peer.finish(testBytes(5000))
                    try await peer.delivered()
                    let answer = try await stream.collect()
                    try require(answer == testBytes(5000), "the answer differs")
                    async let isClosed: Void = server.close()
                    if isAfterTheClose { await client.closed() }
                    try await stream.finish()
                    try await client.closeGracefully(within: TransportConformance.patience)
                    await isClosed
                }
            }
        }
        try await self.withConnections(harness, limits: self.smallWindows) { client, server in
            let stream = try await client.openStream()
            let isWritten = Task { try await stream.finish(testBytes(300_000)) }
            let peer = try await server.nextStream()
            _ = try await peer.read()
            try await isWritten.value
            await server.close()
            try await expectAsyncError(.undelivered) {
                try await client.closeGracefully(within: TransportConformance.patience)
            }
        }
    }

    private static func asyncDelivered(_ harness: any ConformanceHarness) async throws {
        try await self.withConnections(harness) { client, server in
            let stream = try await client.openStream()
            try await stream.finish(testBytes(1000))
            try await stream.delivered()
            try await stream.delivered()
            let peer = try await server.nextStream()
            let received = try await peer.collect()
            try require(received == testBytes(1000), "the bytes differ")
            try await peer.finish()
            _ = try await stream.collect()
            try await stream.delivered()
            let reset = try await client.openStream(.unidirectional)
            try await reset.write(testBytes(10))
            reset.reset(code: 7)
            try await expectAsyncError(.streamFinished, wireCode: 7) { try await reset.delivered() }
        }
    }
}

extension EventLoopFuture {
    /// On its event loop: whether the answer is there.
    fileprivate var isSettled: Bool {
        var isSettled = false
        self.assumeIsolated().whenComplete { _ in isSettled = true }
        return isSettled
    }
}

extension ConformanceEnd {
    fileprivate func delivery(of stream: StreamID?) async throws {
        try await self.connection.eventLoop.flatSubmit { self.connection.delivery(of: stream) }.get()
    }

    fileprivate func expectUndelivered(_ stream: StreamID?, _ code: TransportError.Code) async throws {
        try await expectAsyncError(code) { try await self.delivery(of: stream) }
    }
}
