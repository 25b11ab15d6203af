// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernQUICCore

/// What a test of paths looks at.
extension Pair {
    static func address(_ host: String, _ port: Int = 50_000) throws -> SocketAddress {
        try SocketAddress(ipAddress: host, port: port)
    }

    /// A pair whose handshake is confirmed and whose ends have given each other spare connection IDs.
    static func confirmed(
        clientPaths: QUICPathSettings = QUICPathSettings(), serverPaths: QUICPathSettings = QUICPathSettings(),
        addresses: (client: String, server: String) = ("192.0.2.1", "198.51.100.1")
    ) throws -> Pair {
        let pair = try Pair(
            addresses: addresses,
            configure: { client, server in
                client.paths = clientPaths
                server.paths = serverPaths
            })
        try pair.establish()
        try pair.run(for: .milliseconds(200))
        try #require(pair.client.core?.isConfirmed == true)
        return pair
    }

    /// Sends `count` bytes to the server and says whether they came whole.
    func transfers(_ count: Int, within limit: TimeAmount = .seconds(60)) throws -> Bool {
        let id = try #require(try self.client.core?.openStream(.unidirectional))
        let bytes = pattern(count)
        try StreamTests.send(bytes, on: id, from: self.client)
        try self.run(for: limit, until: { self.server.finished.contains(id) })
        return self.server.received[id] == bytes
    }
}

extension End {
    var settled: [(path: QUICPath, outcome: QUICPathOutcome)] {
        self.events.compactMap { if case .pathSettled(let path, let outcome) = $0 { (path, outcome) } else { nil } }
    }

    var changedPaths: [QUICPath] {
        self.events.compactMap { if case .pathChanged(let path) = $0 { path } else { nil } }
    }

    var releasedPaths: [QUICPath] {
        self.events.compactMap { if case .pathReleased(let path) = $0 { path } else { nil } }
    }
}

extension Pair.Flight {
    /// Where a short header says it goes; for datagrams to the server.
    var destination: QUICConnectionID? {
        guard self.toServer, self.bytes.count > QUICConnectionID.serverLength, self.bytes[0] & 0x80 == 0 else {
            return nil
        }
        return QUICConnectionID(self.bytes[1...QUICConnectionID.serverLength])
    }
}

@Suite("Paths of a client")
struct PathTests {
    @Test("a migration takes effect at once, and the peer hears nothing of the old connection ID on the new path")
    func migrates() throws {
        let pair = try Pair.confirmed()
        let core = try #require(pair.client.core)
        let new = try Pair.address("192.0.2.99")
        var destinations: [SocketAddress: Set<QUICConnectionID>] = [:]
        pair.network = { flight in
            if let id = flight.destination { destinations[flight.path!.local, default: []].insert(id) }
            return flight
        }
        #expect(try pair.transfers(10_000))
        try core.migrate(to: new, now: pair.now)
        let sentBefore = destinations[pair.clientPath.local]
        #expect(try pair.transfers(100_000))
        try pair.run(for: .seconds(1))
        let path = QUICPath(local: new, remote: pair.clientPath.remote)
        #expect(core.path == path)
        #expect(pair.client.changedPaths == [path])
        #expect(pair.server.changedPaths == [QUICPath(local: path.remote, remote: new)])
        #expect(pair.client.settled.map(\.path) == [path])
        // There and back, 5 ms each.
        #expect(pair.client.settled.map(\.outcome) == [.validated(after: .milliseconds(10))])
        #expect(destinations[pair.clientPath.local] == sentBefore, "nothing leaves from the old address any more")
        let old = try #require(destinations[pair.clientPath.local])
        #expect(try #require(destinations[new]).isDisjoint(with: old))
        #expect(!core.uses(pair.clientPath.local))
    }

    @Test("a probe measures another path while everything stays where it is")
    func probes() throws {
        let pair = try Pair.confirmed()
        let core = try #require(pair.client.core)
        let other = try Pair.address("192.0.2.99")
        var sizes: [SocketAddress: [Int]] = [:]
        pair.network = { flight in
            if flight.toServer { sizes[flight.path!.local, default: []].append(flight.bytes.count) }
            var flight = flight
            if flight.path?.local == other || flight.path?.remote == other {
                flight.arrives = flight.arrives + .milliseconds(20)
            }
            return flight
        }
        try core.probe(from: other, now: pair.now)
        #expect(try pair.transfers(500_000))
        try pair.run(for: .seconds(1))
        #expect(pair.client.settled.map(\.path) == [QUICPath(local: other, remote: pair.clientPath.remote)])
        #expect(pair.client.settled.map(\.outcome) == [.validated(after: .milliseconds(50))])
        #expect(core.path == pair.clientPath)
        #expect(pair.client.changedPaths.isEmpty)
        #expect(pair.server.changedPaths.isEmpty)
        #expect(pair.server.core?.path == pair.serverPath)
        #expect(core.uses(other))
        // Padded challenges and nothing else.
        #expect(try #require(sizes[other]).allSatisfy { $0 == 1200 })
        #expect(try #require(sizes[other]).count <= 8)
        try pair.run(for: .seconds(20))
        #expect(pair.client.releasedPaths.map(\.local) == [other])
        #expect(!core.uses(other))
        #expect(core.path == pair.clientPath)
        #expect(try pair.transfers(10_000))
        // A probed path can be taken.
        try core.migrate(to: other, now: pair.now)
        #expect(try pair.transfers(10_000))
        try pair.run(for: .seconds(1))
        #expect(core.path.local == other)
    }

    @Test("a probe to nowhere fails, and the connection does not notice")
    func probeFails() throws {
        let pair = try Pair.confirmed()
        let core = try #require(pair.client.core)
        let dead = try Pair.address("192.0.2.99")
        pair.network = { $0.path?.local == dead ? nil : $0 }
        let start = pair.now
        try core.probe(from: dead, now: pair.now)
        #expect(try pair.transfers(100_000, within: .seconds(2)))
        try pair.run(for: .seconds(20), until: { !pair.client.settled.isEmpty })
        #expect(pair.client.settled.map(\.outcome) == [.failed])
        #expect(pair.now - start < .seconds(8))
        #expect(core.path == pair.clientPath)
        #expect(try pair.transfers(10_000))
    }

    @Test("a migration while a probe lingers, and a probe that replaces another")
    func probesAndMigrations() throws {
        let pair = try Pair.confirmed()
        let core = try #require(pair.client.core)
        let first = try Pair.address("192.0.2.98")
        let second = try Pair.address("192.0.2.99")
        try core.probe(from: first, now: pair.now)
        try core.probe(from: second, now: pair.now)
        try pair.run(for: .seconds(1))
        #expect(pair.client.settled.map(\.path.local) == [first, second])
        #expect(pair.client.settled.first?.outcome == .abandoned)
        try core.migrate(to: first, now: pair.now)
        let error = #expect(throws: TransportError.self) { try core.probe(from: second, now: pair.now) }
        #expect(error?.code == .misuse)
        #expect(try pair.transfers(10_000))
        try pair.run(for: .seconds(1))
        #expect(core.path.local == first)
        #expect(pair.client.releasedPaths.map(\.local) == [second])
    }

    @Test("when the new address is dead the connection goes back, and lives")
    func goesBack() throws {
        let pair = try Pair.confirmed()
        let core = try #require(pair.client.core)
        let dead = try Pair.address("192.0.2.99")
        pair.network = { $0.path?.local == dead || $0.path?.remote == dead ? nil : $0 }
        let start = pair.now
        try core.migrate(to: dead, now: pair.now)
        #expect(try pair.transfers(100_000))
        #expect(pair.now - start < .seconds(12))
        try pair.run(for: .seconds(2))
        #expect(pair.client.settled.map(\.outcome) == [.failed])
        #expect(core.path == pair.clientPath)
        #expect(!core.uses(dead))
        #expect(pair.client.changedPaths.isEmpty)
        #expect(pair.client.closeReason == nil)
        // And it can still move.
        let alive = try Pair.address("192.0.2.100")
        try core.migrate(to: alive, now: pair.now)
        #expect(try pair.transfers(10_000))
        try pair.run(for: .seconds(1))
        #expect(core.path.local == alive)
    }

    @Test("a new address that only sends: the server hears it, and both come back")
    func halfDead() throws {
        let pair = try Pair.confirmed()
        let core = try #require(pair.client.core)
        let deaf = try Pair.address("192.0.2.99")
        pair.network = { $0.path?.remote == deaf ? nil : $0 }
        try core.migrate(to: deaf, now: pair.now)
        #expect(try pair.transfers(100_000))
        try pair.run(for: .seconds(10))
        #expect(core.path == pair.clientPath)
        #expect(pair.server.core?.path == pair.serverPath)
        #expect(pair.server.closeReason == nil)
    }

    @Test("two migrations in a row: the first is abandoned")
    func twoInARow() throws {
        let pair = try Pair.confirmed()
        let core = try #require(pair.client.core)
        let first = try Pair.address("192.0.2.98")
        let second = try Pair.address("192.0.2.99")
        try core.migrate(to: first, now: pair.now)
        try core.migrate(to: second, now: pair.now)
        #expect(try pair.transfers(100_000))
        try pair.run(for: .seconds(1))
        #expect(pair.client.settled.map(\.path.local) == [first, second])
        #expect(pair.client.settled.first?.outcome == .abandoned)
        #expect(core.path.local == second)
    }

    @Test("migrations under 20 percent loss, during a transfer", arguments: 1...8 as ClosedRange<UInt64>)
    func underLoss(seed: UInt64) throws {
        let pair = try Pair.confirmed()
        let core = try #require(pair.client.core)
        var generator = SeededGenerator(seed: seed)
        pair.network = { Int.random(in: 0..<5, using: &generator) == 0 ? nil : $0 }
        let id = try #require(try core.openStream(.unidirectional))
        let bytes = pattern(300_000)
        try StreamTests.send(bytes, on: id, from: pair.client)
        for step in 1...4 {
            try pair.run(for: .milliseconds(100))
            try core.migrate(to: try Pair.address("192.0.2.\(100 + step)"), now: pair.now)
            let settled = pair.client.settled.count
            #expect(try pair.run(for: .seconds(30), until: { pair.client.settled.count > settled }))
        }
        #expect(try pair.run(for: .seconds(100), until: { pair.server.finished.contains(id) }))
        let isWhole = pair.server.received[id] == bytes
        #expect(isWhole)
        #expect(pair.client.closeReason == nil)
        #expect(pair.client.settled.count == 4)
    }

    @Test("fifty migrations leave no connection ID behind, and no two paths share one")
    func fiftyMigrations() throws {
        let pair = try Pair.confirmed()
        let core = try #require(pair.client.core)
        var destinations: [SocketAddress: Set<QUICConnectionID>] = [:]
        pair.network = { flight in
            if let id = flight.destination { destinations[flight.path!.local, default: []].insert(id) }
            return flight
        }
        for port in 50_001...50_050 {
            try core.migrate(to: try Pair.address("192.0.2.1", port), now: pair.now)
            #expect(try pair.transfers(2_000))
            try pair.run(for: .milliseconds(100))
            #expect(core.path.local.port == port)
        }
        // Retired ones are kept for a moment.
        try pair.run(for: .seconds(5))
        let count = try #require(pair.server.core).connectionIDs.count
        #expect(count <= 9, "\(count) connection IDs")
        #expect(core.connectionIDs.count <= 9)
        var seen: Set<QUICConnectionID> = []
        for ids in destinations.values {
            #expect(seen.isDisjoint(with: ids))
            seen.formUnion(ids)
        }
        #expect(destinations.count >= 50)
    }

    // MARK: Misuse

    @Test("what forbids a migration")
    func misuse() throws {
        let new = try Pair.address("192.0.2.99")
        func expectMisuse(_ core: QUICConnectionCore?, to local: SocketAddress, at now: NIODeadline) {
            for probes in [true, false] {
                let error = #expect(throws: TransportError.self) {
                    try probes ? core?.probe(from: local, now: now) : core?.migrate(to: local, now: now)
                }
                #expect(error?.code == .misuse)
            }
        }
        let early = try Pair()
        expectMisuse(early.client.core, to: new, at: early.now)
        let pair = try Pair.confirmed()
        expectMisuse(pair.server.core, to: new, at: pair.now)
        expectMisuse(pair.client.core, to: try Pair.address("2001:db8::1"), at: pair.now)
        expectMisuse(pair.client.core, to: pair.clientPath.local, at: pair.now)
        #expect(pair.client.core?.path == pair.clientPath)
        var settings = QUICPathSettings()
        settings.forbidsMigration = true
        let fixed = try Pair.confirmed(serverPaths: settings)
        expectMisuse(fixed.client.core, to: new, at: fixed.now)
        #expect(try fixed.transfers(1_000))
        pair.client.core?.close(code: 0, reason: "")
        let error = #expect(throws: TransportError.self) { try pair.client.core?.migrate(to: new, now: pair.now) }
        #expect(error?.code == .application)
    }

    @Test("without a spare connection ID there is no migration; the peer's next ones allow it again")
    func noSpareConnectionID() throws {
        let pair = try Pair.confirmed()
        let core = try #require(pair.client.core)
        var moves = 0
        let error = #expect(throws: TransportError.self) {
            for port in 50_001...50_020 {
                try core.migrate(to: try Pair.address("192.0.2.1", port), now: pair.now)
                moves += 1
            }
        }
        #expect(error?.code == .misuse)
        #expect(moves == 7)
        #expect(try pair.transfers(10_000))
        try pair.run(for: .seconds(1))
        try core.migrate(to: try Pair.address("192.0.2.1", 50_100), now: pair.now)
        #expect(try pair.transfers(10_000))
    }
}
