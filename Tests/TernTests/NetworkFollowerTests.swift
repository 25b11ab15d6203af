// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import NIOPosix
import Synchronization
import TernTransport
import TestTimeLimits
import Testing

@testable import Tern

/// A network that changes when the test says so, under connections over loopback.
@Suite("Following the network", .untilItHangs)
struct NetworkFollowerTests {
    /// What the routing table says, and who hears of changes.
    private final class Network: Sendable {
        let source = Mutex<String?>("127.0.0.1")
        let isOurs = Mutex(true)
        private let questions = Mutex(0)
        private let sinks = Mutex<[AsyncStream<Void>.Continuation]>([])

        /// How often the routing table was asked.
        func untilAsked(_ count: Int) async {
            while self.questions.withLock({ $0 }) < count { await Task.yield() }
        }

        var follower: NetworkFollower {
            NetworkFollower(
                NetworkFollower.View(
                    changes: {
                        let (stream, sink) = AsyncStream.makeStream(of: Void.self)
                        self.sinks.withLock { $0.append(sink) }
                        return stream
                    },
                    sourceAddress: { _ in
                        self.questions.withLock { $0 += 1 }
                        return self.source.withLock { $0 }.flatMap { try? SocketAddress(ipAddress: $0, port: 0) }
                    }, isOurs: { _ in self.isOurs.withLock { $0 } }), settling: .zero)
        }

        func change(to source: String?, isOurs: Bool = true) async {
            while self.sinks.withLock({ $0.isEmpty }) { await Task.yield() }
            self.source.withLock { $0 = source }
            self.isOurs.withLock { $0 = isOurs }
            for sink in self.sinks.withLock({ $0 }) { sink.yield() }
        }
    }

    private func connect(
        _ mode: ConnectionPolicy.Mode, to endpoint: Endpoint, _ trust: TLSTrust
    ) async throws -> Connection {
        try await Connector(
            applicationProtocol: ApplicationProtocol("echo"), tls: TLSClientConfiguration(trust: trust),
            policy: ConnectionPolicy(mode)
        ).connect(to: endpoint)
    }

    @Test func aConnectionOverQUICMoves() async throws {
        try await withEchoServer { endpoint, trust in
            let connection = try await self.connect(.quicOnly, to: endpoint, trust)
            _ = try await echo("before", on: connection)
            let network = Network()
            let following = Task { await network.follower.follow(connection) }
            let before = try #require(await connection.localAddress())
            await network.untilAsked(1)
            // No way at all: it stays, and waits for one.
            await network.change(to: nil)
            await network.untilAsked(2)
            await network.change(to: "127.0.0.2")
            while await connection.localAddress() == before { await Task.yield() }
            let moved = await connection.localAddress()
            // Something else changed, twice: it has moved already.
            for count in 4...5 {
                await network.change(to: "127.0.0.2")
                await network.untilAsked(count)
            }
            #expect(await connection.localAddress() == moved)
            #expect(try await echo("after", on: connection) == "after")
            await connection.close()
            await following.value
        }
    }

    @Test func aConnectionOverTCPWithoutItsAddressEnds() async throws {
        try await withEchoServer { endpoint, trust in
            let connection = try await self.connect(.tcpOnly, to: endpoint, trust)
            let network = Network()
            async let following: Void = network.follower.follow(connection)
            await network.untilAsked(1)
            // Another way is better, but this one is still there.
            await network.change(to: "127.0.0.2")
            #expect(try await echo("on", on: connection) == "on")
            await network.change(to: "127.0.0.2", isOurs: false)
            let end = await connection.closed()
            #expect(end.code == .application && end.wireCode == 0 && end.initiator == .local)
            await following
        }
    }

    @Test func whatIsDone() throws {
        let network = Network()
        let here = try SocketAddress(ipAddress: "127.0.0.1", port: 9)
        func verdict(_ source: String, _ canMigrate: Bool, isOurs: Bool = true) throws -> NetworkFollower.Verdict {
            network.isOurs.withLock { $0 = isOurs }
            let source = try SocketAddress(ipAddress: source, port: 0)
            return network.follower.verdict(on: here, source: source, canMigrate: canMigrate)
        }
        for isOurs in [true, false] {
            #expect(try verdict("127.0.0.1", false, isOurs: isOurs) == .stay)
            #expect(try verdict("127.0.0.2", true, isOurs: isOurs) == .move)
        }
        #expect(try verdict("127.0.0.2", false) == .stay)
        #expect(try verdict("127.0.0.2", false, isOurs: false) == .giveUp)
    }

    @Test func aCancelledTaskStopsFollowing() async throws {
        try await withEchoServer { endpoint, trust in
            let connection = try await self.connect(.quicOnly, to: endpoint, trust)
            let network = Network()
            let following = Task { await network.follower.follow(connection) }
            await network.change(to: "127.0.0.1")
            following.cancel()
            await following.value
            #expect(try await echo("on", on: connection) == "on")
            await connection.close()
        }
    }

    /// Nothing changes here: the system's own view moves nobody.
    @Test(arguments: [ConnectionPolicy.Mode.quicOnly, .tcpOnly])
    func theSystemsViewAgreesWithTheConnection(mode: ConnectionPolicy.Mode) async throws {
        try await withEchoServer { endpoint, trust in
            let connection = try await self.connect(mode, to: endpoint, trust)
            let local = await connection.localAddress()
            let following = Task { await NetworkFollower().follow(connection) }
            for _ in 0..<20 { #expect(try await echo("on", on: connection) == "on") }
            #expect(await connection.localAddress() == local)
            await connection.close()
            await following.value
        }
    }
}
