// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernQMuxCore

@Suite("QMux: two ends")
struct TransferTests {
    @Test("Streams arrive byte for byte, whatever the pieces", arguments: 1...20 as ClosedRange<UInt64>)
    func byteExact(seed: UInt64) throws {
        var pair = CorePair(seed: seed)
        pair.pump()
        var sent: [StreamID: ByteBuffer] = [:]
        for index in 0..<12 {
            let core = index.isMultiple(of: 2) ? pair.client : pair.server
            let direction: StreamDirection = index.isMultiple(of: 3) ? .unidirectional : .bidirectional
            let stream = try #require(try core.openStream(direction))
            let bytes = pattern(Int.random(in: 0...300_000, using: &pair.generator), seed: index)
            sent[stream] = bytes
            var rest = bytes
            while rest.readableBytes > 0 {
                let count = min(rest.readableBytes, Int.random(in: 1...50_000, using: &pair.generator))
                let piece = rest.readSlice(length: count)
                _ = try core.write(try #require(piece), to: stream, finish: false)
                if Bool.random(using: &pair.generator) { pair.pump(maximumPiece: 700) }
            }
            _ = try core.write(ByteBuffer(), to: stream, finish: true)
        }
        pair.pump()
        for (stream, bytes) in sent {
            let events = stream.initiator == .client ? pair.serverEvents : pair.clientEvents
            #expect(receivedBytes(events, of: stream) == bytes)
            let isFinished = events.contains { event in
                if case .streamReceived(stream, _, finished: true) = event { true } else { false }
            }
            #expect(isFinished)
        }
        #expect(pair.client.closeReason == nil && pair.server.closeReason == nil)
    }

    @Test("A window bounds what is on the way and what waits; reading opens it again")
    func backpressure() throws {
        var limits = ConnectionLimits()
        limits.streamWindow = 10_000
        limits.connectionWindow = 15_000
        limits.writeHighWatermark = 5_000
        limits.writeLowWatermark = 1_000
        var pair = CorePair(client: limits, server: limits)
        pair.consumesAtOnce = false
        pair.pump()
        let first = try #require(try pair.client.openStream(.unidirectional))
        let second = try #require(try pair.client.openStream(.unidirectional))
        #expect(try pair.client.write(pattern(5_000, seed: 1), to: first, finish: false))
        #expect(try pair.client.write(pattern(15_000, seed: 2), to: first, finish: false) == false)
        pair.pump()
        #expect(receivedBytes(pair.serverEvents, of: first).readableBytes == 10_000)
        _ = try pair.client.write(pattern(15_000, seed: 2), to: second, finish: true)
        pair.pump()
        // The stream may have 10000, the connection has 5000 left.
        #expect(receivedBytes(pair.serverEvents, of: second).readableBytes == 5_000)
        #expect(!pair.clientEvents.contains(.streamWritable(first)))
        pair.server.consumed(10_000, of: first)
        pair.pump()
        #expect(receivedBytes(pair.serverEvents, of: first).readableBytes + 0 >= 10_000)
        pair.consumesAtOnce = true
        pair.server.consumed(receivedBytes(pair.serverEvents, of: first).readableBytes, of: first)
        pair.server.consumed(receivedBytes(pair.serverEvents, of: second).readableBytes, of: second)
        pair.pump()
        #expect(receivedBytes(pair.serverEvents, of: first).readableBytes == 20_000)
        #expect(receivedBytes(pair.serverEvents, of: second) == pattern(15_000, seed: 2))
        #expect(pair.clientEvents.filter { $0 == .streamWritable(first) }.count == 1)
    }

    @Test("The end of a stream needs no credit")
    func finishWithoutCredit() throws {
        var limits = ConnectionLimits()
        limits.streamWindow = 100
        limits.connectionWindow = 100
        var pair = CorePair(server: limits)
        pair.consumesAtOnce = false
        pair.pump()
        let stream = try #require(try pair.client.openStream(.unidirectional))
        _ = try pair.client.write(pattern(100, seed: 0), to: stream, finish: false)
        pair.pump()
        _ = try pair.client.write(ByteBuffer(), to: stream, finish: true)
        let empty = try #require(try pair.client.openStream(.unidirectional))
        _ = try pair.client.write(ByteBuffer(), to: empty, finish: true)
        pair.pump()
        #expect(pair.serverEvents.contains(.streamReceived(stream, ByteBuffer(), finished: true)))
        #expect(pair.serverEvents.contains(.streamReceived(empty, ByteBuffer(), finished: true)))
        // Read to its end, or not yet.
        #expect(pair.serverEvents.contains(.streamClosed(empty)))
        #expect(!pair.serverEvents.contains(.streamClosed(stream)))
        pair.server.consumed(100, of: stream)
        pair.pump()
        #expect(pair.serverEvents.contains(.streamClosed(stream)))
    }

    @Test("The stream limit holds, is told, and rises when a stream has ended")
    func streamLimit() throws {
        var limits = ConnectionLimits()
        limits.bidirectionalStreams = 2
        var pair = CorePair(server: limits)
        #expect(try pair.client.openStream(.bidirectional) == nil)
        pair.pump()
        #expect(pair.clientEvents == [.streamsAvailable(.bidirectional)])
        let first = try #require(try pair.client.openStream(.bidirectional))
        _ = try #require(try pair.client.openStream(.bidirectional))
        #expect(try pair.client.openStream(.bidirectional) == nil)
        #expect(try pair.client.openStream(.unidirectional) != nil)
        _ = try pair.client.write(ByteBuffer(string: "a"), to: first, finish: true)
        pair.pump()
        #expect(try pair.client.openStream(.bidirectional) == nil)
        _ = try pair.server.write(ByteBuffer(), to: first, finish: true)
        pair.pump()
        #expect(pair.clientEvents.filter { $0 == .streamsAvailable(.bidirectional) }.count == 2)
        #expect(
            try pair.client.openStream(.bidirectional)
                == StreamID(index: 2, initiator: .client, direction: .bidirectional))
    }

    @Test("While nobody listens, a peer cannot open and abandon more streams than its limit")
    func unheardResets() throws {
        var limits = ConnectionLimits()
        limits.unidirectionalStreams = 5
        let lone = LoneCore(limits: limits)
        for index in 0..<5 as Range<UInt64> {
            let stream = StreamID(index: index, initiator: .client, direction: .unidirectional)
            lone.receive([.resetStream(stream, code: 1, finalSize: 0)])
        }
        #expect(!lone.sentFrames().contains { $0.type == QMuxFrameType.maxStreamsUnidirectional })
        #expect(lone.events().count == 15)
        #expect(lone.sentFrames().contains(.maxStreams(.unidirectional, 10)))
    }

    @Test("A reset drops what waits, and its code arrives after what was sent")
    func resetStream() throws {
        var pair = CorePair()
        pair.pump()
        let stream = try #require(try pair.client.openStream(.bidirectional))
        _ = try pair.client.write(ByteBuffer(string: "before"), to: stream, finish: false)
        pair.pump()
        _ = try pair.client.write(ByteBuffer(string: "never"), to: stream, finish: false)
        pair.client.reset(stream, code: 77)
        pair.client.reset(stream, code: 78)
        #expect(throws: TransportError(.streamFinished, message: "")) {
            try pair.client.write(ByteBuffer(string: "x"), to: stream, finish: false)
        }
        pair.pump()
        #expect(receivedBytes(pair.serverEvents, of: stream) == ByteBuffer(string: "before"))
        #expect(pair.serverEvents.last == .streamWasReset(stream, code: 77))
        // The other half goes on.
        _ = try pair.server.write(ByteBuffer(string: "still here"), to: stream, finish: true)
        pair.pump()
        #expect(receivedBytes(pair.clientEvents, of: stream) == ByteBuffer(string: "still here"))
        #expect(pair.clientEvents.last == .streamClosed(stream))
        #expect(pair.serverEvents.last == .streamClosed(stream))
    }

    @Test("STOP_SENDING is answered by a reset with the same code, and returns all credit")
    func stopSending() throws {
        var limits = ConnectionLimits()
        limits.streamWindow = 1000
        limits.connectionWindow = 1000
        var pair = CorePair(server: limits)
        pair.consumesAtOnce = false
        pair.pump()
        let stream = try #require(try pair.client.openStream(.unidirectional))
        _ = try pair.client.write(pattern(5000, seed: 0), to: stream, finish: false)
        pair.pump()
        pair.server.stopSending(stream, code: 9)
        pair.pump()
        #expect(pair.clientEvents.suffix(2) == [.streamWasStopped(stream, code: 9), .streamClosed(stream)])
        #expect(pair.serverEvents.last == .streamClosed(stream))
        #expect(!pair.serverEvents.contains(.streamWasReset(stream, code: 9)))
        let next = try #require(try pair.client.openStream(.unidirectional))
        _ = try pair.client.write(pattern(1000, seed: 1), to: next, finish: true)
        pair.pump()
        #expect(receivedBytes(pair.serverEvents, of: next) == pattern(1000, seed: 1))
    }

    @Test("A write after STOP_SENDING says so, until the stream's end was heard")
    func writeAfterStop() throws {
        let lone = LoneCore(role: .client)
        let stream = try #require(try lone.core.openStream(.unidirectional))
        lone.receive([.stopSending(stream, code: 5)])
        #expect(throws: TransportError(.streamStopped, message: "", wireCode: 5, initiator: .peer)) {
            try lone.core.write(ByteBuffer(string: "x"), to: stream, finish: false)
        }
        _ = lone.events()
        #expect(throws: TransportError(.streamFinished, message: "")) {
            try lone.core.write(ByteBuffer(string: "x"), to: stream, finish: false)
        }
        #expect(lone.sentFrames().contains(.resetStream(stream, code: 5, finalSize: 0)))
    }

    @Test("RESET_STREAM_AT waits for its reliable part, and what was announced beyond it is returned")
    func resetStreamAt() throws {
        var limits = ConnectionLimits()
        limits.connectionWindow = 100
        limits.streamWindow = 100
        let lone = LoneCore(limits: limits)
        let stream = StreamID(rawValue: 2)
        lone.receive([.stream(stream, offset: 0, ByteBuffer(string: "ab"), finished: false)])
        lone.receive([.resetStreamAt(stream, code: 3, finalSize: 90, reliableSize: 4)])
        #expect(
            lone.events() == [
                .streamOpened(stream), .streamReceived(stream, ByteBuffer(string: "ab"), finished: false),
            ])
        lone.receive([.stream(stream, offset: 2, ByteBuffer(string: "cd"), finished: false)])
        #expect(
            lone.events() == [
                .streamReceived(stream, ByteBuffer(string: "cd"), finished: false), .streamWasReset(stream, code: 3),
                .streamClosed(stream),
            ])
        #expect(lone.sentFrames().contains(.maxData(190)))
    }

    @Test("Misuse is told to the caller, and what comes too late does nothing")
    func misuse() throws {
        var pair = CorePair()
        pair.pump()
        let outbound = try #require(try pair.client.openStream(.unidirectional))
        _ = try pair.client.write(ByteBuffer(), to: outbound, finish: true)
        pair.pump()
        let misuse = TransportError(.misuse, message: "")
        #expect(throws: misuse) { try pair.server.write(ByteBuffer(), to: outbound, finish: false) }
        let unopened = StreamID(rawValue: 400)
        #expect(throws: misuse) { try pair.client.write(ByteBuffer(), to: unopened, finish: false) }
        for stream in [outbound, unopened] {
            pair.client.reset(stream, code: 1)
            pair.client.stopSending(stream, code: 1)
            pair.client.consumed(1000, of: stream)
            pair.client.consumed(-1, of: stream)
            pair.client.setPriority(.highest, of: stream)
        }
        pair.pump()
        #expect(pair.client.closeReason == nil && pair.server.closeReason == nil)
    }

    @Test("Urgent streams overtake, and equals share")
    func priorities() throws {
        let lone = LoneCore(role: .client)
        let background = try #require(try lone.core.openStream(.unidirectional))
        let first = try #require(try lone.core.openStream(.unidirectional))
        let second = try #require(try lone.core.openStream(.unidirectional))
        let urgent = try #require(try lone.core.openStream(.unidirectional))
        lone.core.setPriority(.background, of: background)
        for stream in [background, first, second, urgent] {
            _ = try lone.core.write(pattern(40_000, seed: 0), to: stream, finish: true)
        }
        lone.core.setPriority(.highest, of: urgent)
        var order: [StreamID] = []
        for case .stream(let stream, _, let bytes, _) in lone.sentFrames() {
            order += Array(repeating: stream, count: bytes.readableBytes)
        }
        #expect(order.count == 160_000)
        #expect(Set(order[..<40_000]) == [urgent])
        let middle = order[40_000..<120_000]
        #expect(Set(middle) == [first, second])
        let early = middle.prefix(40_000)
        let share = early.count { $0 == first }
        #expect((16_000...24_000).contains(share), "\(share) of 40000 bytes")
        #expect(Set(order[120_000...]) == [background])
    }

    @Test("Datagrams round trip, the largest one too, and too large is refused")
    func datagrams() throws {
        var pair = CorePair()
        #expect(throws: TransportError(.limitExceeded, message: "")) {
            try pair.client.sendDatagram(ByteBuffer(string: "too early"))
        }
        pair.pump()
        #expect(pair.client.maximumDatagramSize == 16_381)
        let sizes = [0, 1, 63, 64, 16_000, 16_378, 16_379, 16_380, 16_381]
        for size in sizes { #expect(try pair.client.sendDatagram(pattern(size, seed: size)) == .accepted) }
        pair.pump()
        #expect(pair.serverEvents == sizes.map { .datagramReceived(pattern($0, seed: $0)) })
        #expect(throws: TransportError(.limitExceeded, message: "")) {
            try pair.client.sendDatagram(pattern(16_382, seed: 0))
        }
        #expect(pair.client.statistics().datagramsSent == 9)
        #expect(pair.server.statistics().datagramsReceived == 9)
    }

    @Test("Every datagram size that the peer takes can be sent", arguments: [2, 5, 64, 65, 66, 67, 100] as [Int])
    func smallDatagramLimits(frameSize: Int) throws {
        var limits = ConnectionLimits()
        limits.datagramFrameSize = frameSize
        var pair = CorePair(server: limits)
        pair.pump()
        #expect(pair.client.maximumDatagramSize == frameSize - 1)
        for size in 0..<frameSize { _ = try pair.client.sendDatagram(pattern(size, seed: 0)) }
        pair.pump()
        #expect(pair.server.closeReason == nil)
        #expect(pair.serverEvents == (0..<frameSize).map { .datagramReceived(pattern($0, seed: 0)) })
    }

    @Test("Backed up, the oldest datagrams are shed before they are written; unread ones too")
    func shedding() throws {
        var limits = ConnectionLimits()
        limits.bufferedDatagrams = 3
        var pair = CorePair(client: limits, server: limits)
        pair.pump()
        let outcomes = try (0..<5).map { try pair.client.sendDatagram(ByteBuffer(string: "\($0)")) }
        #expect(outcomes == [.accepted, .accepted, .accepted, .dropped, .dropped])
        #expect(pair.client.statistics().datagramsDropped == 2)
        pair.pump()
        #expect(pair.serverEvents == ["2", "3", "4"].map { .datagramReceived(ByteBuffer(string: $0)) })
        for number in 5..<10 {
            _ = try pair.client.sendDatagram(ByteBuffer(string: "\(number)"))
            while let bytes = pair.client.nextBytes(now: pair.now) { pair.server.receive(bytes, now: pair.now) }
        }
        pair.serverEvents = []
        pair.drain()
        #expect(pair.serverEvents == ["7", "8", "9"].map { .datagramReceived(ByteBuffer(string: $0)) })
        #expect(pair.server.statistics().datagramsDropped == 2)
    }

    @Test("Tiny frames in huge records cost no more memory than they are worth")
    func tinyFrames() throws {
        let lone = LoneCore()
        let stream = StreamID(rawValue: 2)
        for offset in 0..<1000 as Range<UInt64> {
            lone.receive([.stream(stream, offset: offset, ByteBuffer(string: "x"), finished: false)])
        }
        // One opening, and one joined piece.
        #expect(
            lone.events() == [
                .streamOpened(stream),
                .streamReceived(stream, ByteBuffer(repeating: 0x78, count: 1000), finished: false),
            ])
    }

    @Test("Blocked is told once for each limit")
    func blockedFrames() throws {
        var peer = QMuxTransportParameters(ConnectionLimits())
        peer.initialMaxData = 10
        peer.initialMaxStreamDataUnidirectional = 5
        peer.initialMaxStreamsUnidirectional = 3
        let lone = LoneCore(role: .client, peer: peer)
        _ = lone.sentFrames()
        for _ in 0..<3 {
            let stream = try #require(try lone.core.openStream(.unidirectional))
            _ = try lone.core.write(pattern(9, seed: 0), to: stream, finish: false)
        }
        _ = try lone.core.openStream(.unidirectional)
        _ = try lone.core.openStream(.unidirectional)
        let frames = lone.sentFrames()
        #expect(frames.filter { $0 == .streamsBlocked(.unidirectional, 3) }.count == 1)
        #expect(frames.filter { $0.type == QMuxFrameType.streamDataBlocked }.count == 0)
        #expect(frames.filter { $0 == .dataBlocked(10) }.count == 1)
        #expect(lone.sentFrames().isEmpty)
        lone.receive([.maxData(100)])
        let later = lone.sentFrames()
        #expect(later.filter { $0.type == QMuxFrameType.streamDataBlocked }.count == 3)
        lone.receive([.maxStreamData(StreamID(rawValue: 2), 9)])
        #expect(
            lone.sentFrames() == [
                .stream(StreamID(rawValue: 2), offset: 5, tail(of: pattern(9, seed: 0), 4), finished: false)
            ])
    }

    @Test("An end without bytes needs no credit: it goes while others wait for it")
    func emptyEnd() throws {
        var peer = QMuxTransportParameters(ConnectionLimits())
        peer.initialMaxData = 10
        let lone = LoneCore(role: .client, peer: peer)
        let done = try #require(try lone.core.openStream(.unidirectional))
        let waiting = try #require(try lone.core.openStream(.unidirectional))
        _ = try lone.core.write(pattern(5, seed: 0), to: done, finish: false)
        _ = try lone.core.write(pattern(9, seed: 1), to: waiting, finish: false)
        _ = lone.sentFrames()
        _ = try lone.core.write(ByteBuffer(), to: done, finish: true)
        #expect(lone.sentFrames() == [.stream(done, offset: 5, ByteBuffer(), finished: true)])
        #expect(lone.core.nextEvent() == .streamClosed(done))
    }

    private func tail(of bytes: ByteBuffer, _ count: Int) -> ByteBuffer {
        ByteBuffer(bytes: bytes.readableBytesView.suffix(count))
    }

    @Test("Statistics count bytes and measure the round trip")
    func statistics() throws {
        var pair = CorePair()
        let hello = try #require(pair.client.nextBytes(now: pair.now))
        pair.server.receive(hello, now: pair.now)
        #expect(pair.client.statistics().bytesSent == UInt64(hello.readableBytes))
        #expect(pair.server.statistics().bytesReceived == UInt64(hello.readableBytes))
        pair.pump()
        #expect(pair.client.statistics().latestRoundTripTime == .nanoseconds(0))
        pair.now = pair.now + .seconds(11)
        pair.client.deadlineReached(now: pair.now)
        let ask = try #require(pair.client.nextBytes(now: pair.now))
        pair.now = pair.now + .milliseconds(30)
        pair.server.receive(ask, now: pair.now)
        pair.pump()
        let statistics = pair.client.statistics()
        #expect(statistics.latestRoundTripTime == .milliseconds(30))
        #expect(statistics.minimumRoundTripTime == .nanoseconds(0))
        #expect(statistics.smoothedRoundTripTime == .microseconds(3750))
    }
}
