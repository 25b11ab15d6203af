// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTLS
import TernTransport
import Testing

@testable import TernQUICCore

@Suite("0-RTT and resumption")
struct EarlyDataTests {
    private let request = ReplayableStream(ByteBuffer(string: "GET /what-may-be-asked-twice"))
    private let stream = StreamID(rawValue: 0)

    private func establish(_ world: World, _ replayable: [ReplayableStream] = []) throws -> Pair {
        let pair = try world.pair(replayable)
        try pair.establish()
        // The tickets come after the handshake.
        try pair.run(for: .milliseconds(200))
        return pair
    }

    private func text(_ bytes: [UInt8]?) -> String? { bytes.map { String(decoding: $0, as: UTF8.self) } }

    @Test("the second connection resumes the first, and both ends derive the same bytes")
    func resumption() throws {
        let world = try World(earlyData: nil)
        let first = try self.establish(world)
        #expect(first.client.core?.tls.isResumed == false)
        #expect(world.cache.count > 0)
        let second = try self.establish(world)
        #expect(second.client.core?.tls.isResumed == true)
        #expect(second.server.core?.tls.isResumed == true)
        let (one, other) = (second.client.core, second.server.core)
        let keys = try one?.exportKeyingMaterial(label: "EXPORTER-test", context: [1, 2, 3], count: 48)
        #expect(try other?.exportKeyingMaterial(label: "EXPORTER-test", context: [1, 2, 3], count: 48) == keys)
        #expect(try other?.exportKeyingMaterial(label: "EXPORTER-test", context: [1, 2], count: 48) != keys)
        #expect(keys?.count == 48)
        #expect(throws: TransportError.self) {
            try one?.exportKeyingMaterial(label: "EXPORTER-test", context: [], count: 0)
        }
    }

    @Test("without a ticket, a replayable stream is sent when the handshake is done")
    func withoutTicket() throws {
        let world = try World()
        let pair = try self.establish(world, [self.request])
        #expect(pair.client.core?.replayableStreams == [self.stream])
        #expect(pair.client.core?.earlyData == .notOffered)
        #expect(self.text(pair.server.received[self.stream]) == "GET /what-may-be-asked-twice")
        #expect(pair.server.core?.isReplayable(self.stream) == false)
    }

    @Test("with a ticket it arrives with the first flight, and the answer before the handshake is done")
    func accepted() throws {
        let world = try World()
        _ = try self.establish(world)
        let pair = try world.pair([self.request])
        var wasReplayable: Bool?
        pair.server.onEvent = { event in
            guard case .streamReceived(let id, _, true) = event, let core = pair.server.core else { return }
            wasReplayable = core.isReplayable(id)
            #expect(!core.isEstablished, "before the client's Finished")
            _ = try? core.write(ByteBuffer(string: "answer"), to: id, finish: true)
        }
        let start = pair.now
        #expect(try pair.run(for: .seconds(5), until: { pair.client.finished.contains(self.stream) }))
        #expect(pair.now - start <= pair.delay * 2, "one round trip")
        #expect(self.text(pair.server.received[self.stream]) == "GET /what-may-be-asked-twice")
        #expect(self.text(pair.client.received[self.stream]) == "answer")
        #expect(wasReplayable == true)
        try pair.run(for: .milliseconds(100))
        #expect(pair.client.core?.earlyData == .accepted)
        #expect(pair.server.core?.earlyData == .accepted)
        #expect(pair.client.isEstablished && pair.server.isEstablished)
    }

    @Test("a server that takes no 0-RTT gets everything after the handshake, once")
    func rejected() throws {
        let world = try World()
        _ = try self.establish(world)
        world.serverTakesEarlyData = false
        let large = ReplayableStream(ByteBuffer(bytes: pattern(40_000)), direction: .unidirectional)
        let pair = try self.establish(world, [self.request, large])
        try pair.run(for: .seconds(2))
        #expect(pair.client.core?.earlyData == .rejected)
        #expect(pair.client.core?.replayableStreams == [self.stream, StreamID(rawValue: 2)])
        #expect(self.text(pair.server.received[self.stream]) == "GET /what-may-be-asked-twice")
        #expect(pair.server.received[StreamID(rawValue: 2)] == pattern(40_000))
        #expect(pair.server.core?.isReplayable(self.stream) == false)
        #expect(pair.client.closeReason == nil)
    }

    @Test("what was rejected and has to wait for the server's limit is not delivered before it was sent again")
    func rejectedAndWaiting() throws {
        let world = try World()
        _ = try self.establish(world)
        world.serverTakesEarlyData = false
        var limits = ConnectionLimits()
        limits.bidirectionalStreams = 1
        let pair = try world.pair([self.request, self.request], serverLimits: limits)
        let core = try #require(pair.client.core)
        let second = StreamID(rawValue: 4)
        #expect(core.replayableStreams == [self.stream, second])
        try pair.establish()
        try pair.run(for: .seconds(2))
        #expect(core.earlyData == .rejected && core.replayableStreams == [self.stream])
        core.watchDelivery(of: second, tag: 1)
        core.watchDelivery(of: nil, tag: 2)
        try pair.run(for: .seconds(2))
        #expect(core.takeDeliveryAnswers().isEmpty, "it was never sent")
        // The first stream ends, and leaves room for the second.
        _ = try pair.server.core?.write(ByteBuffer(), to: self.stream, finish: true)
        try pair.run(for: .seconds(2))
        let answers = core.takeDeliveryAnswers()
        #expect(answers.count == 2 && answers.allSatisfy { $0.error == nil })
        #expect(self.text(pair.server.received[second]) == "GET /what-may-be-asked-twice")
    }

    @Test("more than the first flight holds goes on after the handshake")
    func large() throws {
        let world = try World()
        _ = try self.establish(world)
        let bytes = pattern(300_000)
        let pair = try world.pair([ReplayableStream(ByteBuffer(bytes: bytes))])
        #expect(try pair.run(for: .seconds(20), until: { pair.server.finished.contains(self.stream) }))
        let isWhole = pair.server.received[self.stream] == bytes
        #expect(isWhole)
        #expect(pair.client.core?.earlyData == .accepted)
    }

    @Test("a copy of the first flight is refused its 0-RTT data")
    func replay() throws {
        let world = try World()
        _ = try self.establish(world)
        let pair = try world.pair([self.request])
        var flight: [Pair.Flight] = []
        pair.network = {
            if $0.toServer, flight.count < 3 { flight.append($0) }
            return $0
        }
        try pair.establish()
        #expect(pair.server.core?.earlyData == .accepted)
        // Another server end of the same listener sees the same datagrams.
        let copy = try world.pair([])
        for var packet in flight {
            packet.arrives = copy.now
            try copy.deliver(packet)
        }
        copy.server.drain()
        #expect(copy.server.core != nil)
        #expect(copy.server.received.isEmpty)
        #expect(copy.server.core?.earlyData == .notOffered)
    }

    @Test("loss of the first flight loses nothing", arguments: [1, 2, 3, 4] as [UInt64])
    func loss(seed: UInt64) throws {
        let world = try World()
        _ = try self.establish(world)
        let bytes = pattern(20_000)
        let pair = try world.pair([ReplayableStream(ByteBuffer(bytes: bytes)), self.request])
        var random = SeededGenerator(seed: seed)
        pair.network = { random.next() % 4 == 0 ? nil : $0 }
        #expect(
            try pair.run(
                for: .seconds(60),
                until: { pair.server.finished.count == 2 && pair.client.isEstablished && pair.server.isEstablished }))
        let isWhole = pair.server.received[self.stream] == bytes
        #expect(isWhole)
    }

    @Test("a ticket of another trust, name or protocol is not used")
    func keys() throws {
        let world = try World()
        _ = try self.establish(world)
        world.protocols = ["other/1"]
        #expect(try self.establish(world).client.core?.tls.isResumed == false)
        world.protocols = ["test/1"]
        #expect(try self.establish(world).client.core?.tls.isResumed == true)
    }

    @Test("garbage instead of a ticket ends in a full handshake")
    func garbage() throws {
        let world = try World()
        _ = try self.establish(world)
        world.cache.replaceAll { (Array("no session at all".utf8), $1) }
        let pair = try self.establish(world, [self.request])
        #expect(pair.client.core?.tls.isResumed == false)
        #expect(self.text(pair.server.received[self.stream]) == "GET /what-may-be-asked-twice")
    }
}

/// One server and one client, each with what it remembers between connections.
final class World {
    let cache = TLSSessionCache()
    var serverTakesEarlyData = true
    var protocols = ["test/1"]
    private let clientContext: TLSClientContext
    private let willing: TLSServerContext
    private let unwilling: TLSServerContext

    init(earlyData: TLSEarlyData? = TLSEarlyData()) throws {
        let identity = try Sessions.server.get()
        var client = TLSClientConfiguration(trust: .certificateAuthorities(pem: identity.certificateAuthorityPEM))
        client.sessionCache = self.cache
        self.clientContext = try TLSClientContext(client)
        var server = TLSServerConfiguration(identity: identity.identity)
        server.tickets = TLSTickets(secret: (0..<64).map { $0 })
        self.unwilling = try TLSServerContext(server)
        server.earlyData = earlyData
        self.willing = try TLSServerContext(server)
    }

    func pair(
        _ replayable: [ReplayableStream], serverLimits: ConnectionLimits = ConnectionLimits()
    ) throws -> Pair {
        let context = self.serverTakesEarlyData ? self.willing : self.unwilling
        let protocols = self.protocols
        return try Pair(
            serverLimits: serverLimits, replayable: replayable,
            clientSession: try self.clientContext.makeSession(
                for: .quic, applicationProtocols: protocols, serverName: "localhost", port: 4433,
                hasEarlyData: !replayable.isEmpty),
            makeServerSession: { try context.makeSession(for: .quic, applicationProtocols: protocols) })
    }
}
