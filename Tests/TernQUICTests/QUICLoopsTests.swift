// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CarrierSupport
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import TernTransport
import TestTimeLimits
import Testing

@testable import TernQUIC
@testable import TernQUICCore

extension SocketTests {
    /// One port, several event loops, and clients that do not stay at one address.
    @Suite(.serialized) struct Loops {
        /// Runs `body` with a listener that has a socket on each of `count` event loops of its own.
        private func withLoops(
            _ count: Int, on host: String = "127.0.0.1", options: QUICServerOptions = QUICServerOptions(),
            onConnection: @escaping @Sendable (any LoopConnection) -> Void = { echo($0) },
            _ body: (QUICListener) async throws -> Void
        ) async throws {
            let group = MultiThreadedEventLoopGroup(numberOfThreads: count)
            do {
                try await withListener(on: host, serverOptions: options, group: group, onConnection: onConnection) {
                    #expect($0.loopCount == count)
                    try await body($0)
                }
            } catch {
                try? await group.shutdownGracefully()
                throw error
            }
            try await group.shutdownGracefully()
        }

        @Test func connectionsLiveOnAllLoops() async throws {
            let loops = NIOLockedBox<Set<ObjectIdentifier>>([])
            try await self.withLoops(
                4,
                onConnection: { connection in
                    loops.update { $0.insert(ObjectIdentifier(connection.eventLoop)) }
                    echo(connection)
                }
            ) { listener in
                for _ in 0..<64 {
                    let cameBack = try await echoes(64, at: listener.localAddress)
                    #expect(cameBack)
                }
                let counters = try await listener.counters().get()
                #expect(counters.accepted == 64)
            }
            #expect(loops.value.count >= 3)
        }

        @Test(arguments: [(1, "127.0.0.1"), (2, "127.0.0.1"), (4, "127.0.0.1"), (4, "::1")])
        func everyByteArrivesWhileThePortChanges(count: Int, host: String) async throws {
            try await self.withLoops(count, on: host) { listener in
                let relay = try await UDPRelay.start(
                    to: listener.localAddress, on: MultiThreadedEventLoopGroup.singleton.next(),
                    rebindsBefore: { $0 > 0 && $0 % 400 == 0 })
                let size = 6_000_000
                let answer = try await withConnection(to: try await relay.address) { handler, answer in
                    try roundTrip(size, over: handler, answer: answer)
                }
                #expect(answer == Pattern.bytes(at: 0, count: size))
                let (_, rebindings) = try await relay.counts
                #expect(rebindings >= 10)
                let counters = try await listener.counters().get()
                #expect((counters.trainsHandedOver > 0) == (count > 1))
                #expect(counters.accepted == 1)
                try await relay.stop()
            }
        }

        @Test(arguments: [1, 4], [1, 2, 3])
        func aPortThatChangesInTheHandshake(count: Int, before datagram: Int) async throws {
            // Several times, so that the second port is sometimes another loop's.
            try await self.withLoops(count) { listener in
                for _ in 0..<8 {
                    let relay = try await UDPRelay.start(
                        to: listener.localAddress, on: MultiThreadedEventLoopGroup.singleton.next(),
                        rebindsBefore: { $0 == datagram })
                    #expect(try await echoes(5000, at: try await relay.address))
                    let (_, rebindings) = try await relay.counts
                    #expect(rebindings == 1)
                    try await relay.stop()
                }
                #expect(try await listener.counters().get().accepted == 8)
            }
        }

        @Test func limitsHoldForAllLoopsTogether() async throws {
            var options = QUICServerOptions()
            options.limits.connections = 5
            let loop = MultiThreadedEventLoopGroup.singleton.next()
            try await self.withLoops(4, options: options) { listener in
                var limits = ConnectionLimits()
                limits.handshakeTimeout = .seconds(2)
                let attempts = try (0..<8).map { _ in
                    try connect(to: listener.localAddress, limits: limits).established
                }
                let connections = try await EventLoopFuture.whenAllComplete(attempts, on: loop).get()
                    .compactMap { try? $0.get() }
                #expect(connections.count == 5)
                #expect(try await listener.counters().get().shed > 0)
                let ends = connections.map { connection in
                    connection.eventLoop.flatSubmit {
                        let handler = TestHandler(connection)
                        connection.start(handler: handler)
                        connection.close(code: 0, reason: "")
                        return handler.closed
                    }
                }
                _ = try await EventLoopFuture.whenAllSucceed(ends, on: loop).get()
                let isEmpty = try await eventually { try await listener.occupancy().get().connections == 0 }
                #expect(isEmpty)
                #expect(try await echoes(64, at: listener.localAddress))
            }
        }

        @Test func aStoppedListenerTakesNobodyOnAnyLoop() async throws {
            try await self.withLoops(4) { listener in
                try await listener.stopAccepting().get()
                var limits = ConnectionLimits()
                limits.handshakeTimeout = .milliseconds(200)
                for _ in 0..<8 {
                    await #expect(throws: TransportError.self) {
                        _ = try await connect(to: listener.localAddress, limits: limits).established.get()
                    }
                }
                #expect(try await listener.counters().get().accepted == 0)
            }
        }

        @Test func twoListenersDoNotSlideIntoOnePort() async throws {
            try await self.withLoops(2) { listener in
                let port = try #require(listener.localAddress.port)
                let error = await #expect(throws: TransportError.self) {
                    try await withListener(port: port) { _ in }
                }
                #expect(error?.code == .cannotListen)
                #expect(try await echoes(64, at: listener.localAddress))
            }
        }

        @Test func theNodeIsInEveryConnectionID() async throws {
            var options = QUICServerOptions()
            options.node = 0xabcd
            let ids = NIOLockedBox<[QUICConnectionID]>([])
            try await self.withLoops(
                2, options: options,
                onConnection: { connection in
                    if let connection = connection as? QUICConnection {
                        ids.update { $0 += connection.core.connectionIDs.filter { $0.count == 18 } }
                    }
                    echo(connection)
                }
            ) { listener in
                for _ in 0..<4 {
                    let cameBack = try await echoes(64, at: listener.localAddress)
                    #expect(cameBack)
                }
            }
            // The client's first choice has 18 bytes too, and is the second of them.
            let issued = ids.value.filter { $0[0] == 0xab && $0[1] == 0xcd }
            #expect(issued.count >= ids.value.count - 4)
            #expect(issued.count >= 4)
            #expect(issued.allSatisfy { $0[2] < 2 })
        }
    }
}

@Suite(.untilItHangs) struct QUICServerLoopsTests {
    private let group = MultiThreadedEventLoopGroup.singleton

    private func loops(_ count: Int, node: UInt16 = 7) -> QUICServerLoops {
        QUICServerLoops(node: node, eventLoops: (0..<count).map { _ in self.group.next() })
    }

    @Test func aConnectionIDSaysWhereItBelongs() {
        let loops = self.loops(3, node: 0x0102)
        let rest = [UInt8](repeating: 9, count: 15)
        #expect(loops.connectionIDPrefix(of: 2) == [1, 2, 2])
        #expect(loops.loop(of: QUICConnectionID([1, 2, 2] + rest)) == 2)
        #expect(loops.loop(of: QUICConnectionID([1, 2, 3] + rest)) == nil)
        #expect(loops.loop(of: QUICConnectionID([1, 3, 2] + rest)) == nil)
        #expect(loops.loop(of: QUICConnectionID([1, 2, 2])) == nil)
        #expect(loops.isOurs(QUICConnectionID([1, 2, 200] + rest)))
        let datagram = [0x40, 1, 2, 1] + rest
        datagram.withUnsafeBytes { #expect(loops.loop(ofShortHeader: $0) == 1) }
        for length in 0..<datagram.count {
            datagram.withUnsafeBytes { bytes in
                let short = UnsafeRawBufferPointer(rebasing: bytes[..<length])
                #expect(loops.loop(ofShortHeader: short) == nil)
            }
        }
    }

    @Test func aHandshakeBelongsToWhoeverWasFirst() {
        let loops = self.loops(2)
        let id = QUICConnectionID(1...8)
        #expect(loops.handshakeLoop(of: id) == nil)
        #expect(loops.claimHandshake(id, for: 1) == 1)
        #expect(loops.claimHandshake(id, for: 0) == 1)
        loops.releaseHandshake(id, of: 0)
        #expect(loops.handshakeLoop(of: id) == 1)
        loops.releaseHandshake(id, of: 1)
        #expect(loops.handshakeLoop(of: id) == nil)
        #expect(loops.handshakeCount == 0)
        // With one loop nothing need be written down.
        let alone = self.loops(1)
        #expect(alone.claimHandshake(id, for: 0) == 0)
        #expect(alone.handshakeCount == 0)
    }

    private func train(_ count: Int) throws -> HandedTrain {
        let address = try SocketAddress(ipAddress: "127.0.0.1", port: 1)
        return HandedTrain(
            bytes: ByteBuffer(repeating: 1, count: count), segmentSize: 1200,
            path: QUICPath(local: address, remote: address), ecn: .notECT)
    }

    @Test func aMailboxWakesItsLoopOnceAndHoldsOnlySoMuch() async throws {
        let eventLoop = self.group.next()
        let mailbox = QUICTrainMailbox(eventLoop: eventLoop)
        let train = try self.train(60_000)
        #expect(mailbox.post([train]) == 1)
        let wakeUps = NIOLockedBox(0)
        mailbox.open { wakeUps.update { $0 += 1 } }
        var dropped = 0
        for _ in 0..<100 { dropped += mailbox.post([train]) }
        #expect(dropped > 0 && dropped < 40)
        try await eventLoop.submit {}.get()
        #expect(wakeUps.value == 1)
        #expect(mailbox.take().count == 100 - dropped)
        #expect(mailbox.take().isEmpty)
        #expect(mailbox.post([train]) == 0)
        try await eventLoop.submit {}.get()
        #expect(wakeUps.value == 2)
        mailbox.close()
        #expect(mailbox.take().isEmpty)
        #expect(mailbox.post([train]) == 1)
    }

    /// Forged datagrams of 19 bytes for another loop, in turn with others so that none can join the one before.
    @Test func tinyTrainsCostAMailboxMoreThanTheirBytes() async throws {
        let eventLoop = self.group.next()
        let mailboxes = [QUICTrainMailbox(eventLoop: eventLoop), QUICTrainMailbox(eventLoop: eventLoop)]
        mailboxes[1].open {}
        let path = try self.train(19).path
        var outbox = HandoverOutbox(loops: 2)
        let bytes = [UInt8](repeating: 0x40, count: 19)
        bytes.withUnsafeBytes { bytes in
            let train = ReceivedTrain(bytes: bytes, segmentSize: 19, path: path, ecn: .notECT, now: .now())
            for _ in 0..<100_000 { outbox.append(bytes, of: train, to: 1) }
        }
        let dropped = outbox.flush(to: mailboxes)
        #expect(dropped > 90_000)
        #expect(mailboxes[1].post(Array(repeating: try self.train(19), count: 100_000)) > 90_000)
        #expect(mailboxes[1].take().count < 10_000)
    }

    @Test func theFirstLoopsSocketIsClosedIfItsPortCannotBeShared() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        let taken = NIOLockedBox<CInt>(-1)
        var options = UDPSocketOptions()
        options.sharePort = { descriptor in
            taken.value = descriptor
            return ENOPROTOOPT
        }
        // The kernel chooses a port, which the test must know.
        let channel = try await DatagramBootstrap(group: group).bind(host: "127.0.0.1", port: 0).get()
        let free = try #require(channel.localAddress?.port)
        try await channel.close().get()
        let error = await #expect(throws: TransportError.self) {
            try await withListener(port: free, socketOptions: options, group: group) { _ in }
        }
        #expect(error?.code == .cannotListen)
        #expect(taken.value >= 0)
        // The channel is closed on the loop that bound it.
        for eventLoop in group.makeIterator() { try await eventLoop.submit {}.get() }
        try await withListener(port: free) { _ in }
        try await group.shutdownGracefully()
    }

    @Test func aRebindingInTheHandshakeMayChangeThePortOnly() throws {
        let local = try SocketAddress(ipAddress: "192.0.2.1", port: 443)
        func path(_ host: String, _ port: Int) throws -> QUICPath {
            QUICPath(local: local, remote: try SocketAddress(ipAddress: host, port: port))
        }
        let first = try path("192.0.2.2", 1000)
        let other = try path("192.0.2.2", 2000)
        let elsewhere = try path("192.0.2.3", 1000)
        var rebinding = HandshakeRebinding()
        #expect(rebinding.pathForSocket(first, first: first) == first)
        #expect(rebinding.pathForConnection(elsewhere, first: first, isEstablished: false) == elsewhere)
        #expect(rebinding.pathForSocket(first, first: first) == first)
        #expect(rebinding.pathForConnection(other, first: first, isEstablished: false) == first)
        #expect(rebinding.pathForSocket(first, first: first) == other)
        #expect(rebinding.pathForSocket(elsewhere, first: first) == elsewhere)
        // It came back.
        #expect(rebinding.pathForConnection(first, first: first, isEstablished: false) == first)
        #expect(rebinding.pathForSocket(first, first: first) == first)
        // When the handshake is done the connection looks after itself.
        #expect(rebinding.pathForConnection(other, first: first, isEstablished: false) == first)
        #expect(rebinding.pathForConnection(other, first: first, isEstablished: true) == other)
        #expect(rebinding.pathForSocket(first, first: first) == first)
        // Also if it is back at the first port when the handshake is done.
        #expect(rebinding.pathForConnection(other, first: first, isEstablished: false) == first)
        #expect(rebinding.pathForConnection(first, first: first, isEstablished: true) == first)
        #expect(rebinding.pathForSocket(first, first: first) == first)
    }
}
