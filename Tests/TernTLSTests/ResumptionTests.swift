// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import Synchronization
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

    /// Each resumed connection brings tickets for others: without an end, who has the secret of the tickets would be the server
    /// for ever.
    @Test func aChainOfTicketsEndsInAFullHandshake() throws {
        let world = try StreamWorld()
        try world.finishedPair().keepTickets()
        let step = 3 * 3600
        for _ in 1...4 {
            world.clock.advance(by: step)
            let pair = try world.finishedPair()
            #expect(pair.client.session.isResumed)
            world.cache.removeAll()
            try pair.keepTickets()
        }
        world.clock.advance(by: 1)
        let last = try world.finishedPair()
        #expect(!last.client.session.isResumed, "twelve hours after the only full handshake")
        #expect(world.cache.count == 0, "tickets that are good for nothing are forgotten")
        try last.keepTickets()
        world.clock.advance(by: step)
        #expect(try world.finishedPair().client.session.isResumed)
    }

    @Test func theIntervalOfFullHandshakesCanBeSet() throws {
        let world = try StreamWorld()
        var client = world.client
        client.fullHandshakeInterval = .seconds(10)
        try world.finishedPair(client).keepTickets()
        world.clock.advance(by: 10)
        #expect(try world.finishedPair(client).client.session.isResumed)
        world.clock.advance(by: 1)
        #expect(try !world.finishedPair(client).client.session.isResumed)
        client.fullHandshakeInterval = .zero
        try world.finishedPair(client).keepTickets()
        world.clock.advance(by: 1)
        #expect(try !world.finishedPair(client).client.session.isResumed)
    }

    @Test func aClockThatIsSetBackMakesNoTicketYounger() throws {
        let world = try StreamWorld()
        try world.finishedPair().keepTickets()
        world.clock.advance(by: -3600)
        #expect(try !world.finishedPair().client.session.isResumed)
    }

    /// The server's certificate ran out since: the next handshake is a full one, which says so.
    @Test func aTicketDoesNotOutliveTheCertificate() throws {
        let world = try StreamWorld(validFor: .hours(2))
        try world.finishedPair().keepTickets()
        world.clock.advance(by: 3600)
        let pair = try world.finishedPair()
        #expect(pair.client.session.isResumed)
        try pair.keepTickets()
        world.clock.advance(by: 3601)
        #expect(try !world.finishedPair().client.session.isResumed)
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

    @Test func earlyDataIsReadBeforeTheHandshakeIsDone() throws {
        let world = try StreamWorld(earlyData: TLSEarlyData())
        try world.finishedPair().keepTickets()
        let pair = try world.pair(hasEarlyData: true)
        #expect(pair.client.session.earlyDataLimit >= 1000)
        #expect(pair.client.writeEarly(ByteBuffer(string: "ear")))
        #expect(pair.client.writeEarly(ByteBuffer(string: "ly")))
        #expect(try !pair.client.handshake())
        pair.server.receive(try #require(pair.client.takeCiphertext()))
        #expect(try !pair.server.handshake())
        #expect(pair.server.readEarly() == ByteBuffer(string: "early"))
        #expect(pair.server.readEarly() == nil)
        #expect(pair.server.session.wasEarlyDataAccepted)
        try pair.carryOn()
        #expect(pair.client.session.wasEarlyDataAccepted)
        try pair.client.write(ByteBuffer(string: "and late"))
        #expect(try pair.carry(from: pair.client, to: pair.server, pieceSize: 7) == ByteBuffer(string: "and late"))
    }

    /// RFC 8446, section 4.2.10.
    @Test func earlyDataOfAnotherApplicationProtocolEndsTheHandshake() throws {
        let world = try StreamWorld(earlyData: TLSEarlyData())
        func pair(server: [String]) throws -> TLSPair {
            try world.pair(hasEarlyData: true, protocols: (client: ["one", "two"], server: server))
        }
        let first = try pair(server: ["one", "two"])
        try first.finish()
        try first.keepTickets()
        let other = try pair(server: ["two", "three"])
        #expect(other.client.writeEarly(ByteBuffer(string: "to one")))
        try other.carryOn()
        #expect(!other.server.session.isResumed, "another set of protocols, another key")
        let second = try pair(server: ["two", "one"])
        #expect(second.client.writeEarly(ByteBuffer(string: "to one")))
        #expect(throws: TransportError(.handshakeFailed, message: "", wireCode: 0x12f)) { try second.carryOn() }
    }

    /// RFC 8446, section 8: however often an attacker sends it, and to whichever end of the server.
    @Test func aCopyOfAFirstFlightBringsNothing() throws {
        let world = try StreamWorld(earlyData: TLSEarlyData())
        try world.finishedPair().keepTickets()
        let pair = try world.pair(hasEarlyData: true)
        #expect(pair.client.writeEarly(ByteBuffer(string: "pay once")))
        _ = try pair.client.handshake()
        let flight = try #require(pair.client.takeCiphertext())
        pair.server.receive(flight)
        #expect(try !pair.server.handshake())
        #expect(pair.server.readEarly() == ByteBuffer(string: "pay once"))
        for _ in 0..<3 {
            let other = try world.pair().server
            other.receive(flight)
            #expect(try !other.handshake())
            #expect(other.readEarly() == nil)
            #expect(!other.session.wasEarlyDataAccepted)
        }
    }

    /// RFC 8446, section 8.1: whoever repeats one ticket takes one place in the memory, and others keep their 0-RTT.
    @Test func aTicketIsGoodForOneFirstFlight() throws {
        let memory = TLSLocalReplayMemory(capacity: 8, capacityPerClient: 8)
        let world = try StreamWorld(earlyData: TLSEarlyData(memory: memory))
        let greedy = ClientNetwork(ipAddress: [192, 0, 2, 1])
        func early(_ text: String, from client: ClientNetwork) throws -> Bool {
            let pair = try world.pair(hasEarlyData: true, from: client)
            #expect(pair.client.writeEarly(ByteBuffer(string: text)))
            try pair.carryOn()
            return pair.server.session.wasEarlyDataAccepted
        }
        try world.finishedPair().keepTickets()
        var (accepted, refused) = (0, 0)
        let ticket = try #require(world.cache.copy())
        for number in 0..<20 {
            world.cache.replace(by: ticket)
            if try early("number \(number)", from: greedy) { accepted += 1 } else { refused += 1 }
        }
        #expect(accepted == 1)
        #expect(refused == 19)
        world.cache.removeAll()
        try world.finishedPair().keepTickets()
        #expect(try early("another", from: ClientNetwork(ipAddress: [192, 0, 2, 2])))
    }

    @Test func oneClientCannotFillTheMemory() {
        let memory = TLSLocalReplayMemory(capacity: 6, capacityPerClient: 2)
        let (greedy, other): ([UInt8], [UInt8]) = ([192, 0, 2, 1], [192, 0, 2, 2])
        #expect(memory.insert([1], of: greedy, until: 100, now: 0))
        #expect(memory.insert([2], of: greedy, until: 110, now: 0))
        #expect(!memory.insert([3], of: greedy, until: 110, now: 0))
        #expect(memory.insert([4], of: other, until: 110, now: 0))
        #expect(!memory.insert([1], of: other, until: 110, now: 0), "whoever sends it")
        #expect(memory.insert([5], of: greedy, until: 210, now: 101), "one of its own ran out")
        #expect(!memory.insert([6], of: greedy, until: 210, now: 101))
        #expect(TLSLocalReplayMemory().insert([1], of: greedy, until: .max))
    }

    @Test func ticketsAreFoundInClientHellos() throws {
        let world = try StreamWorld()
        try world.finishedPair().keepTickets()
        let pair = try world.pair()
        _ = try pair.client.handshake()
        var record = try #require(pair.client.takeCiphertext())
        // The record's header, and the type and length of the handshake message.
        record.moveReaderIndex(forwardBy: 9)
        let ticket = try #require(ClientHello.firstTicket(in: record))
        #expect(ticket.count > 100)
        let bytes = Array(buffer: record)
        for length in 0..<bytes.count { _ = ClientHello.firstTicket(in: ByteBuffer(bytes: bytes.prefix(length))) }
        #expect(ClientHello.firstTicket(in: ByteBuffer(bytes: bytes.prefix(200))) == nil)
    }

    @Test func aMemoryThatIsFullOrBrokenMeansNoEarlyData() throws {
        final class Refusing: TLSReplayMemory {
            func insert(_ key: [UInt8], until expiry: Int) -> Bool { false }
        }
        let world = try StreamWorld(earlyData: TLSEarlyData(memory: Refusing()))
        try world.finishedPair().keepTickets()
        let pair = try world.pair(hasEarlyData: true)
        #expect(pair.client.writeEarly(ByteBuffer(string: "early")))
        try pair.carryOn()
        #expect(pair.server.readEarly() == nil)
        #expect(!pair.client.session.wasEarlyDataAccepted)
        #expect(pair.client.session.isResumed)
        try pair.client.write(ByteBuffer(string: "late"))
        #expect(try pair.carry(from: pair.client, to: pair.server, pieceSize: .max) == ByteBuffer(string: "late"))
    }

    @Test func aTicketOfAServerThatTakesNothingEarlyAllowsNothing() throws {
        let world = try StreamWorld()
        try world.finishedPair().keepTickets()
        let pair = try world.pair(hasEarlyData: true)
        #expect(pair.client.session.isResumed == false, "not yet")
        #expect(pair.client.session.earlyDataLimit == 0)
        try pair.finish()
        #expect(pair.client.session.isResumed)
    }

    @Test func newKeysAreTakenInTheMiddleOfAStream() throws {
        let pair = try StreamWorld().finishedPair()
        for round in 0..<4 {
            let (sender, receiver) = round % 2 == 0 ? (pair.client, pair.server) : (pair.server, pair.client)
            try sender.write(ByteBuffer(string: "before "))
            try sender.updateKeys()
            try sender.write(ByteBuffer(string: "after"))
            #expect(try pair.carry(from: sender, to: receiver, pieceSize: 5) == ByteBuffer(string: "before after"))
        }
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
        #expect(memory.insert([1], of: [], until: 100, now: 0))
        #expect(!memory.insert([1], of: [], until: 100, now: 100))
        #expect(memory.insert([2], of: [], until: 150, now: 50))
        #expect(!memory.insert([3], of: [], until: 150, now: 50), "full: better refused than forgotten")
        #expect(memory.insert([3], of: [], until: 250, now: 101))
        #expect(!memory.insert([2], of: [], until: 250, now: 150))
    }
}

extension TLSPair {
    /// Until both are done, from wherever they are.
    fileprivate func carryOn() throws {
        var (clientIsDone, serverIsDone) = (false, false)
        while !clientIsDone || !serverIsDone {
            clientIsDone = try self.client.handshake()
            if let bytes = self.client.takeCiphertext() { self.server.receive(bytes) }
            serverIsDone = try self.server.handshake()
            if let bytes = self.server.takeCiphertext() { self.client.receive(bytes) }
        }
    }
}

/// One server and one client, and what the client remembers.
struct StreamWorld {
    let cache = TLSSessionCache()
    let clock = TestClock()
    let client: TLSClientConfiguration
    let server: TLSServerConfiguration
    let pin: [UInt8]
    private let serverContext: TLSServerContext

    init(earlyData: TLSEarlyData? = nil, validFor: TimeAmount = .hours(24 * 365)) throws {
        let made = try TLSIdentity.selfSigned(validFor: validFor)
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
        _ client: TLSClientConfiguration? = nil, name: String = "localhost", port: Int = 1, hasEarlyData: Bool = false,
        protocols: (client: [String], server: [String]) = (["one"], ["one"]), from network: ClientNetwork? = nil
    ) throws -> TLSPair {
        let clock = self.clock
        let context = try TLSClientContext(client ?? self.client, clock: { clock.now })
        return TLSPair(
            client: TLSStream(
                session: try context.makeSession(
                    for: .stream, applicationProtocols: protocols.client, serverName: name, port: port,
                    hasEarlyData: hasEarlyData)),
            server: TLSStream(
                session: try self.serverContext.makeSession(
                    for: .stream, applicationProtocols: protocols.server, client: network)))
    }

    func finishedPair(
        _ client: TLSClientConfiguration? = nil, name: String = "localhost", port: Int = 1
    ) throws -> TLSPair {
        let pair = try self.pair(client, name: name, port: port)
        try pair.finish()
        return pair
    }
}

/// The wall clock of a client's tickets; begins now, because the certificates of the tests do.
final class TestClock: Sendable {
    private let time = Mutex(SystemClock.secondsSince1970)

    var now: Int { self.time.withLock { $0 } }

    func advance(by seconds: Int) {
        self.time.withLock { $0 += seconds }
    }
}
