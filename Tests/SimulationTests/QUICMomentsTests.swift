// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import SimulationSupport
import TernQUICCore
import TernTesting
import TernTransport
import Testing

/// Single properties, each in a network made for it.
@Suite("QUIC: moments on simulated networks")
struct QUICMomentsTests {
    @Test("An urgent message passes megabytes of background, whatever the queue of the bottleneck", arguments: [1, 2])
    func urgency(seed: UInt64) throws {
        var conditions = NetworkConditions()
        conditions.delay = .milliseconds(20)
        conditions.rate = 500_000
        conditions.queueSize = 20_000
        var limits = ConnectionLimits()
        limits.writeHighWatermark = 8 << 20
        let pair = try SimulatedQUICPair(seed: seed, conditions: conditions, clientLimits: limits)
        try self.establish(pair)
        let background = try #require(try pair.client.openStream(.unidirectional))
        pair.client.setPriority(.background, of: background)
        _ = try pair.client.write(ByteBuffer(repeating: 1, count: 4 << 20), to: background, finish: true)
        var received: [StreamID: Int] = [:]
        var finished: [StreamID: NIODeadline] = [:]
        func listen() {
            while let fact = pair.server?.nextFact() {
                guard case .received(let id, let bytes, let isFinished) = fact else { continue }
                received[id, default: 0] += bytes.readableBytes
                pair.server?.take(bytes.readableBytes, of: id)
                if isFinished { finished[id] = pair.now }
            }
            while pair.client.nextFact() != nil {}
        }
        try pair.run(for: .seconds(2)) {
            listen()
            return false
        }
        #expect(received[background, default: 0] > 200_000)

        let urgent = try #require(try pair.client.openStream(.unidirectional))
        pair.client.setPriority(.highest, of: urgent)
        let written = pair.now
        _ = try pair.client.write(ByteBuffer(repeating: 2, count: 20_000), to: urgent, finish: true)
        try pair.run(for: .seconds(60)) {
            listen()
            return finished[urgent] != nil
        }
        let arrived = try #require(finished[urgent])
        // 20 kB take 40 ms, what waits before it in the bottleneck another 40, the way 20; the rest is room for a loss.
        #expect(arrived - written < .milliseconds(400), "it took \(arrived - written)")
        #expect(finished[background] == nil)
        try pair.run(for: .seconds(120)) {
            listen()
            return finished[background] != nil
        }
        #expect(received[background] == 4 << 20)
    }

    @Test("When nothing passes any more, both ends end at their idle timeout, and not before")
    func idleTimeout() throws {
        var limits = ConnectionLimits()
        limits.idleTimeout = .seconds(5)
        limits.keepAliveInterval = .seconds(1)
        let pair = try SimulatedQUICPair(seed: 5, clientLimits: limits, serverLimits: limits)
        try self.establish(pair)
        try pair.run(for: .seconds(30))
        #expect(self.ending(of: pair.client) == nil)
        pair.network.setDown(true)
        let start = pair.now
        try pair.run(for: .seconds(3))
        #expect(self.ending(of: pair.client) == nil)
        try pair.run(for: .seconds(60)) { pair.client.isFinished && pair.server?.isFinished == true }
        #expect(pair.now - start < .seconds(12))
        #expect(self.ending(of: pair.client)?.code == .idleTimeout)
        #expect(pair.server.flatMap { self.ending(of: $0) }?.code == .idleTimeout)
    }

    @Test("A handshake that gets no answer ends in time; one through heavy loss succeeds")
    func handshake() throws {
        var conditions = NetworkConditions()
        conditions.isDown = true
        let silent = try SimulatedQUICPair(seed: 6, conditions: conditions)
        try silent.run(for: .seconds(11))
        #expect(self.ending(of: silent.client)?.code == .timedOut)
        var succeeded = 0
        for seed in 10..<16 as Range<UInt64> {
            var conditions = NetworkConditions()
            conditions.loss = 0.3
            var limits = ConnectionLimits()
            limits.handshakeTimeout = .seconds(60)
            let pair = try SimulatedQUICPair(
                seed: seed, conditions: conditions, clientLimits: limits, serverLimits: limits)
            if try pair.run(for: .seconds(60), until: { pair.client.isEstablished }) { succeeded += 1 }
        }
        #expect(succeeded == 6)
    }

    @Test("Decisions of the network depend on the seed alone")
    func reproducible() throws {
        func transcript(seed: UInt64) throws -> [String] {
            var conditions = NetworkConditions()
            (conditions.loss, conditions.duplication, conditions.corruption) = (0.1, 0.1, 0.1)
            (conditions.jitter, conditions.rate) = (.milliseconds(9), 100_000)
            var network = SimulatedNetwork(
                seed: seed, inside: try SocketAddress(ipAddress: "192.0.2.1", port: 1), conditions: conditions)
            let world = try SocketAddress(ipAddress: "198.51.100.1", port: 2)
            var now = ManualClock()
            var lines: [String] = []
            for size in 1...300 {
                network.send(
                    SimulatedDatagram(
                        source: network.inside, destination: world, bytes: ByteBuffer(repeating: 7, count: size)),
                    now: now.now)
                now.advance(by: .milliseconds(1))
                for datagram in network.arrivals(upTo: now.now) {
                    lines.append("\(now.now) \(Array(datagram.bytes.readableBytesView))")
                }
            }
            return lines
        }
        #expect(try transcript(seed: 3) == transcript(seed: 3))
        #expect(try transcript(seed: 3) != transcript(seed: 4))
        #expect(try transcript(seed: 3).count > 100)
    }

    @Test("Datagrams that were lost in an outage do not hold up what comes after it", arguments: [true, false])
    func datagramsBeforeAnOutage(keepsAlive: Bool) throws {
        var limits = ConnectionLimits()
        if !keepsAlive { limits.keepAliveInterval = nil }
        let pair = try SimulatedQUICPair(seed: 9, clientLimits: limits)
        try self.establish(pair)
        pair.network.setDown(true)
        // Small ones at the end fill the congestion window to its last bytes.
        for index in 0..<500 {
            _ = try pair.client.sendDatagram(ByteBuffer(repeating: 1, count: index < 5 ? 1000 : 20))
            try pair.run(for: .milliseconds(2))
        }
        pair.network.setDown(false)
        let stream = try #require(try pair.client.openStream(.unidirectional))
        _ = try pair.client.write(ByteBuffer(repeating: 2, count: 30_000), to: stream, finish: true)
        var isFinished = false
        try pair.run(for: .seconds(8)) {
            while let fact = pair.server?.nextFact() {
                if case .received(stream, _, finished: true) = fact { isFinished = true }
            }
            return isFinished
        }
        #expect(isFinished)
    }

    /// The keep-alive stands in for the probe timeout of datagrams; its packets count as in flight like theirs.
    @Test("A long outage after a single datagram ends when the network is back", arguments: [5, 12, 25])
    func longOutageAfterADatagram(seconds: Int64) throws {
        let pair = try SimulatedQUICPair(seed: 9)
        try self.establish(pair)
        pair.network.setDown(true)
        _ = try pair.client.sendDatagram(ByteBuffer(string: "lost"))
        var sent = 0
        pair.onDatagram = { if $0.source == pair.network.inside { sent += 1 } }
        try pair.run(for: .seconds(seconds))
        #expect((3...30).contains(sent))
        pair.network.setDown(false)
        let stream = try #require(try pair.client.openStream(.unidirectional))
        _ = try pair.client.write(ByteBuffer(repeating: 2, count: 30_000), to: stream, finish: true)
        let start = pair.now
        var isFinished = false
        try pair.run(for: .seconds(4)) {
            while let fact = pair.server?.nextFact() {
                if case .received(stream, _, finished: true) = fact { isFinished = true }
            }
            return isFinished
        }
        #expect(isFinished)
        #expect(pair.now - start < .seconds(2))
    }

    /// ngtcp2 0.12 would forget such a stream, so that nothing could be sent in the other direction any more.
    @Test(
        "A bidirectional stream that is reset before the peer has heard of it is closed at both ends",
        arguments: [0, 3000], [true, false])
    func resetBeforeKnown(written: Int, stops: Bool) throws {
        let pair = try SimulatedQUICPair(seed: 8)
        try self.establish(pair)
        let id = try #require(try pair.client.openStream(.bidirectional))
        if written > 0 {
            // It is lost, and what was reset is not sent again.
            pair.network.setDown(true)
            _ = try pair.client.write(ByteBuffer(repeating: 1, count: written), to: id, finish: false)
            try pair.run(for: .milliseconds(1))
            pair.network.setDown(false)
        }
        pair.client.reset(id, code: 3)
        if stops { pair.client.stopSending(id, code: 4) }
        var closed: Set<ConnectionRole> = []
        var facts: [String] = []
        try pair.run(for: .seconds(10)) {
            while let fact = pair.client.nextFact() {
                if case .closed(id) = fact { closed.insert(.client) }
                if case .received(id, let bytes, _) = fact { pair.client.take(bytes.readableBytes, of: id) }
            }
            while let fact = pair.server?.nextFact() {
                switch fact {
                case .opened(id): facts.append("opened")
                case .wasReset(id, code: 3):
                    facts.append("reset")
                    if !stops { _ = try? pair.server?.write(ByteBuffer(string: "answer"), to: id, finish: true) }
                case .received(id, _, _): facts.append("received")
                case .closed(id): closed.insert(.server)
                default: break
                }
            }
            return closed.count == 2
        }
        #expect(closed == [.client, .server])
        #expect(facts == ["opened", "reset"])
    }

    private func establish(_ pair: SimulatedQUICPair) throws {
        #expect(try pair.run(for: .seconds(5)) { pair.client.isConfirmed && pair.server?.isConfirmed == true })
    }

    private func ending(of core: QUICConnectionCore) -> TransportError? {
        var reason: TransportError?
        while let fact = core.nextFact() { if case .ended(let error) = fact { reason = error } }
        return reason
    }
}
