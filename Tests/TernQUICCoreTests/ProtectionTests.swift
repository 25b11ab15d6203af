// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernQUICCore

/// What ends a connection, and what must not.
@Suite("Resets, keys and silence")
struct ProtectionTests {
    @Test("a stateless reset that another secret made, or for another connection, is noise")
    func forgedReset() throws {
        let pair = try Pair()
        try pair.establish()
        try pair.run(for: .seconds(1))
        let others = QUICEndpointCore(
            connectionIDs: QUICConnectionIDSource(
                length: QUICConnectionID.serverLength,
                resetSecret: QUICResetSecret(bytes: Array(repeating: 8, count: 32)))
        )
        var forged = 0
        func forge(_ trigger: [UInt8], by endpoint: QUICEndpointCore) throws {
            var reset = [UInt8](repeating: 0, count: 1452)
            let count = trigger.withUnsafeBytes { trigger in
                reset.withUnsafeMutableBytes { endpoint.statelessReset(for: trigger, into: $0) }
            }
            guard count > 0 else { return }
            forged += 1
            try pair.deliver(
                Pair.Flight(arrives: pair.now, toServer: false, bytes: Array(reset[0..<count]), ecn: .notECT))
        }
        var triggers: [[UInt8]] = []
        pair.network = { flight in
            if flight.toServer { triggers.append(flight.bytes) }
            return flight
        }
        let id = try #require(try pair.client.core?.openStream(.unidirectional))
        try StreamTests.send(pattern(100_000), on: id, from: pair.client)
        try pair.run(for: .milliseconds(7))
        #expect(!triggers.isEmpty)
        for trigger in triggers {
            try forge(trigger, by: others)
            // The right secret, but a connection ID that is not the client's.
            var other = trigger
            other[5] ^= 1
            try forge(other, by: pair.endpoint)
        }
        #expect(forged >= 2)
        #expect(try pair.run(until: { pair.server.finished.contains(id) }))
        #expect(pair.client.closeReason == nil && pair.server.closeReason == nil)
    }

    @Test("packets of old keys that come late are read or dropped, and no byte is lost", arguments: [1, 2] as [UInt64])
    func keysAndReordering(seed: UInt64) throws {
        let pair = try Pair()
        try pair.establish()
        try pair.run(for: .milliseconds(200))
        var random = SeededGenerator(seed: seed)
        pair.network = { flight in
            if random.next() % 50 == 0 { return nil }
            var flight = flight
            flight.arrives = flight.arrives + .milliseconds(Int64(random.next() % 20))
            return flight
        }
        let id = try #require(try pair.client.core?.openStream(.unidirectional))
        let bytes = pattern(1_500_000)
        try StreamTests.send(bytes, on: id, from: pair.client)
        var updates = 0
        for _ in 0..<400 where !pair.server.finished.contains(id) {
            try pair.run(for: .milliseconds(50))
            let end = updates.isMultiple(of: 2) ? pair.client : pair.server
            if (try? end.core?.updateKeys(now: pair.now)) != nil { updates += 1 }
        }
        #expect(updates >= 2)
        #expect(try pair.run(for: .seconds(100), until: { pair.server.finished.contains(id) }))
        let isWhole = pair.server.received[id] == bytes
        #expect(isWhole)
        #expect(pair.client.closeReason == nil && pair.server.closeReason == nil)
    }

    @Test("the keep-alive of one end keeps both", arguments: [true, false])
    func oneKeepsAlive(client: Bool) throws {
        var silent = ConnectionLimits()
        silent.idleTimeout = .seconds(5)
        silent.keepAliveInterval = nil
        var lively = silent
        lively.keepAliveInterval = .seconds(2)
        let pair = try Pair(clientLimits: client ? lively : silent, serverLimits: client ? silent : lively)
        try pair.establish()
        try pair.run(for: .seconds(1))
        var datagrams = 0
        pair.network = { flight in
            datagrams += 1
            return flight
        }
        try pair.run(for: .seconds(60))
        #expect(pair.client.closeReason == nil && pair.server.closeReason == nil)
        #expect((30...150).contains(datagrams), "a PING and its acknowledgement each two seconds")
    }

    @Test("traffic puts the idle timeout off, and its end starts it")
    func trafficIsNotIdle() throws {
        var limits = ConnectionLimits()
        limits.idleTimeout = .seconds(5)
        limits.keepAliveInterval = nil
        let pair = try Pair(clientLimits: limits, serverLimits: limits)
        try pair.establish()
        for byte in 0..<10 as Range<UInt8> {
            try pair.run(for: .seconds(4))
            #expect(try pair.client.core?.sendDatagram(ByteBuffer(bytes: [byte])) == .accepted)
        }
        try pair.run(for: .seconds(1))
        #expect(pair.server.datagrams.count == 10)
        #expect(pair.client.closeReason == nil && pair.server.closeReason == nil)
        let start = pair.now
        try pair.run(for: .seconds(60), until: { pair.client.closeReason != nil && pair.server.closeReason != nil })
        #expect(pair.client.closeReason?.code == .idleTimeout)
        #expect(pair.server.closeReason?.code == .idleTimeout)
        #expect(pair.now - start < .seconds(8))
    }

    @Test("without an idle timeout a silent connection lives, and still speaks")
    func noIdleTimeout() throws {
        var limits = ConnectionLimits()
        limits.idleTimeout = nil
        limits.keepAliveInterval = nil
        let pair = try Pair(clientLimits: limits, serverLimits: limits)
        try pair.establish()
        try pair.run(for: .hours(2))
        #expect(pair.client.closeReason == nil && pair.server.closeReason == nil)
        let id = try #require(try pair.client.core?.openStream(.unidirectional))
        _ = try pair.client.core?.write(ByteBuffer(string: "still here"), to: id, finish: true)
        #expect(try pair.run(for: .seconds(1), until: { pair.server.finished.contains(id) }))
    }
}
