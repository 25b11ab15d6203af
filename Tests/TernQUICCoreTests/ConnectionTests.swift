// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernQUICCore

@Suite("Connection")
struct ConnectionTests {
    @Test("datagrams arrive whole, both ways, up to the size that is told")
    func datagrams() throws {
        let pair = try Pair()
        try pair.establish()
        try pair.run(for: .seconds(2))
        let core = try #require(pair.client.core)
        let largest = core.maximumDatagramSize
        #expect(largest > 1100)
        #expect(largest < 1452)
        #expect(try core.sendDatagram(ByteBuffer(bytes: pattern(largest))) == .accepted)
        #expect(try core.sendDatagram(ByteBuffer()) == .accepted)
        let error = #expect(throws: TransportError.self) {
            try core.sendDatagram(ByteBuffer(bytes: pattern(largest + 1)))
        }
        #expect(error?.code == .limitExceeded)
        #expect(try pair.server.core?.sendDatagram(ByteBuffer(string: "back")) == .accepted)
        try pair.run(for: .seconds(1))
        #expect(pair.server.datagrams == [pattern(largest), []])
        #expect(pair.client.datagrams == [Array("back".utf8)])
        #expect(core.statistics().datagramsSent == 2)
        #expect(pair.server.core?.statistics().datagramsReceived == 2)
    }

    @Test("the oldest datagram gives way when the queue is full")
    func datagramsAreShed() throws {
        var limits = ConnectionLimits()
        limits.bufferedDatagrams = 4
        let pair = try Pair(clientLimits: limits)
        try pair.establish()
        let core = try #require(pair.client.core)
        let outcomes = try (0..<6).map { try core.sendDatagram(ByteBuffer(bytes: [UInt8($0)])) }
        #expect(outcomes == [.accepted, .accepted, .accepted, .accepted, .dropped, .dropped])
        try pair.run(for: .seconds(1))
        #expect(pair.server.datagrams == [[2], [3], [4], [5]])
        #expect(core.statistics().datagramsDropped == 2)
    }

    @Test("a peer without datagrams takes none")
    func noDatagrams() throws {
        var limits = ConnectionLimits()
        limits.datagramFrameSize = 0
        let pair = try Pair(serverLimits: limits)
        try pair.establish()
        #expect(pair.client.core?.maximumDatagramSize == 0)
        #expect(throws: TransportError.self) { try pair.client.core?.sendDatagram(ByteBuffer(string: "x")) }
    }

    @Test("a close carries code and reason to the other end", arguments: [true, false])
    func closes(byClient: Bool) throws {
        let pair = try Pair()
        try pair.establish()
        try pair.run(for: .milliseconds(100))
        let (near, far) = byClient ? (pair.client, pair.server) : (pair.server, pair.client)
        near.core?.close(code: 4711, reason: "enough")
        #expect(throws: TransportError.self) { try near.core?.openStream(.bidirectional) }
        try pair.run(for: .seconds(10))
        #expect(near.closeReason == TransportError(.application, message: "", wireCode: 4711))
        let reason = try #require(far.closeReason)
        #expect(reason == TransportError(.application, message: "", wireCode: 4711, initiator: .peer))
        #expect(reason.message == "enough")
        #expect(near.core?.isFinished == true)
        #expect(far.core?.isFinished == true)
        #expect(near.core?.nextDeadline == nil)
        for end in [near, far] {
            #expect(end.events.filter { if case .closed = $0 { true } else { false } }.count == 1)
        }
    }

    @Test("data that came before a close is told before it")
    func dataBeforeClose() throws {
        let pair = try Pair()
        try pair.establish()
        let id = try #require(try pair.client.core?.openStream(.unidirectional))
        _ = try pair.client.core?.write(ByteBuffer(string: "last words"), to: id, finish: true)
        try pair.run(until: { pair.server.finished.contains(id) })
        pair.client.core?.close(code: 0, reason: "")
        try pair.run(for: .seconds(10))
        #expect(pair.server.received[id] == Array("last words".utf8))
        guard case .closed = pair.server.events.last else {
            Issue.record("the last event is \(String(describing: pair.server.events.last))")
            return
        }
    }

    @Test("a lost CONNECTION_CLOSE is repeated when the peer goes on, but ever more seldom")
    func repeatsClose() throws {
        let pair = try Pair()
        try pair.establish()
        var sent = 0
        pair.network = { flight in
            if flight.toServer { sent += 1 }
            return flight.toServer && sent <= 1 ? nil : flight
        }
        pair.client.core?.close(code: 5, reason: "")
        try pair.run(for: .milliseconds(1))
        #expect(sent == 1)
        let id = try #require(try pair.server.core?.openStream(.unidirectional))
        _ = try pair.server.core?.write(ByteBuffer(bytes: pattern(60_000)), to: id, finish: true)
        try pair.run(for: .seconds(1))
        #expect(pair.server.closeReason?.wireCode == 5)
        #expect(sent >= 2)
        #expect(sent < 10)
    }

    @Test("an idle connection ends at both ends after the smaller timeout")
    func idle() throws {
        var limits = ConnectionLimits()
        limits.keepAliveInterval = nil
        var short = limits
        short.idleTimeout = .seconds(5)
        let pair = try Pair(clientLimits: limits, serverLimits: short)
        try pair.establish()
        let start = pair.now
        try pair.run(for: .seconds(60), until: { pair.client.closeReason != nil && pair.server.closeReason != nil })
        #expect(pair.client.closeReason?.code == .idleTimeout)
        #expect(pair.server.closeReason?.code == .idleTimeout)
        #expect(pair.now - start < .seconds(8))
        #expect(pair.client.core?.isFinished == true)
    }

    @Test("keep-alive outlives the idle timeout")
    func keepAlive() throws {
        var limits = ConnectionLimits()
        limits.idleTimeout = .seconds(5)
        limits.keepAliveInterval = .seconds(2)
        let pair = try Pair(clientLimits: limits, serverLimits: limits)
        try pair.establish()
        try pair.run(for: .seconds(60))
        #expect(pair.client.closeReason == nil)
        #expect(pair.server.closeReason == nil)
        pair.network = { _ in nil }
        try pair.run(for: .seconds(60))
        #expect(pair.client.closeReason?.code == .idleTimeout)
    }

    @Test("the server follows a client whose address changed, once the new path is validated")
    func rebinding() throws {
        let pair = try Pair()
        try pair.establish()
        try pair.run(for: .seconds(1))
        let id = try #require(try pair.client.core?.openStream(.bidirectional))
        try StreamTests.send(pattern(300_000), on: id, from: pair.client)
        try pair.run(until: { pair.server.received[id] != nil })
        let old = pair.serverPath.remote
        pair.serverPath.remote = try SocketAddress(ipAddress: "127.0.0.1", port: 40_001)
        #expect(try pair.run(until: { pair.server.finished.contains(id) }))
        try pair.run(for: .seconds(2))
        #expect(pair.server.received[id] == pattern(300_000))
        let paths = pair.server.events.compactMap { if case .pathChanged(let path) = $0 { path } else { nil } }
        #expect(paths == [pair.serverPath])
        #expect(pair.server.core?.path == pair.serverPath)
        #expect(pair.serverPath.remote != old)
        #expect(pair.client.closeReason == nil)
    }

    @Test("a reader that does not drain loses the oldest datagrams, and no memory")
    func inboundDatagramsAreShed() throws {
        var limits = ConnectionLimits()
        limits.bufferedDatagrams = 2
        let pair = try Pair(serverLimits: limits)
        try pair.establish()
        let core = try #require(pair.client.core)
        var collected: [Pair.Flight] = []
        pair.network = { flight in
            collected.append(flight)
            return nil
        }
        for byte in 0..<5 as Range<UInt8> { _ = try core.sendDatagram(ByteBuffer(bytes: [byte])) }
        try pair.run(for: .milliseconds(1))
        for flight in collected where flight.toServer { try pair.deliver(flight) }
        pair.server.drain()
        #expect(pair.server.datagrams == [[3], [4]])
        #expect(pair.server.core?.statistics().datagramsDropped == 3)
    }

    @Test("statistics start at nothing and count what moves")
    func statistics() throws {
        let pair = try Pair()
        #expect(pair.client.core?.statistics().smoothedRoundTripTime == nil)
        try pair.establish()
        let statistics = try #require(pair.client.core?.statistics())
        #expect(statistics.packetsSent ?? 0 > 0)
        #expect(statistics.packetsReceived ?? 0 > 0)
        #expect(statistics.handshakeDuration != nil)
        #expect(statistics.congestionWindow ?? 0 > 0)
    }
}
