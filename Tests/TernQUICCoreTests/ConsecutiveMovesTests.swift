// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernQUICCore

/// ngtcp2 lets two paths share a connection ID when the client did not know that it moved, and loses count if the client moves
/// on before both are settled.
@Suite("Clients that move again before the server has followed")
struct ConsecutiveMovesTests {
    enum Loss: CaseIterable {
        case none
        /// Half of the client's packets without data: most acknowledgements.
        case ofAcknowledgements
    }

    /// A pair whose network leads to the client's latest addresses only.
    private static func pair(_ loss: Loss, seed: UInt64) throws -> Pair {
        let pair = try Pair.confirmed()
        let first = pair.clientPath.local
        var generator = SeededGenerator(seed: seed)
        pair.network = { [unowned pair] flight in
            if !flight.toServer, flight.path?.remote == first, pair.serverPath.remote != first { return nil }
            if loss == .ofAcknowledgements, flight.toServer, flight.bytes.count < 80, Bool.random(using: &generator) {
                return nil
            }
            return flight
        }
        return pair
    }

    private static func say(_ text: String, _ pair: Pair) throws {
        _ = try pair.client.core?.sendDatagram(ByteBuffer(string: text))
    }

    private static func expectHealthy(_ pair: Pair, at address: SocketAddress) throws {
        #expect(try pair.transfers(20_000))
        try pair.run(for: .seconds(20))
        #expect(try pair.transfers(20_000))
        try pair.run(for: .seconds(20))
        #expect(pair.server.closeReason == nil)
        #expect(pair.client.closeReason == nil)
        #expect(pair.server.core?.path.remote == address)
        #expect(pair.server.core?.path.local == pair.serverPath.local)
    }

    /// The first pauses are shorter than the validation of the rebound address, the others than that of the old one.
    @Test(
        "rebound, then migrating", arguments: [1, 6, 10, 15, 20, 40, 60, 200, 1000] as [Int64], Loss.allCases)
    func reboundThenMigrating(pause: Int64, loss: Loss) throws {
        for host in ["192.0.2.1", "203.0.113.9"] {
            let pair = try Self.pair(loss, seed: UInt64(pause))
            pair.serverPath.remote = try Pair.address(host, 41_000)
            try Self.say("rebound", pair)
            try pair.run(for: .milliseconds(pause))
            let new = try Pair.address("192.0.2.77")
            try pair.client.core?.migrate(to: new, now: pair.now)
            try Self.expectHealthy(pair, at: new)
        }
    }

    @Test("rebound twice, then migrating twice", arguments: [6, 15, 40, 200] as [Int64], Loss.allCases)
    func reboundTwice(pause: Int64, loss: Loss) throws {
        let pair = try Self.pair(loss, seed: UInt64(pause))
        for port in [41_000, 42_000] {
            pair.serverPath.remote = try Pair.address("203.0.113.9", port)
            try Self.say("rebound", pair)
            try pair.run(for: .milliseconds(pause))
        }
        for host in ["192.0.2.77", "192.0.2.78"] {
            try pair.client.core?.migrate(to: try Pair.address(host), now: pair.now)
            try Self.say("moved", pair)
            try pair.run(for: .milliseconds(pause))
        }
        try Self.expectHealthy(pair, at: try Pair.address("192.0.2.78"))
    }

    @Test("migrating, then rebound there", arguments: [1, 6, 15, 40, 200] as [Int64], Loss.allCases)
    func migratingThenRebound(pause: Int64, loss: Loss) throws {
        let pair = try Self.pair(loss, seed: UInt64(pause))
        let network = try #require(pair.network)
        let new = try Pair.address("192.0.2.77")
        var seen = new
        pair.network = { flight in
            guard var flight = network(flight) else { return nil }
            if flight.toServer, flight.path?.local == new { flight.path?.local = seen }
            guard !flight.toServer else { return flight }
            if flight.path?.remote == seen {
                flight.path?.remote = new
            } else if flight.path?.remote == new {
                return nil
            }
            return flight
        }
        try pair.client.core?.migrate(to: new, now: pair.now)
        try Self.say("moved", pair)
        try pair.run(for: .milliseconds(pause))
        for port in 43_000..<43_004 {
            seen = try Pair.address("192.0.2.77", port)
            try Self.say("rebound", pair)
            try pair.run(for: .milliseconds(pause))
        }
        try Self.expectHealthy(pair, at: seen)
    }

    @Test("sixty addresses, and back at old ones", arguments: [1, 2, 3, 4, 5, 6, 7, 8] as [UInt64])
    func anywhere(seed: UInt64) throws {
        let pair = try Self.pair(.ofAcknowledgements, seed: seed)
        let network = try #require(pair.network)
        var generator = SeededGenerator(seed: seed)
        var local = pair.clientPath.local
        var seen = local
        pair.network = { flight in
            guard var flight = network(flight), let path = flight.path else { return nil }
            if flight.toServer {
                if path.local == local { flight.path?.local = seen }
                return flight
            }
            guard path.remote == seen else { return nil }
            flight.path?.remote = local
            return flight
        }
        for step in 0..<60 {
            if Int.random(in: 0..<4, using: &generator) == 0 {
                let new = try Pair.address("192.0.2.9", 45_000 + step)
                // There may be no connection ID to spare just now.
                guard (try? pair.client.core?.migrate(to: new, now: pair.now)) != nil else { continue }
                local = new
                seen = new
            } else {
                seen = try Pair.address("203.0.113.9", 41_000 + Int.random(in: 0..<20, using: &generator))
            }
            try Self.say("here", pair)
            try pair.run(for: .milliseconds(Int64.random(in: 11...120, using: &generator)))
        }
        #expect(try pair.transfers(20_000))
        try pair.run(for: .seconds(20))
        #expect(try pair.transfers(20_000))
        #expect(pair.server.closeReason == nil)
        #expect(pair.client.closeReason == nil)
        #expect(pair.server.core?.path.remote == seen)
    }

    /// ngtcp2 ended the process when the old address was given up.
    @Test("a client that acknowledges no RETIRE_CONNECTION_ID does not end the process")
    func withheldAcknowledgements() async {
        await #expect(processExitsWith: .success) {
            for pause in [6, 40, 200] as [Int64] { try ConsecutiveMovesTests.withholdAcknowledgements(pause: pause) }
        }
    }

    private static func withholdAcknowledgements(pause: Int64) throws {
        let pair = try Pair.confirmed()
        // The first full datagram to an address is a PATH_CHALLENGE and nothing else; the client gets to see no other.
        var challenged: Set<SocketAddress> = []
        pair.network = { flight in
            guard !flight.toServer, let remote = flight.path?.remote else { return flight }
            return flight.bytes.count == 1200 && challenged.insert(remote).inserted ? flight : nil
        }
        func shout() throws {
            for _ in 0..<2 { _ = try pair.client.core?.sendDatagram(ByteBuffer(repeating: 7, count: 1000)) }
        }
        pair.serverPath.remote = try Pair.address("203.0.113.9", 41_000)
        try shout()
        try pair.run(for: .milliseconds(pause))
        try pair.client.core?.migrate(to: try Pair.address("192.0.2.77"), now: pair.now)
        for _ in 0..<20 {
            try shout()
            try pair.run(for: .seconds(1))
        }
    }
}
