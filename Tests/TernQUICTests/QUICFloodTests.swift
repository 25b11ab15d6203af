// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CTernSystem
import CarrierSupport
import NIOCore
import NIOPosix
import TernTransport
import Testing

@testable import TernQUIC

extension SocketTests {
    /// Floods from clients that mean no good: what they cost is bounded, and others are served meanwhile.
    ///
    /// The limits on memory are of the whole process, generous, and far below what an undefended server would take.
    @Suite(.serialized) struct Floods {
        private static let megabyte = 1 << 20

        /// The listener has read everything that was sent before: nothing is ahead of a stranger's version.
        private func settle(_ listener: QUICListener) async throws {
            let cameBack = try await echoes(64, at: listener.localAddress)
            #expect(cameBack)
        }

        @Test func halfOpenHandshakesStopAtTheRetry() async throws {
            var options = QUICServerOptions()
            options.handshakesBeforeRetry = 50
            try await withListener(serverOptions: options) { listener in
                let initials = try (0..<1000).map { _ in try RawDatagram.initial(to: listener.localAddress) }
                let before = Consumption.memory
                // Each batch from an address of its own, as if they were forged.
                for batch in 0..<10 {
                    try await RawPeer.with(from: "127.0.1.\(batch + 1)", to: listener.localAddress) { peer in
                        try await peer.send(initials[(batch * 100)..<(batch * 100 + 100)])
                        try await self.settle(listener)
                        // Never more than three times what came (RFC 9000, section 8.1).
                        #expect(peer.answered.bytes <= 3 * 100 * 1200)
                    }
                }
                let counters = try await listener.counters().get()
                let occupancy = try await listener.occupancy().get()
                // Those that the listener was asked over may still be closing.
                #expect(occupancy.connections <= 50 + 10)
                #expect(counters.retries >= 900)
                // 1,000 half-open handshakes take 80 MB and more; tests that run beside this one take some too.
                #expect(Consumption.memory - before < 50 * Self.megabyte || Consumption.isDistorted)
            }
        }

        @Test func halfOpenHandshakesOfOneAddressAreFew() async throws {
            var options = QUICServerOptions()
            options.addressValidation = .never
            options.limits.handshakesPerAddress = 20
            try await withListener(serverOptions: options) { listener in
                let initials = try (0..<100).map { _ in try RawDatagram.initial(to: listener.localAddress) }
                try await RawPeer.with(from: "127.0.2.1", to: listener.localAddress) { peer in
                    try await peer.send(initials)
                    // Another address is not affected.
                    try await self.settle(listener)
                }
                let shed = try await eventually { try await listener.counters().get().shed >= 80 }
                #expect(shed)
                let occupancy = try await listener.occupancy().get()
                #expect(occupancy.connections <= 22)
            }
        }

        @Test func unfinishedHandshakesEndInTime() async throws {
            var limits = ConnectionLimits()
            limits.handshakeTimeout = .milliseconds(200)
            try await withListener(limits: limits) { listener in
                let initials = try (0..<40).map { _ in try RawDatagram.initial(to: listener.localAddress) }
                try await RawPeer.with(to: listener.localAddress) { try await $0.send(initials) }
                let isFull = try await eventually { try await listener.counters().get().accepted == 40 }
                #expect(isFull)
                let isEmpty = try await eventually { try await listener.occupancy().get() == (0, 0) }
                #expect(isEmpty)
            }
        }

        @Test func noiseIsAnsweredByARetryBeforeLong() async throws {
            var options = QUICServerOptions()
            options.handshakesBeforeRetry = 20
            try await withListener(serverOptions: options) { listener in
                let before = Consumption.memory
                try await RawPeer.with(to: listener.localAddress) { peer in
                    for batch in 0..<40 {
                        try await peer.send((0..<50).map { RawDatagram.noise(number: UInt64(batch * 50 + $0 + 1)) })
                        try await self.settle(listener)
                    }
                    #expect(peer.answered.bytes <= 2000 * 1200)
                }
                let counters = try await listener.counters().get()
                // Some are forgotten each second; without the count all 2,000 would have set up a connection.
                #expect(counters.accepted < 600)
                #expect(counters.retries > 1000)
                // Those that the listener was asked over may still be closing.
                #expect(try await listener.occupancy().get().connections <= 40)
                #expect(Consumption.memory - before < 50 * Self.megabyte)
            }
        }

        @Test func noiseWithTokensOfAllKindsIsHarmless() async throws {
            try await withListener { listener in
                try await RawPeer.with(to: listener.localAddress) { peer in
                    var number: UInt64 = 0
                    for (first, length) in [(0xb6, 78), (0x36, 57), (0xb6, 57), (0x36, 78), (0, 1), (0xff, 900)] {
                        let token = [UInt8(first)] + Array(repeating: 5, count: length - 1)
                        try await peer.send(
                            (0..<150).map { _ in
                                number += 1
                                return RawDatagram.noise(number: number, token: token)
                            })
                        try await self.settle(listener)
                    }
                }
                let counters = try await listener.counters().get()
                // Those like a Retry token are refused, and that only so often.
                #expect(counters.refusals >= 1 && counters.refusals < 150)
                #expect(counters.repliesWithheld > 0)
            }
        }

        @Test func strangeVersionsAreAnsweredOnlySoOften() async throws {
            try await withListener { listener in
                try await RawPeer.with(to: listener.localAddress) { peer in
                    for batch in 0..<20 {
                        try await peer.send(
                            (0..<50).map { RawDatagram.strangeVersion(number: UInt32(batch * 50 + $0)) })
                        try await self.settle(listener)
                    }
                    #expect(peer.answered.bytes < 1000 * 100)
                }
                let counters = try await listener.counters().get()
                // So many in a second, and a sanitizer makes it take many.
                #expect(counters.versionNegotiations >= 1)
                #expect(counters.versionNegotiations < 900 || Consumption.isDistorted)
                // Some may be lost before the listener sees them.
                #expect((900...1000).contains(counters.versionNegotiations + counters.repliesWithheld))
                #expect(counters.accepted == 20)
            }
        }

        @Test func packetsOfUnknownConnectionsAreResetOnlySoOften() async throws {
            try await withListener { listener in
                try await RawPeer.with(to: listener.localAddress) { peer in
                    for batch in 0..<10 {
                        try await peer.send(
                            (0..<50).map { RawDatagram.unknownConnection(number: UInt32(batch * 50 + $0)) })
                        try await peer.send(
                            (0..<50).map { RawDatagram.unknownConnection(number: UInt32(batch * 50 + $0), node: 9) })
                        try await self.settle(listener)
                    }
                }
                let counters = try await listener.counters().get()
                #expect(counters.statelessResets >= 1)
                #expect(counters.statelessResets < 450 || Consumption.isDistorted)
                // Those of another node are not answered at all.
                #expect(counters.statelessResets + counters.repliesWithheld == 500)
            }
        }

        @Test func noiseCostsLittleTime() async throws {
            let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
            try await withListener(group: group) { listener in
                let packets = (0..<20_000).map { RawDatagram.noise(number: UInt64($0) + 1) }
                let before = try await group.next().submit { Consumption.processor }.get()
                try await RawPeer.with(to: listener.localAddress) { peer in
                    for start in stride(from: 0, to: packets.count, by: 200) {
                        try await peer.send(packets[start..<(start + 200)])
                        _ = try await listener.counters().get()
                    }
                }
                // In a debug build: less than a tenth of a millisecond for each packet.
                let used = try await group.next().submit { Consumption.processor }.get() - before
                #expect(
                    used < .seconds(2) || Consumption.isDistorted,
                    "\(used.nanoseconds / 1_000_000) ms for 20,000 packets")
                try await self.settle(listener)
            }
            try await group.shutdownGracefully()
        }

        @Test func idleConnectionsHoldLittleAndLeaveNothing() async throws {
            let (count, rounds) = (150, 5)
            try await withListener { listener in
                try await self.settle(listener)
                let arenas = tern_quic_arenas_in_use()
                var held: [TestHandler] = []
                // What tests beside this one take for themselves cannot be told from ours. They do not take it in every round, so
                // the smallest growth is ours.
                var perConnection = Int.max
                for _ in 0..<rounds where perConnection >= 300 << 10 {
                    let before = Consumption.memory
                    for _ in 0..<count { held.append(try await self.idleConnection(to: listener)) }
                    perConnection = min(perConnection, (Consumption.memory - before) / count)
                }
                // Both ends, and the client's socket with its buffers; a server of ours alone takes 64 KB for each.
                #expect(perConnection < 300 << 10 || Consumption.isDistorted, "\(perConnection >> 10) KiB")
                let others = tern_quic_arenas_in_use()
                for handler in held {
                    handler.connection.eventLoop.execute { handler.connection.close(code: 0, reason: "") }
                    _ = try await handler.closed.get()
                }
                held = []
                // Tests that run beside this one may hold some.
                if others > 0 {
                    let areFree = try await eventually { tern_quic_arenas_in_use() < arenas + count }
                    #expect(areFree)
                }
            }
        }

        private func idleConnection(to listener: QUICListener) async throws -> TestHandler {
            var socketOptions = UDPSocketOptions()
            socketOptions.bufferSize = 65_536
            let connection = try await connect(to: listener.localAddress, socketOptions: socketOptions).established
                .get()
            return try await connection.eventLoop.submit {
                let handler = TestHandler(connection)
                connection.start(handler: handler)
                return handler
            }.get()
        }

        @Test func streamsThatAreResetAtOnceAreNoBurden() async throws {
            try await withListener { listener in
                let before = Consumption.memory
                let connection = try await connect(to: listener.localAddress).established.get()
                let (done, closed) = try await connection.eventLoop.submit {
                    let handler = TestHandler(connection)
                    let resetter = RapidResetter(handler, count: 20_000)
                    connection.start(handler: handler)
                    resetter.go()
                    return (resetter.done.futureResult, handler.closed)
                }.get()
                // Somebody else is served meanwhile, again and again.
                for _ in 0..<10 { try await self.settle(listener) }
                try await done.get()
                #expect(Consumption.memory - before < 30 * Self.megabyte)
                connection.eventLoop.execute { connection.close(code: 0, reason: "") }
                _ = try await closed.get()
            }
        }

        @Test func aPeerThatNobodyReadsFillsNoMoreThanItsWindow() async throws {
            var limits = ConnectionLimits()
            limits.connectionWindow = 4 << 20
            limits.streamWindow = 1 << 20
            let isFirst = NIOLockedBox(true)
            let onConnection: @Sendable (any LoopConnection) -> Void = { connection in
                // The handler of the first never says that it consumed anything.
                guard isFirst.value else { return echo(connection) }
                isFirst.value = false
                connection.start(handler: TestHandler(connection))
            }
            try await withListener(limits: limits, onConnection: onConnection) { listener in
                let before = Consumption.memory
                let connection = try await connect(to: listener.localAddress).established.get()
                // The server may hear of its end of the handshake later than of the next client.
                #expect(try await eventually { !isFirst.value })
                let closed = try await connection.eventLoop.submit {
                    let handler = TestHandler(connection)
                    connection.start(handler: handler)
                    // Many streams of many small pieces, far more than the window.
                    let piece = ByteBuffer(repeating: 1, count: 100)
                    for _ in 0..<32 {
                        guard let stream = try connection.openStream(.bidirectional) else { break }
                        for _ in 0..<2_000 { _ = try connection.write(piece, to: stream, finish: false) }
                    }
                    return handler.closed
                }.get()
                for _ in 0..<10 { try await self.settle(listener) }
                let statistics = try await connection.eventLoop.submit { connection.statistics() }.get()
                #expect(statistics.bytesSent < 6 << 20)
                #expect(Consumption.memory - before < 60 * Self.megabyte)
                connection.eventLoop.execute { connection.close(code: 0, reason: "") }
                _ = try await closed.get()
            }
        }
    }
}

/// Opens a stream, writes a byte and resets it, as fast as the peer allows. Confined to its connection's event loop.
private final class RapidResetter: @unchecked Sendable {
    private let handler: TestHandler
    private var left: Int
    let done: EventLoopPromise<Void>

    init(_ handler: TestHandler, count: Int) {
        self.handler = handler
        self.left = count
        self.done = handler.connection.eventLoop.makePromise()
        handler.onStreamsAvailable = { [self] _ in self.go() }
        handler.closed.whenSuccess { [done] in done.fail($0) }
    }

    func go() {
        do {
            while self.left > 0, let stream = try self.handler.connection.openStream(.bidirectional) {
                self.left -= 1
                _ = try self.handler.connection.write(ByteBuffer(string: "x"), to: stream, finish: false)
                self.handler.connection.reset(stream, code: 1)
                self.handler.connection.stopSending(stream, code: 1)
            }
            if self.left == 0 { self.done.succeed() }
        } catch { self.done.fail(error) }
    }
}
