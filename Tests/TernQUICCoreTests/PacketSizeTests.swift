// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernQUICCore

@Suite("Packet sizes inside a host")
struct PacketSizeTests {
    private static let loopback = (client: "127.0.0.1", server: "127.0.0.1")

    /// Sends a megabyte to the server over a network that drops datagrams of more than `maximum` bytes.
    private func transfer(
        _ count: Int = 1_000_000, maximum: @escaping () -> Int, over pair: Pair
    ) throws -> (sizes: [Int], lost: [Int]) {
        var sizes: [Int] = []
        var lost: [Int] = []
        pair.network = { flight in
            sizes.append(flight.bytes.count)
            guard flight.bytes.count <= maximum() else {
                lost.append(flight.bytes.count)
                return nil
            }
            return flight
        }
        if !pair.client.isEstablished { try pair.establish() }
        let id = try #require(try pair.client.core?.openStream(.unidirectional))
        let bytes = pattern(count)
        try StreamTests.send(bytes, on: id, from: pair.client)
        #expect(try pair.run(for: .seconds(100), until: { pair.server.finished.contains(id) }))
        // Not compared by the macro, which would print a million numbers.
        let isWhole = pair.server.received[id] == bytes
        #expect(isWhole)
        return (sizes, lost)
    }

    @Test("packets grow to 16 KiB when one of that size has arrived")
    func grows() throws {
        let pair = try Pair(addresses: Self.loopback)
        let (sizes, lost) = try self.transfer(maximum: { 65_535 }, over: pair)
        #expect(lost.isEmpty)
        #expect(sizes.max() == 16_384)
        #expect(sizes.filter { $0 == 16_384 }.count > 30)
        #expect(pair.client.core?.packetSizes.size == 16_384)
    }

    @Test("a relay that takes no more than 1,500 bytes costs one lost packet", arguments: ["127.0.0.1", "::1"])
    func relay(address: String) throws {
        let pair = try Pair(addresses: (address, address))
        let (sizes, lost) = try self.transfer(maximum: { 1500 }, over: pair)
        #expect(lost == [16_384])
        #expect(sizes.filter { $0 == 1452 }.count > 500)
    }

    @Test("a relay that takes no more than 1,200 bytes is found out, too")
    func narrowRelay() throws {
        let pair = try Pair(addresses: Self.loopback)
        let (sizes, lost) = try self.transfer(maximum: { 1200 }, over: pair)
        #expect(lost == [1452])
        #expect(sizes.filter { $0 == 1200 }.count > 500)
    }

    @Test("when large packets stop to arrive, the transfer goes on with small ones")
    func blackHole() throws {
        let pair = try Pair(addresses: Self.loopback)
        _ = try self.transfer(maximum: { 65_535 }, over: pair)
        let before = pair.now
        let (sizes, lost) = try self.transfer(maximum: { 1300 }, over: pair)
        #expect(!lost.isEmpty)
        #expect(sizes.filter { $0 == 1200 }.count > 500)
        #expect(pair.now - before < .seconds(5))
        #expect(pair.client.closeReason == nil)
    }

    @Test("a path that leaves the machine is left to ngtcp2")
    func elsewhere() throws {
        let pair = try Pair()
        #expect(pair.client.core?.packetSizes.searches == false)
        let (sizes, _) = try self.transfer(maximum: { 65_535 }, over: pair)
        #expect((sizes.max() ?? 0) <= 1452)
        #expect((sizes.max() ?? 0) > 1400)
        let sameAddress = try Pair(addresses: ("192.0.2.7", "192.0.2.7"))
        #expect(sameAddress.client.core?.packetSizes.searches == true)
    }

    @Test("a black hole on a path that leaves the machine, and its end")
    func blackHoleElsewhere() throws {
        let pair = try Pair()
        _ = try self.transfer(maximum: { 65_535 }, over: pair)
        let before = pair.now
        let (narrow, _) = try self.transfer(maximum: { 1300 }, over: pair)
        #expect(narrow.filter { $0 == 1200 }.count > 500)
        #expect(pair.now - before < .seconds(5))
        try pair.run(for: .seconds(15))
        let (wide, _) = try self.transfer(maximum: { 65_535 }, over: pair)
        #expect(wide.filter { $0 > 1400 }.count > 500)
    }

    /// ngtcp2's probes and answers to PATH_CHALLENGE are large, and nobody tells that they arrived.
    @Test("what was found stays, though the application is silent for a while", arguments: [300, 3000] as [Int64])
    func silence(pause: Int64) throws {
        let pair = try Pair.confirmed()
        try pair.run(for: .milliseconds(pause))
        let (sizes, _) = try self.transfer(maximum: { 65_535 }, over: pair)
        #expect(sizes.filter { $0 == 1200 }.count < 10)
        #expect(sizes.filter { $0 > 1400 }.count > 500)
    }

    @Test("large datagrams and nothing else")
    func datagrams() throws {
        let pair = try Pair.confirmed()
        _ = try self.transfer(maximum: { 65_535 }, over: pair)
        for _ in 0..<50 {
            #expect(try pair.client.core?.sendDatagram(ByteBuffer(repeating: 7, count: 1350)) == .accepted)
            try pair.run(for: .milliseconds(100))
        }
        #expect(pair.server.datagrams.count == 50)
        #expect((pair.client.core?.statistics().pathMaximumSize ?? 0) > 1400)
        pair.network = { $0.bytes.count > 1300 ? nil : $0 }
        for _ in 0..<50 {
            // In the end it is told that they are too large.
            _ = try? pair.client.core?.sendDatagram(ByteBuffer(repeating: 7, count: 1350))
            try pair.run(for: .milliseconds(100))
        }
        #expect(pair.client.core?.statistics().pathMaximumSize == 1200, "a black hole")
        #expect(pair.client.closeReason == nil)
    }

    @Test("a search that failed pauses, then tries again")
    func pauses() throws {
        let path = QUICPath(
            local: try SocketAddress(ipAddress: "127.0.0.1", port: 1),
            remote: try SocketAddress(ipAddress: "127.0.0.1", port: 2))
        let configuration = QUICConfiguration(
            connectionIDs: QUICConnectionIDSource(length: 8, resetSecret: QUICResetSecret()))
        var search = PacketSizeSearch(configuration, path: path)
        let stream = StreamID(rawValue: 0)
        #expect(search.probeSize(now: 0) == 1452)
        search.probeSent(of: 1452, newBytes: 1400, stream: stream, end: 1400, now: 0)
        #expect(search.probeSize(now: 0) == nil)
        search.packetWritten(1200, newBytes: 0, now: 1)
        search.acknowledged(stream, upTo: 1400)
        #expect(search.size == 1200, "the bytes were sent twice: their arrival proves nothing")
        #expect(search.probeSize(now: 2) == nil)
        #expect(search.probeSize(now: 20_000_000_000) == 1452)
    }
}
