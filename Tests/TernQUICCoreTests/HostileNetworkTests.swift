// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernQUICCore

@Suite("Hostile network")
struct HostileNetworkTests {
    @Test("10 % loss and reordering change nothing about the bytes", arguments: [1, 2, 3] as [UInt64])
    func loss(seed: UInt64) throws {
        let pair = try Pair()
        var random = SeededGenerator(seed: seed)
        pair.network = { flight in
            if random.next() % 10 == 0 { return nil }
            var flight = flight
            if random.next() % 5 == 0 { flight.arrives = flight.arrives + .milliseconds(Int64(random.next() % 20)) }
            return flight
        }
        try pair.run(for: .seconds(10), until: { pair.client.isEstablished && pair.server.isEstablished })
        let id = try #require(try pair.client.core?.openStream(.bidirectional))
        let bytes = pattern(1_000_000, seed: Int(seed))
        try StreamTests.send(bytes, on: id, from: pair.client)
        #expect(try pair.run(for: .seconds(300), until: { pair.server.finished.contains(id) }))
        #expect(pair.server.received[id] == bytes)
        #expect(pair.client.closeReason == nil)
    }

    @Test("corrupted and truncated packets are dropped, and the transfer ends well", arguments: [4, 5] as [UInt64])
    func corruption(seed: UInt64) throws {
        let pair = try Pair()
        var random = SeededGenerator(seed: seed)
        pair.network = { flight in
            var flight = flight
            switch random.next() % 20 {
            case 0:
                let position = Int(random.next() % UInt64(flight.bytes.count))
                flight.bytes[position] ^= UInt8(truncatingIfNeeded: random.next() | 1)
            case 1: flight.bytes.removeLast(Int(random.next() % UInt64(flight.bytes.count)))
            default: break
            }
            return flight
        }
        try pair.run(for: .seconds(10), until: { pair.client.isEstablished && pair.server.isEstablished })
        let id = try #require(try pair.client.core?.openStream(.unidirectional))
        let bytes = pattern(500_000)
        try StreamTests.send(bytes, on: id, from: pair.client)
        #expect(try pair.run(for: .seconds(300), until: { pair.server.finished.contains(id) }))
        #expect(pair.server.received[id] == bytes)
    }

    @Test("random datagrams, at every moment of a connection, do no harm")
    func randomBytes() throws {
        let pair = try Pair()
        var random = SeededGenerator(seed: 99)
        func noise() -> [UInt8] {
            var bytes = (0..<Int(random.next() % 1500)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            // Every other one looks more like QUIC: the fixed bit, version 1 and a connection ID that exists.
            if bytes.count > 40, random.next() % 2 == 0 {
                bytes[0] = 0x40 | (bytes[0] & 0xbf)
                if bytes[0] & 0x80 != 0 {
                    bytes.replaceSubrange(1..<6, with: [0, 0, 0, 1, 18])
                }
                if let id = pair.server.core?.connectionIDs.first {
                    let start = bytes[0] & 0x80 != 0 ? 6 : 1
                    for position in 0..<id.count { bytes[start + position] = id[position] }
                }
            }
            return bytes
        }
        func disturb() throws {
            for _ in 0..<500 {
                for toServer in [true, false] {
                    try pair.deliver(
                        Pair.Flight(arrives: pair.now, toServer: toServer, bytes: noise(), ecn: .notECT))
                }
            }
        }
        try pair.run(until: { pair.server.core != nil })
        try disturb()
        try pair.establish()
        #expect(pair.client.isEstablished)
        try disturb()
        let id = try #require(try pair.client.core?.openStream(.unidirectional))
        try StreamTests.send(pattern(100_000), on: id, from: pair.client)
        try disturb()
        #expect(try pair.run(until: { pair.server.finished.contains(id) }))
        pair.client.core?.close(code: 0, reason: "")
        try disturb()
        try pair.run(for: .seconds(10))
        try disturb()
        #expect(pair.server.closeReason?.code == .application)
    }

    @Test("noise is not an answer")
    func noiseIsNotHeard() throws {
        let pair = try Pair()
        try pair.run(for: .milliseconds(1))
        pair.flights = []
        for count in 1..<200 {
            try pair.deliver(
                Pair.Flight(arrives: pair.now, toServer: false, bytes: pattern(count * 7), ecn: .notECT))
        }
        #expect(pair.client.core?.hasHeardFromPeer == false)
        try pair.run(for: .seconds(5), until: { pair.client.isEstablished })
        #expect(pair.client.core?.hasHeardFromPeer == true)
    }

    @Test("a server that only ever hears a broken Initial does not keep it")
    func brokenInitial() throws {
        let pair = try Pair()
        pair.network = { flight in
            var flight = flight
            if flight.toServer { flight.bytes[flight.bytes.count - 1] ^= 1 }
            return flight
        }
        try pair.run(for: .seconds(40))
        #expect(!pair.server.isEstablished)
        if let server = pair.server.core { #expect(server.isFinished) }
        #expect(pair.client.closeReason?.code == .timedOut)
    }

    @Test("an unknown version is answered with ours, a small one is not")
    func versionNegotiation() throws {
        let pair = try Pair()
        var datagram: [UInt8] = [0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8, 1, 2, 3, 4, 5, 6, 7, 8, 4, 9, 9, 9, 9]
        datagram += Array(repeating: 0, count: 1200 - datagram.count)
        guard case .versionNegotiation(let reply) = datagram.withUnsafeBytes({ pair.endpoint.classify($0) }) else {
            Issue.record("no answer")
            return
        }
        let bytes = Array(reply.readableBytesView)
        #expect(bytes[0] & 0x80 != 0)
        #expect(Array(bytes[1...4]) == [0, 0, 0, 0])
        #expect(Array(bytes[5...9]) == [4, 9, 9, 9, 9])
        #expect(Array(bytes[10...18]) == [8, 1, 2, 3, 4, 5, 6, 7, 8])
        #expect(Array(bytes[19...22]) == [0, 0, 0, 1])
        #expect((bytes.count - 19).isMultiple(of: 4))
        #expect(bytes.count < datagram.count)
        guard case .drop = datagram[0..<1199].withUnsafeBytes({ pair.endpoint.classify($0) }) else {
            Issue.record("a small datagram was answered")
            return
        }
    }

    @Test("a client that hears only other versions fails")
    func versionRefused() throws {
        let pair = try Pair()
        pair.network = { flight in
            guard flight.toServer else { return flight }
            var answer: [UInt8] = [0xc0, 0, 0, 0, 0]
            let destination = Array(flight.bytes[6..<(6 + Int(flight.bytes[5]))])
            let sourceStart = 6 + destination.count
            let source = Array(flight.bytes[(sourceStart + 1)..<(sourceStart + 1 + Int(flight.bytes[sourceStart]))])
            answer += [UInt8(source.count)] + source + [UInt8(destination.count)] + destination
            answer += [0xff, 0, 0, 99]
            return Pair.Flight(arrives: flight.arrives, toServer: false, bytes: answer, ecn: .notECT)
        }
        try pair.run(for: .seconds(20))
        #expect(pair.client.closeReason?.code == .handshakeFailed)
        #expect(pair.client.closeReason?.initiator == .peer)
    }

    /// The smallest packets, such as a keep-alive, too.
    @Test(
        "a server that forgot the connection resets it statelessly, with a smaller packet each time",
        arguments: [1, 1000])
    func statelessReset(size: Int) throws {
        let pair = try Pair()
        try pair.establish()
        try pair.run(for: .seconds(1))
        // The server's process was replaced: same secret, no connections.
        pair.server.core = nil
        var resets = 0
        pair.network = { [endpoint = pair.endpoint] flight in
            guard flight.toServer else { return flight }
            var reset = [UInt8](repeating: 0, count: 1452)
            let count = flight.bytes.withUnsafeBytes { trigger in
                reset.withUnsafeMutableBytes { endpoint.statelessReset(for: trigger, into: $0) }
            }
            guard count > 0 else { return nil }
            resets += 1
            if size == 1 { #expect(flight.bytes.count < 43) }
            #expect(count < flight.bytes.count)
            #expect(count >= 21)
            return Pair.Flight(arrives: flight.arrives, toServer: false, bytes: Array(reset[0..<count]), ecn: .notECT)
        }
        let id = try #require(try pair.client.core?.openStream(.unidirectional))
        _ = try pair.client.core?.write(ByteBuffer(bytes: pattern(size)), to: id, finish: true)
        try pair.run(for: .seconds(5), until: { pair.client.closeReason != nil })
        #expect(resets == 1)
        #expect(pair.client.closeReason?.code == .carrierLost)
        #expect(pair.client.closeReason?.initiator == .peer)
    }

    @Test("a short header is one only if the whole connection ID is there")
    func classifiesShortHeaders() {
        let endpoint = QUICEndpointCore(
            connectionIDs: QUICConnectionIDSource(length: 18, resetSecret: QUICResetSecret()))
        for count in 0..<60 {
            let bytes = [UInt8](repeating: 0x45, count: count)
            let classification = bytes.withUnsafeBytes { endpoint.classify($0) }
            if case .existing(let id, let initial, let isShort) = classification {
                #expect(isShort)
                #expect(initial == nil)
                #expect(id.count == 18)
                #expect(count > 18)
            }
        }
    }
}
