// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernQUICCore

@Suite("Streams")
struct StreamTests {
    /// Writes everything to a stream, as fast as the watermarks allow, and the end.
    static func send(_ bytes: [UInt8], on id: StreamID, from end: End, chunk: Int = 64 << 10) throws {
        var rest = ByteBuffer(bytes: bytes)
        func pump() throws {
            guard let core = end.core else { return }
            while rest.readableBytes > 0 {
                let slice = rest.readSlice(length: min(chunk, rest.readableBytes))
                let goesOn = try core.write(slice ?? ByteBuffer(), to: id, finish: rest.readableBytes == 0)
                if !goesOn { return }
            }
        }
        end.onEvent = { event in
            if case .streamWritable(id) = event { try? pump() }
        }
        try pump()
    }

    @Test("10 MB arrive byte for byte both ways, in trains")
    func bulk() throws {
        let pair = try Pair()
        try pair.establish()
        let up = pattern(10_000_000, seed: 17)
        let down = pattern(10_000_000, seed: 29)
        let id = try #require(try pair.client.core?.openStream(.bidirectional))
        try Self.send(up, on: id, from: pair.client)
        try pair.run(until: { pair.server.received[id] != nil })
        try Self.send(down, on: id, from: pair.server)
        let closed: (End) -> Bool = { end in
            end.events.contains { if case .streamClosed(id) = $0 { true } else { false } }
        }
        #expect(try pair.run(for: .seconds(120), until: { closed(pair.client) && closed(pair.server) }))
        #expect(pair.server.received[id] == up)
        #expect(pair.client.received[id] == down)
        #expect(pair.server.finished.contains(id))
        #expect(pair.client.finished.contains(id))
        #expect(pair.client.longestTrain > 10)
        #expect(pair.server.longestTrain > 10)
        let statistics = try #require(pair.client.core?.statistics())
        #expect(statistics.bytesSent > 10_000_000)
        #expect(try #require(statistics.smoothedRoundTripTime) >= .milliseconds(10))
        #expect(pair.client.closeReason == nil)
    }

    @Test("a peer that does not consume stops the sender, and consuming resumes it")
    func backpressure() throws {
        var limits = ConnectionLimits()
        limits.streamWindow = 100_000
        let pair = try Pair(serverLimits: limits)
        pair.server.consumes = false
        try pair.establish()
        let id = try #require(try pair.client.core?.openStream(.unidirectional))
        let bytes = pattern(1_000_000)
        try Self.send(bytes, on: id, from: pair.client)
        try pair.run(for: .seconds(5))
        #expect(pair.server.received[id]?.count == 100_000)
        let queued = try #require(pair.client.core?.stream(id)?.queue.unsentBytes)
        #expect(queued > 0)
        #expect(queued <= limits.writeHighWatermark + (64 << 10))
        pair.server.consumes = true
        pair.server.core?.consumed(100_000, of: id)
        #expect(try pair.run(until: { pair.server.finished.contains(id) }))
        #expect(pair.server.received[id] == bytes)
    }

    @Test("a stream that is not consumed keeps its place under the stream limit, and the connection's credit")
    func unreadStreamsCount() throws {
        var limits = ConnectionLimits()
        limits.unidirectionalStreams = 2
        let pair = try Pair(serverLimits: limits)
        pair.server.consumes = false
        try pair.establish()
        let core = try #require(pair.client.core)
        for _ in 0..<2 {
            let id = try #require(try core.openStream(.unidirectional))
            _ = try core.write(ByteBuffer(string: "unread"), to: id, finish: true)
        }
        #expect(try core.openStream(.unidirectional) == nil)
        try pair.run(for: .seconds(2))
        #expect(pair.server.finished.count == 2)
        #expect(try core.openStream(.unidirectional) == nil)
        #expect(!pair.server.events.contains { if case .streamClosed = $0 { true } else { false } })
        for id in pair.server.received.keys { pair.server.core?.consumed(6, of: id) }
        try pair.run(for: .seconds(2))
        let available = pair.client.events.filter {
            if case .streamsAvailable(.unidirectional) = $0 { true } else { false }
        }
        #expect(available.count == 1)
        #expect(try core.openStream(.unidirectional) != nil)
    }

    @Test("reset and stopSending carry their codes, and end the stream at both ends")
    func codes() throws {
        let pair = try Pair()
        try pair.establish()
        let core = try #require(pair.client.core)
        let id = try #require(try core.openStream(.bidirectional))
        _ = try core.write(ByteBuffer(string: "hello"), to: id, finish: false)
        try pair.run(until: { pair.server.received[id]?.count == 5 })
        core.reset(id, code: 42)
        core.stopSending(id, code: 43)
        #expect(throws: TransportError.self) { try core.write(ByteBuffer(string: "more"), to: id, finish: false) }
        try pair.run(for: .seconds(1))
        #expect(pair.server.events.contains { if case .streamWasReset(id, code: 42) = $0 { true } else { false } })
        #expect(pair.server.events.contains { if case .streamWasStopped(id, code: 43) = $0 { true } else { false } })
        for end in [pair.client, pair.server] {
            #expect(end.events.filter { if case .streamClosed(id) = $0 { true } else { false } }.count == 1)
            #expect(end.closeReason == nil)
        }
    }

    @Test("STOP_SENDING is told while the other direction goes on, and fails further writes")
    func stopOneDirection() throws {
        let pair = try Pair()
        try pair.establish()
        let core = try #require(pair.client.core)
        let id = try #require(try core.openStream(.bidirectional))
        _ = try core.write(ByteBuffer(bytes: pattern(3000)), to: id, finish: false)
        try pair.run(until: { pair.server.received[id]?.count == 3000 })
        // In one packet with other frames before it.
        _ = try pair.server.core?.write(ByteBuffer(string: "answer"), to: id, finish: false)
        pair.server.core?.stopSending(id, code: 9)
        try pair.run(for: .seconds(1))
        #expect(pair.client.events.contains { if case .streamWasStopped(id, code: 9) = $0 { true } else { false } })
        #expect(pair.client.received[id] == Array("answer".utf8))
        let error = #expect(throws: TransportError.self) {
            try core.write(ByteBuffer(string: "more"), to: id, finish: false)
        }
        #expect(error?.code == .streamStopped)
        #expect(error?.wireCode == 9)
        _ = try pair.server.core?.write(ByteBuffer(string: "!"), to: id, finish: true)
        try pair.run(for: .seconds(1))
        #expect(pair.client.finished.contains(id))
        #expect(pair.client.events.contains { if case .streamClosed(id) = $0 { true } else { false } })
    }

    @Test("credit of reset and stopped streams returns to the connection")
    func creditReturns() throws {
        var limits = ConnectionLimits()
        limits.connectionWindow = 200_000
        limits.streamWindow = 100_000
        let pair = try Pair(serverLimits: limits)
        pair.server.consumes = false
        try pair.establish()
        let core = try #require(pair.client.core)
        for round in 0..<12 {
            let id = try #require(try core.openStream(.unidirectional))
            _ = try core.write(ByteBuffer(bytes: pattern(90_000)), to: id, finish: false)
            try pair.run(for: .seconds(1))
            #expect(pair.server.received[id]?.count == 90_000)
            if round.isMultiple(of: 2) { core.reset(id, code: 1) } else { pair.server.core?.stopSending(id, code: 1) }
            try pair.run(for: .seconds(1))
        }
        #expect(pair.client.closeReason == nil)
        for end in [pair.client, pair.server] {
            #expect(end.events.filter { if case .streamClosed = $0 { true } else { false } }.count == 12)
        }
    }

    @Test("streams come and go far beyond the limit of open ones", arguments: StreamDirection.allCases)
    func churn(direction: StreamDirection) throws {
        var limits = ConnectionLimits()
        limits.bidirectionalStreams = 8
        limits.unidirectionalStreams = 8
        let pair = try Pair(serverLimits: limits)
        pair.server.onEvent = { [server = pair.server] event in
            guard case .streamReceived(let id, _, finished: true) = event, direction == .bidirectional else { return }
            _ = try? server.core?.write(ByteBuffer(string: "pong"), to: id, finish: true)
        }
        try pair.establish()
        let core = try #require(pair.client.core)
        var opened = 0
        while opened < 200 {
            while opened < 200, let id = try core.openStream(direction) {
                _ = try core.write(ByteBuffer(string: "ping"), to: id, finish: true)
                opened += 1
            }
            try pair.run(for: .milliseconds(100))
        }
        try pair.run(for: .seconds(1))
        #expect(pair.server.finished.count == 200)
        #expect(pair.client.finished.count == (direction == .bidirectional ? 200 : 0))
        for end in [pair.client, pair.server] {
            #expect(end.core?.native.inbox.streams.isEmpty == true)
            #expect(end.closeReason == nil)
        }
    }

    @Test("a more urgent stream overtakes, equals share")
    func priorities() throws {
        let pair = try Pair()
        try pair.establish()
        let core = try #require(pair.client.core)
        var ids: [StreamID] = []
        for urgency in [7, 3, 3, 0] as [UInt8] {
            let id = try #require(try core.openStream(.unidirectional))
            core.setPriority(StreamPriority(urgency: urgency), of: id)
            _ = try core.write(ByteBuffer(bytes: pattern(400_000)), to: id, finish: true)
            ids.append(id)
        }
        var order: [StreamID] = []
        var shareAtFirstEnd = 0
        pair.server.onEvent = { event in
            guard case .streamReceived(let id, _, finished: true) = event else { return }
            if order.count == 1 { shareAtFirstEnd = pair.server.received[id == ids[1] ? ids[2] : ids[1]]?.count ?? 0 }
            order.append(id)
        }
        #expect(try pair.run(until: { order.count == 4 }))
        #expect(order.first == ids[3])
        #expect(order.last == ids[0])
        #expect(shareAtFirstEnd > 300_000)
    }

    @Test("small writes of many streams share a packet")
    func coalesces() throws {
        let pair = try Pair()
        try pair.establish()
        try pair.run(for: .seconds(1))
        let before = pair.datagramsSent
        let core = try #require(pair.client.core)
        for _ in 0..<20 {
            let id = try #require(try core.openStream(.unidirectional))
            _ = try core.write(ByteBuffer(string: "one of many"), to: id, finish: true)
        }
        try pair.run(until: { pair.server.finished.count == 20 })
        #expect(pair.datagramsSent - before <= 3)
        try pair.run(for: .seconds(1))
        for end in [pair.client, pair.server] {
            #expect(end.events.filter { if case .streamClosed = $0 { true } else { false } }.count == 20)
        }
    }

    @Test("the caller may change its buffer after the write")
    func buffersArePinned() throws {
        let pair = try Pair()
        try pair.establish()
        let core = try #require(pair.client.core)
        let id = try #require(try core.openStream(.unidirectional))
        var buffer = ByteBuffer(bytes: pattern(5000))
        _ = try core.write(buffer, to: id, finish: false)
        buffer.setBytes(Array(repeating: 0xff, count: 5000), at: 0)
        buffer.clear()
        buffer.writeBytes(pattern(100_000, seed: 3))
        _ = try core.write(buffer, to: id, finish: true)
        buffer.clear()
        #expect(try pair.run(until: { pair.server.finished.contains(id) }))
        #expect(pair.server.received[id] == pattern(5000) + pattern(100_000, seed: 3))
    }

    @Test("wrong use is answered, late calls do nothing")
    func misuse() throws {
        let pair = try Pair()
        try pair.establish()
        let core = try #require(pair.client.core)
        let serverStream = StreamID(index: 0, initiator: .server, direction: .unidirectional)
        let error = #expect(throws: TransportError.self) {
            try core.write(ByteBuffer(), to: serverStream, finish: true)
        }
        #expect(error?.code == .misuse)
        let unknown = StreamID(index: 9, initiator: .client, direction: .bidirectional)
        core.reset(unknown, code: 1)
        core.stopSending(unknown, code: 1)
        core.consumed(100, of: unknown)
        core.setPriority(.highest, of: unknown)
        let id = try #require(try core.openStream(.bidirectional))
        _ = try core.write(ByteBuffer(string: "x"), to: id, finish: true)
        let late = #expect(throws: TransportError.self) {
            try core.write(ByteBuffer(string: "y"), to: id, finish: false)
        }
        #expect(late?.code == .streamFinished)
        core.consumed(1 << 40, of: id)
        try pair.run(for: .seconds(1))
        #expect(pair.server.received[id] == Array("x".utf8))
        #expect(pair.client.closeReason == nil)
    }
}

extension StreamTests {
    @Test("a stream whose first frame is its reset is told, too", arguments: StreamDirection.allCases)
    func resetFirst(direction: StreamDirection) throws {
        let pair = try Pair()
        try pair.establish()
        let client = try #require(pair.client.core)
        let id = try #require(try client.openStream(direction))
        client.reset(id, code: 77)
        let later = try #require(try client.openStream(direction))
        _ = try client.write(ByteBuffer(string: "x"), to: later, finish: true)
        #expect(try pair.run(for: .seconds(5), until: { pair.server.finished.contains(later) }))
        let told = pair.server.events.compactMap { event -> String? in
            switch event {
            case .streamOpened(id): "opened"
            case .streamWasReset(id, 77): "reset"
            case .streamClosed(id): "closed"
            default: nil
            }
        }
        guard direction == .bidirectional else {
            #expect(told == ["opened", "reset", "closed"])
            return
        }
        #expect(told == ["opened", "reset"])
        // The other direction is as open as ever (RFC 9000, section 3.2).
        #expect(try pair.server.core?.write(ByteBuffer(string: "answer"), to: id, finish: true) == true)
        #expect(try pair.run(for: .seconds(5), until: { pair.client.finished.contains(id) }))
        #expect(pair.client.received[id] == Array("answer".utf8))
    }
}
