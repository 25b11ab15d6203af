// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CarrierSupport
import NIOCore
import TernTransport
import Testing

@testable import TernQMux

extension SocketTests {
    @Suite(.serialized) struct Flow {
        private static let size = 50_000_000

        @Test func aClientMayDropTwelveThousandStreams() async throws {
            try await withListener { listener in
                let client = Connection(adopting: try await connect(to: listener.localAddress).established.get())
                for _ in 0..<12_000 { _ = try await client.openStream() }
                let last = try await client.openStream()
                try await last.finish(ByteBuffer(string: "still here"))
                var answer = ByteBuffer()
                while let bytes = try await last.read() { answer.writeImmutableBuffer(bytes) }
                #expect(answer == ByteBuffer(string: "still here"))
                try await client.closeGracefully()
            }
        }

        @Test func fiftyMegabytesEachWay() async throws {
            let atServer = NIOLockedBox<PatternSink?>(nil)
            let serve: @Sendable (any LoopConnection) -> Void = { connection in
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
            }
            try await withListener(onConnection: serve) { listener in
                let handler = try await started(at: listener.localAddress)
                let atClient = try await handler.connection.eventLoop.flatSubmit {
                    let connection = handler.connection
                    let answer = connection.eventLoop.makePromise(of: PatternSink.self)
                    handler.closed.whenSuccess { answer.fail($0) }
                    let stream = StreamID(index: 0, initiator: .client, direction: .bidirectional)
                    #expect((try? connection.openStream(.bidirectional)) == stream)
                    let source = PatternSource(connection, stream: stream, count: Self.size)
                    var sink = PatternSink()
                    handler.onWritable = { _ in source.resume() }
                    handler.onReceived = { _, bytes, finished in
                        sink.take(bytes)
                        connection.consumed(bytes.readableBytes, of: stream)
                        if finished { answer.succeed(sink) }
                    }
                    source.resume()
                    return answer.futureResult
                }.get()
                #expect(atClient.received == Self.size)
                #expect(atClient.isIntact)
                // Over TCP nothing tells that the peer has everything: ask it before closing.
                let isComplete = try await eventually { atServer.value != nil }
                #expect(isComplete)
                handler.close()
            }
            #expect(atServer.value?.received == Self.size)
            #expect(atServer.value?.isIntact == true)
        }

        /// More than the high watermark, less than what makes the peer say anything.
        @Test func aWriterGoesOnWhenThePeerSaysNothing() async throws {
            var limits = ConnectionLimits()
            limits.keepAliveInterval = nil
            let total = NIOLockedBox(0)
            let serve: @Sendable (any LoopConnection) -> Void = { connection in
                let handler = TestHandler(connection)
                handler.onReceived = { _, bytes, _ in total.update { $0 += bytes.readableBytes } }
                connection.start(handler: handler)
            }
            try await withListener(limits: limits, onConnection: serve) { listener in
                let count = limits.writeHighWatermark + 1
                let wasWritable = try await withConnection(to: listener.localAddress, limits: limits) {
                    handler, answer in
                    handler.onWritable = { _ in answer.succeed(true) }
                    let stream = try #require(try handler.connection.openStream(.unidirectional))
                    let goOn = try handler.connection.write(
                        Pattern.bytes(at: 0, count: count), to: stream, finish: false)
                    #expect(!goOn)
                    handler.connection.eventLoop.scheduleTask(in: .seconds(5)) { answer.succeed(false) }
                }
                #expect(wasWritable)
            }
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
            let serve: @Sendable (any LoopConnection) -> Void = { connection in
                let handler = TestHandler(connection)
                handler.onReceived = { _, bytes, _ in unread.update { $0 += bytes.readableBytes } }
                connection.start(handler: handler)
                reader.value = handler
            }
            try await withListener(limits: limits, onConnection: serve) { listener in
                let writer = try await started(at: listener.localAddress, limits: limits)
                let connection = writer.connection
                let source = try await connection.eventLoop.submit {
                    let stream = try #require(try connection.openStream(.bidirectional))
                    let source = PatternSource(connection, stream: stream, count: total)
                    writer.onWritable = { _ in source.resume() }
                    source.resume()
                    return NIOLoopBound(source, eventLoop: connection.eventLoop)
                }.get()
                let isFull = try await eventually { unread.value >= window }
                #expect(isFull)
                // Nothing more may come: the window is the reader's, and the writer keeps a watermark and one chunk.
                let (written, pauses) = try await connection.eventLoop.submit {
                    (source.value.written, source.value.pauses)
                }.get()
                #expect(unread.value <= window)
                #expect(written <= window + limits.writeHighWatermark + (64 << 10))
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
                writer.close()
            }
        }

        @Test func aConnectionThatNobodyStartsHoldsABoundedAmount() async throws {
            var limits = ConnectionLimits()
            limits.streamWindow = 64 << 10
            limits.connectionWindow = 128 << 10
            limits.bufferedDatagrams = 10
            let accepted = NIOLockedBox<(any LoopConnection)?>(nil)
            let serve: @Sendable (any LoopConnection) -> Void = { accepted.value = $0 }
            try await withListener(limits: limits, onConnection: serve) { listener in
                let handler = try await started(at: listener.localAddress)
                let client = handler.connection
                try await client.eventLoop.submit {
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
                        if seen.value.bytes == 0 { #expect(bytes.readableBytes <= 64 << 10) }
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
                #expect(1...10 ~= seen.value.datagrams)
                handler.close()
            }
        }

        /// A peer that does not read: TCP backs up, and datagrams are shed instead of piled up.
        @Test func datagramsAreShedWhenTheCarrierIsBackedUp() async throws {
            let peers = NIOLockedBox<[RawPeer]>([])
            let server = try await RawPeer.listen(tls: true) { peer in peers.update { $0.append(peer) } }
            let attempt = try connect(to: try #require(server.localAddress))
            let isThere = try await eventually { !peers.value.isEmpty }
            #expect(isThere)
            let peer = try #require(peers.value.first)
            try await peer.ready.get()
            // max_datagram_frame_size 16383 (RFC 9221, section 3).
            peer.send(Wire.record([0xff, 0x51, 0x53, 0x30, 0x0d, 0x0a, 0x0d, 0x0a, 4, 0x20, 2, 0x7f, 0xff]))
            let connection = try await attempt.established.get()
            try await peer.stopReading()
            var dropped = 0
            var accepted = 0
            while dropped < 1000, accepted < 20_000 {
                // Each round is a turn of the event loop, so that the carrier takes what it can.
                let count = try await connection.eventLoop.submit {
                    try (0..<100).filter { _ in
                        try connection.sendDatagram(ByteBuffer(repeating: 1, count: 10_000)) == .dropped
                    }.count
                }.get()
                dropped += count
                accepted += 100 - count
            }
            #expect(dropped >= 1000, "accepted \(accepted)")
            let statistics = try await connection.eventLoop.submit { connection.statistics() }.get()
            #expect(statistics.datagramsDropped >= 1000)
            peer.close()
            try await server.close()
        }

        @Test func resetsAndStopsCarryTheirCodes() async throws {
            let codes = NIOLockedBox<[String: UInt64]>([:])
            let serve: @Sendable (any LoopConnection) -> Void = { connection in
                let handler = TestHandler(connection)
                handler.onReceived = { stream, bytes, _ in
                    connection.consumed(bytes.readableBytes, of: stream)
                    // The server stops and resets the first stream; the client the second, when it got an answer.
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
            }
            try await withListener(onConnection: serve) { listener in
                let handler = try await started(at: listener.localAddress)
                let connection = handler.connection
                try await connection.eventLoop.submit {
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
                handler.close()
            }
        }
    }
}
