// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CarrierSupport
import NIOCore
import TernTransport
import Testing

@testable import TernQUIC

extension SocketTests {
    @Suite(.serialized) struct Flow {
        private static let size = 50_000_000

        @Test func fiftyMegabytesEachWay() async throws {
            let atServer = NIOLockedBox<PatternSink?>(nil)
            try await withListener(onConnection: { connection in
                let handler = TestHandler(connection)
                var sink = PatternSink()
                var source: PatternSource?
                handler.onStreamOpened = { stream in
                    source = PatternSource(connection, stream: stream, count: Self.size)
                    source?.resume()
                }
                handler.onWritable = { _ in source?.resume() }
                handler.onReceived = { stream, bytes, finished in
                    sink.take(bytes)
                    connection.consumed(bytes.readableBytes, of: stream)
                    if finished { atServer.value = sink }
                }
                connection.start(handler: handler)
            }) { listener in
                let atClient = try await withConnection(to: listener.localAddress) { handler, answer in
                    let connection = handler.connection
                    let stream = try #require(try connection.openStream(.bidirectional))
                    let source = PatternSource(connection, stream: stream, count: Self.size)
                    var sink = PatternSink()
                    var isClosed = false
                    var isComplete = false
                    handler.onWritable = { _ in source.resume() }
                    handler.onReceived = { _, bytes, finished in
                        sink.take(bytes)
                        connection.consumed(bytes.readableBytes, of: stream)
                        isComplete = isComplete || finished
                        if isComplete, isClosed { answer.succeed(sink) }
                    }
                    // Over QUIC a stream is closed when the peer has acknowledged it: the server has everything.
                    handler.onStreamClosed = { _ in
                        isClosed = true
                        if isComplete { answer.succeed(sink) }
                    }
                    source.resume()
                }
                #expect(atClient.received == Self.size)
                #expect(atClient.isIntact)
            }
            #expect(atServer.value?.received == Self.size)
            #expect(atServer.value?.isIntact == true)
        }

        @Test func aReaderThatDoesNotConsumeStopsTheWriter() async throws {
            var limits = ConnectionLimits()
            limits.streamWindow = 100_000
            limits.connectionWindow = 200_000
            limits.writeHighWatermark = 64 << 10
            limits.writeLowWatermark = 32 << 10
            let window = limits.streamWindow
            let total = 2_000_000
            let reader = NIOLockedBox<TestHandler?>(nil)
            let unread = NIOLockedBox(0)
            try await withListener(
                limits: limits,
                onConnection: { connection in
                    let handler = TestHandler(connection)
                    handler.onReceived = { _, bytes, _ in unread.update { $0 += bytes.readableBytes } }
                    connection.start(handler: handler)
                    reader.value = handler
                }
            ) { listener in
                let connection = try await connect(to: listener.localAddress, limits: limits).established.get()
                let source = try await connection.eventLoop.submit {
                    let handler = TestHandler(connection)
                    connection.start(handler: handler)
                    let stream = try #require(try connection.openStream(.bidirectional))
                    let source = PatternSource(connection, stream: stream, count: total)
                    handler.onWritable = { _ in source.resume() }
                    source.resume()
                    return NIOLoopBound(source, eventLoop: connection.eventLoop)
                }.get()
                let isFull = try await eventually { unread.value >= window }
                #expect(isFull)
                // Nothing more may come: the window is the reader's, and the writer keeps a watermark and one chunk.
                let written = try await connection.eventLoop.submit { source.value.written }.get()
                #expect(unread.value <= window)
                #expect(written <= window + limits.writeHighWatermark + (64 << 10))
                let pauses = try await connection.eventLoop.submit { source.value.pauses }.get()
                #expect(pauses > 0)

                // Now the reader reads, and everything comes.
                let handler = try #require(reader.value)
                handler.connection.eventLoop.execute {
                    let stream = StreamID(rawValue: 0)
                    handler.onReceived = { stream, bytes, _ in
                        unread.update { $0 += bytes.readableBytes }
                        handler.connection.consumed(bytes.readableBytes, of: stream)
                    }
                    handler.connection.consumed(unread.value, of: stream)
                }
                let isComplete = try await eventually { unread.value == total }
                #expect(isComplete)
                connection.eventLoop.execute { connection.close(code: 0, reason: "") }
            }
        }

        @Test func aConnectionThatNobodyStartsHoldsABoundedAmount() async throws {
            var limits = ConnectionLimits()
            limits.streamWindow = 64 << 10
            limits.connectionWindow = 128 << 10
            limits.bufferedDatagrams = 10
            let accepted = NIOLockedBox<(any LoopConnection)?>(nil)
            try await withListener(limits: limits, onConnection: { accepted.value = $0 }) { listener in
                let client = try await connect(to: listener.localAddress).established.get()
                try await client.eventLoop.submit {
                    let handler = TestHandler(client)
                    client.start(handler: handler)
                    let stream = try #require(try client.openStream(.unidirectional))
                    _ = try client.write(Pattern.bytes(at: 0, count: 1 << 20), to: stream, finish: true)
                    for number in 0..<50 { _ = try client.sendDatagram(ByteBuffer(integer: number)) }
                }.get()
                let isIn = try await eventually {
                    guard let server = accepted.value else { return false }
                    return try await server.eventLoop.submit { server.statistics().bytesReceived >= 64 << 10 }.get()
                }
                #expect(isIn)
                let server = try #require(accepted.value)
                let seen = NIOLockedBox((bytes: 0, datagrams: 0, done: false))
                try await server.eventLoop.submit {
                    let handler = TestHandler(server)
                    handler.onReceived = { stream, bytes, finished in
                        let isFirst = seen.value.bytes == 0
                        if isFirst { #expect(bytes.readableBytes <= 64 << 10) }
                        seen.update {
                            $0.bytes += bytes.readableBytes
                            $0.done = finished
                        }
                        server.consumed(bytes.readableBytes, of: stream)
                    }
                    handler.onDatagram = { _ in seen.update { $0.datagrams += 1 } }
                    server.start(handler: handler)
                }.get()
                let isDone = try await eventually { seen.value.done }
                #expect(isDone)
                #expect(seen.value.bytes == 1 << 20)
                #expect(seen.value.datagrams <= 10)
                client.eventLoop.execute { client.close(code: 0, reason: "") }
            }
        }

        @Test func resetsAndStopsCarryTheirCodes() async throws {
            let codes = NIOLockedBox<[String: UInt64]>([:])
            try await withListener(onConnection: { connection in
                let handler = TestHandler(connection)
                handler.onReceived = { stream, bytes, _ in
                    connection.consumed(bytes.readableBytes, of: stream)
                    // The first stream is stopped and reset by the server; the second by the client, when it got an
                    // answer.
                    guard stream.index == 0 else {
                        _ = try? connection.write(bytes, to: stream, finish: false)
                        return
                    }
                    connection.stopSending(stream, code: 71)
                    connection.reset(stream, code: 72)
                }
                handler.onReset = { _, code in codes.update { $0["reset at server"] = code } }
                handler.onStopped = { _, code in codes.update { $0["stopped at server"] = code } }
                connection.start(handler: handler)
            }) { listener in
                let connection = try await connect(to: listener.localAddress).established.get()
                try await connection.eventLoop.submit {
                    let handler = TestHandler(connection)
                    handler.onReceived = { stream, bytes, _ in
                        connection.consumed(bytes.readableBytes, of: stream)
                        connection.stopSending(stream, code: 81)
                        connection.reset(stream, code: 82)
                    }
                    handler.onReset = { stream, code in codes.update { $0["reset at client \(stream.index)"] = code } }
                    handler.onStopped = { stream, code in
                        codes.update { $0["stopped at client \(stream.index)"] = code }
                        #expect(throws: TransportError.self) {
                            try connection.write(ByteBuffer(string: "late"), to: stream, finish: false)
                        }
                    }
                    connection.start(handler: handler)
                    for _ in 0..<2 {
                        let stream = try #require(try connection.openStream(.bidirectional))
                        _ = try connection.write(ByteBuffer(string: "hello"), to: stream, finish: false)
                    }
                }.get()
                let all = try await eventually { codes.value.count == 4 }
                #expect(all, "\(codes.value)")
                #expect(codes.value["stopped at client 0"] == 71)
                #expect(codes.value["reset at client 0"] == 72)
                #expect(codes.value["stopped at server"] == 81)
                #expect(codes.value["reset at server"] == 82)
                connection.eventLoop.execute { connection.close(code: 0, reason: "") }
            }
        }
    }
}
