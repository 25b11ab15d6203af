// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import QUICPacketSupport
import TernTransport
import Testing

@testable import TernQUICCore

@Suite("Clients whose address changes without their knowledge, and servers that want to be elsewhere")
struct RebindingTests {
    /// Lets the server send until its congestion window has grown.
    private func warmed(_ pair: Pair) throws -> UInt64 {
        let id = try #require(try pair.server.core?.openStream(.unidirectional))
        try StreamTests.send(pattern(2_000_000), on: id, from: pair.server)
        #expect(try pair.run(for: .seconds(60), until: { pair.client.finished.contains(id) }))
        return try #require(pair.server.core?.statistics().congestionWindow)
    }

    @Test("the server follows, and starts congestion control anew", arguments: [true, false])
    func congestionWindow(isSameAddress: Bool) throws {
        let pair = try Pair.confirmed()
        let before = try self.warmed(pair)
        pair.serverPath.remote = try Pair.address(isSameAddress ? "192.0.2.1" : "203.0.113.9", 41_000)
        _ = try pair.client.core?.sendDatagram(ByteBuffer(string: "here I am"))
        try pair.run(for: .milliseconds(6))
        let after = try #require(pair.server.core?.statistics().congestionWindow)
        #expect(after < before / 2)
        try pair.run(for: .seconds(1))
        #expect(pair.server.changedPaths == [pair.serverPath])
        #expect(try pair.transfers(10_000))
        _ = try self.warmed(pair)
        #expect(pair.client.changedPaths.isEmpty, "the client cannot know")
    }

    @Test("again and again during a transfer under loss", arguments: [true, false], [1, 2, 3] as [UInt64])
    func duringATransfer(toServer: Bool, seed: UInt64) throws {
        let pair = try Pair.confirmed()
        var generator = SeededGenerator(seed: seed)
        pair.network = { flight in
            // What goes to a port that the NAT has forgotten is lost.
            if !flight.toServer, flight.path?.remote != pair.serverPath.remote { return nil }
            return Int.random(in: 0..<20, using: &generator) == 0 ? nil : flight
        }
        let (sender, receiver) = toServer ? (pair.client, pair.server) : (pair.server, pair.client)
        let id = try #require(try sender.core?.openStream(.unidirectional))
        let bytes = pattern(1_000_000)
        try StreamTests.send(bytes, on: id, from: sender)
        for step in 1...12 {
            try pair.run(for: .milliseconds(40))
            let host = step % 3 == 0 ? "203.0.113.\(step)" : pair.serverPath.remote.ipAddress ?? ""
            pair.serverPath.remote = try Pair.address(host, 41_000 + step)
            // A client that only receives would not be heard otherwise until it acknowledges.
            _ = try pair.client.core?.sendDatagram(ByteBuffer(string: "here I am"))
        }
        #expect(try pair.run(for: .seconds(120), until: { receiver.finished.contains(id) }))
        let isWhole = receiver.received[id] == bytes
        #expect(isWhole)
        try pair.run(for: .seconds(10))
        #expect(pair.server.core?.path == pair.serverPath)
    }

    /// The client cannot know that its path is another one, so its packets are as large as the old one took.
    @Test("a client whose new path takes smaller datagrams than the old one", arguments: [1200, 1300, 1452])
    func smallerPath(mtu: Int) throws {
        let pair = try Pair.confirmed()
        let id = try #require(try pair.client.core?.openStream(.unidirectional))
        try StreamTests.send(pattern(2_000_000), on: id, from: pair.client)
        #expect(try pair.run(for: .seconds(60), until: { pair.server.finished.contains(id) }))
        let sizes = pair.client.events.compactMap { if case .pathMTUChanged(let size) = $0 { size } else { nil } }
        #expect((sizes.last ?? 0) > 1300)
        pair.network = { flight in
            if !flight.toServer, flight.path?.remote != pair.serverPath.remote { return nil }
            return flight.bytes.count > mtu ? nil : flight
        }
        pair.serverPath.remote = try Pair.address("203.0.113.9", 41_000)
        _ = try pair.client.core?.sendDatagram(ByteBuffer(string: "here I am"))
        try pair.run(for: .seconds(2))
        #expect(pair.server.changedPaths == [pair.serverPath])
        #expect(try pair.transfers(200_000))
    }

    /// Sends datagrams alone, small ones and then a large one, and says whether the large one came.
    private func takesLargeDatagrams(_ pair: Pair, from sender: End, to receiver: End) throws -> Bool {
        for _ in 0..<60 {
            _ = try sender.core?.sendDatagram(ByteBuffer(string: "position"))
            try pair.run(for: .milliseconds(200))
        }
        let size = 1300
        try #require((sender.core?.maximumDatagramSize ?? 0) >= size)
        _ = try sender.core?.sendDatagram(ByteBuffer(repeating: 1, count: size))
        return try pair.run(for: .seconds(5), until: { receiver.datagrams.contains { $0.count == size } })
    }

    @Test("large datagrams, when a PATH_CHALLENGE came twice", arguments: [false, true])
    func challengedTwice(atOnce: Bool) throws {
        let pair = try Pair.confirmed()
        #expect(try pair.transfers(2_000_000))
        pair.network = { [unowned pair] flight in
            if !flight.toServer {
                var again = flight
                if !atOnce { again.arrives = flight.arrives + .milliseconds(30) }
                pair.flights.append(again)
            }
            return flight
        }
        pair.serverPath.remote = try Pair.address("192.0.2.1", 41_000)
        _ = try pair.client.core?.sendDatagram(ByteBuffer(string: "here I am"))
        try pair.run(for: .seconds(1))
        #expect(try self.takesLargeDatagrams(pair, from: pair.client, to: pair.server))
    }

    /// The client does not answer there any more.
    @Test(
        "large datagrams, when a PATH_CHALLENGE came where the client is no more", arguments: [20, 60, 200] as [Int64])
    func challengedElsewhere(delay: Int64) throws {
        let pair = try Pair.confirmed()
        #expect(try pair.transfers(2_000_000))
        let (old, new) = (pair.clientPath.local, try Pair.address("192.0.2.99"))
        pair.network = { flight in
            guard !flight.toServer, flight.path?.remote == new else { return flight }
            var late = flight
            late.arrives = flight.arrives + .milliseconds(delay)
            return late
        }
        try pair.client.core?.migrate(to: new, now: pair.now)
        try pair.run(for: .milliseconds(12))
        try pair.client.core?.migrate(to: old, now: pair.now)
        try pair.run(for: .seconds(1))
        #expect(try self.takesLargeDatagrams(pair, from: pair.client, to: pair.server))
    }

    /// The server may send little to an address that is not validated, so that its answer is a small packet.
    @Test("large datagrams of a server that was asked in a small packet")
    func challengedInASmallPacket() throws {
        let peer = try KeyedPeer()
        var frames = QUICFrames()
        frames.pathChallenge(9)
        for port in [50_000, 50_001] {
            try peer.say(frames, port: port)
            peer.wait(.seconds(1))
        }
        try peer.say(QUICFrames(pinging: true))
        peer.wait(.seconds(1))
        #expect(!peer.core.native.owesPathResponse(now: peer.pair.now.uptimeNanoseconds))
    }

    /// Small datagrams, so that the server may not send a full PATH_CHALLENGE, and a client that comes back at once: ngtcp2
    /// 0.12 ends the process in two such cases unless we take care.
    @Test(
        "a client that comes back while its new path is validated",
        arguments: [("192.0.2.1", "198.51.100.1"), ("127.0.0.1", "127.0.0.1")], [true, false])
    func comesBack(addresses: (String, String), discoversPathMTU: Bool) throws {
        for pause in [1, 6, 11, 16, 21, 26, 40, 80] {
            let pair = try Pair(
                addresses: addresses,
                configure: { _, server in server.discoversPathMTU = discoversPathMTU })
            try pair.establish()
            try pair.run(for: .milliseconds(200))
            let old = pair.serverPath.remote
            for host in [addresses.0, "203.0.113.9"] {
                pair.serverPath.remote = try Pair.address(host, 41_000)
                _ = try pair.client.core?.sendDatagram(ByteBuffer(string: "there"))
                try pair.run(for: .milliseconds(Int64(pause)))
                pair.serverPath.remote = old
                for _ in 0..<4 {
                    _ = try pair.client.core?.sendDatagram(ByteBuffer(string: "and back"))
                    try pair.run(for: .milliseconds(7))
                }
                #expect(try pair.transfers(20_000))
                try pair.run(for: .seconds(10))
                #expect(try pair.transfers(20_000))
                #expect(pair.server.core?.path.remote == old)
                #expect(pair.server.closeReason == nil)
                if pair.server.closeReason != nil || pair.client.closeReason != nil { break }
            }
        }
    }

    /// The first check of a new path is a small one, and ngtcp2 0.12 gives the connection up if the second is not answered.
    @Test(
        "the network is down just after the client moved", arguments: [0, 3, 6, 9, 12, 15, 18, 21, 30, 60],
        [300, 3000, 9000])
    func outage(pause: Int64, outage: Int64) throws {
        let pair = try Pair.confirmed()
        var isDown = false
        pair.network = { isDown || (!$0.toServer && $0.path?.remote != pair.serverPath.remote) ? nil : $0 }
        for round in 0..<20 where pair.server.closeReason == nil {
            // New ports, new hosts, and old ones again.
            let address = try Pair.address(round % 3 == 1 ? "203.0.113.9" : "192.0.2.1", 41_000 + round / 4)
            pair.serverPath.remote = address
            _ = try pair.client.core?.sendDatagram(ByteBuffer(string: "there"))
            try pair.run(for: .milliseconds(pause))
            isDown = true
            try pair.run(for: .milliseconds(outage))
            isDown = false
            _ = try pair.client.core?.sendDatagram(ByteBuffer(string: "again"))
            #expect(try pair.transfers(20_000), "round \(round)")
            try pair.run(for: .seconds(round % 2 == 0 ? 5 : 0))
        }
        try pair.run(for: .seconds(10))
        #expect(try pair.transfers(20_000))
        try pair.run(for: .seconds(5))
        #expect(pair.server.core?.path.remote == pair.serverPath.remote)
        #expect(pair.server.closeReason == nil)
    }

    /// ngtcp2 0.12 ends the process if the address to which a client returns is the one that it knows last as good.
    @Test("a client that comes back to its second address", arguments: [1, 6, 11, 16, 21, 26, 40] as [Int64])
    func comesBackToTheSecond(pause: Int64) throws {
        let pair = try Pair.confirmed()
        let second = try Pair.address("203.0.113.9", 41_000)
        pair.serverPath.remote = second
        _ = try pair.client.core?.sendDatagram(ByteBuffer(string: "there"))
        try pair.run(for: .seconds(5))
        #expect(pair.server.core?.path.remote == second)
        for host in ["203.0.113.9", "203.0.113.10"] {
            pair.serverPath.remote = try Pair.address(host, 42_000)
            _ = try pair.client.core?.sendDatagram(ByteBuffer(string: "elsewhere"))
            try pair.run(for: .milliseconds(pause))
            pair.serverPath.remote = second
            for _ in 0..<4 {
                _ = try pair.client.core?.sendDatagram(ByteBuffer(string: "and back"))
                try pair.run(for: .milliseconds(7))
            }
            #expect(try pair.transfers(20_000))
            try pair.run(for: .seconds(10))
            #expect(try pair.transfers(20_000))
            try pair.run(for: .seconds(1))
            #expect(pair.server.core?.path.remote == second)
            #expect(pair.server.closeReason == nil)
        }
    }

    @Test("no client has a port that stands for another address")
    func reservedPorts() throws {
        let pair = try Pair.confirmed()
        pair.serverPath.remote = try Pair.address("192.0.2.1", 3)
        _ = try pair.client.core?.sendDatagram(ByteBuffer(string: "there"))
        try pair.run(for: .seconds(1))
        #expect(pair.server.changedPaths.isEmpty)
        #expect(pair.server.datagrams.isEmpty)
    }

    // MARK: Preferred addresses

    private func preferring(_ text: String, refused: Bool = false) throws -> Pair {
        var server = QUICPathSettings()
        server.preferredIPv4Address = try SocketAddress(ipAddress: text, port: 4434)
        server.preferredIPv6Address = try SocketAddress(ipAddress: "2001:db8::1", port: 4434)
        var client = QUICPathSettings()
        client.refusesPreferredAddress = refused
        let pair = try Pair(
            configure: { clientConfiguration, serverConfiguration in
                clientConfiguration.paths = client
                serverConfiguration.paths = server
            })
        try pair.establish()
        return pair
    }

    @Test("the client goes to the preferred address, with the connection ID that belongs to it")
    func preferredAddress() throws {
        let pair = try self.preferring("198.51.100.77")
        let preferred = try SocketAddress(ipAddress: "198.51.100.77", port: 4434)
        var destinations: [SocketAddress: Set<QUICConnectionID>] = [:]
        pair.network = { flight in
            if let id = flight.destination, let path = flight.path { destinations[path.remote, default: []].insert(id) }
            return flight
        }
        #expect(try pair.transfers(200_000))
        try pair.run(for: .seconds(1))
        let path = QUICPath(local: pair.clientPath.local, remote: preferred)
        #expect(pair.client.core?.path == path)
        #expect(pair.client.changedPaths == [path])
        #expect(pair.server.core?.path == QUICPath(local: preferred, remote: pair.clientPath.local))
        let there = try #require(destinations[preferred])
        #expect(there.isDisjoint(with: destinations[pair.clientPath.remote] ?? []))
        // And from there it may migrate.
        try pair.client.core?.migrate(to: try Pair.address("192.0.2.9"), now: pair.now)
        #expect(try pair.transfers(10_000))
        try pair.run(for: .seconds(1))
        #expect(pair.client.core?.path == QUICPath(local: try Pair.address("192.0.2.9"), remote: preferred))
    }

    @Test("a client that refuses stays, and so does one whose datagrams do not arrive there")
    func preferredAddressIsRefused() throws {
        let refusing = try self.preferring("198.51.100.77", refused: true)
        #expect(try refusing.transfers(50_000))
        #expect(refusing.client.core?.path == refusing.clientPath)
        #expect(refusing.client.changedPaths.isEmpty)
        let dead = try self.preferring("198.51.100.77")
        dead.network = { $0.path?.remote.port == 4434 || $0.path?.local.port == 4434 ? nil : $0 }
        #expect(try dead.transfers(50_000))
        try dead.run(for: .seconds(10))
        #expect(dead.client.core?.path == dead.clientPath)
        #expect(dead.client.settled.map(\.outcome) == [.failed])
        #expect(try dead.transfers(50_000))
    }

    @Test("a server elsewhere cannot send a client to what listens on its own machine")
    func preferredLoopback() throws {
        let pair = try self.preferring("127.0.0.1")
        var remotes: Set<SocketAddress> = []
        pair.network = { flight in
            if flight.toServer, let path = flight.path { remotes.insert(path.remote) }
            return flight
        }
        #expect(try pair.transfers(50_000))
        try pair.run(for: .seconds(10))
        #expect(remotes == [pair.clientPath.remote])
    }
}
