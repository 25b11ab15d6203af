// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore
package import TernTransport
internal import Testing

/// Starts the connection, runs `body` on its event loop, waits for what it promises, and closes.
package func use<Answer: Sendable>(
    _ connection: any LoopConnection,
    _ body: @escaping @Sendable (TestHandler, EventLoopPromise<Answer>) throws -> Void
) async throws -> Answer {
    let (answer, closed) = try await connection.eventLoop.submit {
        let handler = TestHandler(connection)
        let promise = connection.eventLoop.makePromise(of: Answer.self)
        handler.closed.whenSuccess { promise.fail($0) }
        connection.start(handler: handler)
        do { try body(handler, promise) } catch { promise.fail(error) }
        return (promise.futureResult, handler.closed)
    }.get()
    let result: Answer
    do { result = try await answer.get() } catch {
        connection.eventLoop.execute { connection.close(code: 0, reason: "") }
        throw error
    }
    connection.eventLoop.execute { connection.close(code: 0, reason: "") }
    let reason = try await closed.get()
    #expect(reason == TransportError(.application, message: "", wireCode: 0))
    return result
}

/// Sends `count` bytes on a new stream and waits for them to come back.
package func roundTrip(_ count: Int, over handler: TestHandler, answer: EventLoopPromise<ByteBuffer>) throws {
    let connection = handler.connection
    var received = ByteBuffer()
    let stream = try #require(try connection.openStream(.bidirectional))
    handler.onReceived = { id, bytes, finished in
        guard id == stream else { return }
        received.writeImmutableBuffer(bytes)
        connection.consumed(bytes.readableBytes, of: id)
        if finished { answer.succeed(received) }
    }
    _ = try connection.write(Pattern.bytes(at: 0, count: count), to: stream, finish: true)
}

/// Bytes that say where in a transfer they belong: a period that divides no buffer size.
package enum Pattern {
    private static let period = 65_521
    private static let cycle: ByteBuffer = {
        var state: UInt32 = 1
        var bytes = (0..<period).map { _ in
            state = state &* 1_664_525 &+ 1_013_904_223
            return UInt8(truncatingIfNeeded: state >> 24)
        }
        bytes += bytes
        return ByteBuffer(bytes: bytes + bytes)
    }()

    package static func bytes(at offset: Int, count: Int) -> ByteBuffer {
        var result = ByteBuffer()
        while result.readableBytes < count {
            let start = (offset + result.readableBytes) % self.period
            let length = min(count - result.readableBytes, self.period)
            result.writeImmutableBuffer(self.cycle.getSlice(at: start, length: length)!)
        }
        return result
    }
}

/// Writes a long pattern to a stream and heeds backpressure.
package final class PatternSource {
    private let connection: any LoopConnection
    private let stream: StreamID
    private let count: Int
    private var offset = 0
    package private(set) var pauses = 0
    package var written: Int { self.offset }

    package init(_ connection: any LoopConnection, stream: StreamID, count: Int) {
        self.connection = connection
        self.stream = stream
        self.count = count
    }

    package func resume() {
        while self.offset < self.count {
            let size = min(64 << 10, self.count - self.offset)
            let bytes = Pattern.bytes(at: self.offset, count: size)
            self.offset += size
            let finish = self.offset == self.count
            guard let goOn = try? self.connection.write(bytes, to: self.stream, finish: finish) else { return }
            if !goOn {
                self.pauses += 1
                return
            }
        }
    }
}

/// Compares what comes with the pattern.
package struct PatternSink {
    package private(set) var received = 0
    package private(set) var isIntact = true

    package init() {}

    package mutating func take(_ bytes: ByteBuffer) {
        if bytes != Pattern.bytes(at: self.received, count: bytes.readableBytes) { self.isIntact = false }
        self.received += bytes.readableBytes
    }
}
