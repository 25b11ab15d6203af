// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernTLS

@Suite("Resumption over a byte stream")
struct ResumptionTests {
    @Test func aSecondConnectionResumesTheFirst() throws {
        let world = try StreamWorld()
        let first = try world.finishedPair()
        #expect(!first.client.session.isResumed)
        try first.keepTickets()
        let second = try world.finishedPair()
        #expect(second.client.session.isResumed)
        #expect(second.server.session.isResumed)
        let keys = try second.client.session.exportKeyingMaterial(label: "EXPORTER-a", context: [1], count: 32)
        #expect(try second.server.session.exportKeyingMaterial(label: "EXPORTER-a", context: [1], count: 32) == keys)
    }

    /// RFC 8446, appendix C.4.
    @Test func aTicketIsUsedOnce() throws {
        let world = try StreamWorld()
        try world.finishedPair().keepTickets()
        let count = world.cache.count
        for left in (0..<count).reversed() {
            #expect(try world.finishedPair().client.session.isResumed)
            #expect(world.cache.count == left)
        }
        #expect(try !world.finishedPair().client.session.isResumed)
    }

    @Test func anotherTrustIdentityPortOrNameGetsNoTicket() throws {
        let world = try StreamWorld()
        try world.finishedPair().keepTickets()
        var other = world.client
        other.trust = other.trust.requiring(subjectPublicKeyInfoSHA256: [world.pin])
        #expect(try !world.finishedPair(other).client.session.isResumed)
        other = world.client
        other.identity = try TLSIdentity.selfSigned(client: "alice").identity
        #expect(try !world.finishedPair(other).client.session.isResumed)
        #expect(try !world.finishedPair(port: 2).client.session.isResumed)
        #expect(try !world.finishedPair(name: "127.0.0.1").client.session.isResumed)
        #expect(try world.finishedPair().client.session.isResumed)
    }

    @Test func aServerOrAClientMayWantNoTickets() throws {
        let world = try StreamWorld()
        var server = world.server
        server.tickets = nil
        let without = try TLSPair(world.clientContext(world.client), TLSServerContext(server))
        try without.finish()
        var none = ByteBuffer()
        #expect(try without.client.read(into: &none, limit: 10) == .starved)
        #expect(!without.client.session.hasNewTickets)
        var client = world.client
        client.sessionCache = nil
        #expect(try !world.finishedPair(client).client.session.hasNewTickets)
    }

    @Test func secretsHaveTheirSize() throws {
        let world = try StreamWorld()
        var server = world.server
        server.tickets = TLSTickets(secret: [1, 2, 3])
        #expect(throws: TLSError(.malformed, message: "")) { _ = try TLSServerContext(server) }
    }

    /// Whatever a network makes of a ClientHello with a ticket, a server answers or fails.
    @Test func aServerIsFedDamagedTickets() throws {
        let world = try StreamWorld(earlyData: TLSEarlyData())
        var generator = SplitMix(state: 11)
        for _ in 0..<60 {
            try world.finishedPair().keepTickets()
            let pair = try world.pair()
            _ = try pair.client.handshake()
            var hello = try #require(pair.client.takeCiphertext())
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                let position = Int.random(in: 100..<hello.readableBytes, using: &generator)
                hello.setInteger(UInt8.random(in: 0...255, using: &generator), at: position)
            }
            pair.server.receive(hello)
            pair.server.receiveEndOfFile()
            _ = try? pair.server.handshake()
            if let answer = pair.server.takeCiphertext() { pair.client.receive(answer) }
            _ = try? pair.client.handshake()
            #expect(!pair.server.session.isResumed || !pair.server.session.wasEarlyDataAccepted)
        }
    }

    @Test func aMemoryRemembersUntilItsEntriesExpire() {
        let memory = TLSLocalReplayMemory(capacity: 2)
        #expect(memory.insert([1], until: 100, now: 0))
        #expect(!memory.insert([1], until: 100, now: 100))
        #expect(memory.insert([2], until: 150, now: 50))
        #expect(!memory.insert([3], until: 150, now: 50), "full: better refused than forgotten")
        #expect(memory.insert([3], until: 250, now: 101))
        #expect(!memory.insert([2], until: 250, now: 150))
    }
}

/// One server and one client, and what the client remembers.
struct StreamWorld {
    let cache = TLSSessionCache()
    let client: TLSClientConfiguration
    let server: TLSServerConfiguration
    let pin: [UInt8]
    private let serverContext: TLSServerContext

    init(earlyData: TLSEarlyData? = nil) throws {
        let made = try TLSIdentity.selfSigned()
        self.pin = made.identity.subjectPublicKeyInfoSHA256
        var client = TLSClientConfiguration(trust: .certificateAuthorities(pem: made.certificateAuthorityPEM))
        client.sessionCache = self.cache
        self.client = client
        var server = TLSServerConfiguration(identity: made.identity)
        server.earlyData = earlyData
        self.server = server
        self.serverContext = try TLSServerContext(server)
    }

    func clientContext(_ configuration: TLSClientConfiguration) throws -> TLSClientContext {
        try TLSClientContext(configuration)
    }

    func pair(
        _ client: TLSClientConfiguration? = nil, name: String = "localhost", port: Int = 1, hasEarlyData: Bool = false
    ) throws -> TLSPair {
        let context = try TLSClientContext(client ?? self.client)
        return TLSPair(
            client: TLSStream(
                session: try context.makeSession(
                    for: .stream, applicationProtocols: ["one"], serverName: name, port: port,
                    hasEarlyData: hasEarlyData)),
            server: TLSStream(
                session: try self.serverContext.makeSession(for: .stream, applicationProtocols: ["one"])))
    }

    func finishedPair(
        _ client: TLSClientConfiguration? = nil, name: String = "localhost", port: Int = 1
    ) throws -> TLSPair {
        let pair = try self.pair(client, name: name, port: port)
        try pair.finish()
        return pair
    }
}
