// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CarrierSupport
import Dispatch
import NIOCore
import NIOPosix
import TernTransport
import Testing

@testable import TernQUIC
@testable import TernQUICCore

extension SocketTests {
    @Suite(.serialized) struct Ending {
        @Test func theClientsCodeAndReasonReachTheServer() async throws {
            let atServer = NIOLockedBox<EventLoopFuture<TransportError>?>(nil)
            try await withListener(onConnection: { connection in
                let handler = TestHandler(connection)
                connection.start(handler: handler)
                atServer.value = handler.closed
            }) { listener in
                let connection = try await connect(to: listener.localAddress).established.get()
                let atClient = try await connection.eventLoop.submit {
                    let handler = TestHandler(connection)
                    connection.start(handler: handler)
                    connection.close(code: 42, reason: "enough")
                    connection.close(code: 43, reason: "again")
                    return handler.closed
                }.get()
                let mine = try await atClient.get()
                #expect(mine == TransportError(.application, message: "", wireCode: 42))
                let isThere = try await eventually { atServer.value != nil }
                #expect(isThere)
                let theirs = try await #require(atServer.value).get()
                #expect(theirs == TransportError(.application, message: "", wireCode: 42, initiator: .peer))
                #expect(theirs.message == "enough")
            }
        }

        @Test func theServersCodeAndReasonReachTheClientEvenIfItStartsLate() async throws {
            try await withListener(onConnection: { connection in
                connection.start(handler: TestHandler(connection))
                connection.close(code: 7, reason: "full")
            }) { listener in
                let connection = try await connect(to: listener.localAddress).established.get()
                let isOver = try await eventually {
                    try await connection.eventLoop.submit { (connection as? QUICConnection)?.closeReason != nil }.get()
                }
                #expect(isOver)
                let reason = try await connection.eventLoop.flatSubmit {
                    let handler = TestHandler(connection)
                    connection.start(handler: handler)
                    #expect(throws: TransportError.self) { try connection.openStream(.bidirectional) }
                    return handler.closed
                }.get()
                #expect(reason == TransportError(.application, message: "", wireCode: 7, initiator: .peer))
                #expect(reason.message == "full")
            }
        }

        @Test func closingTheListenerClosesItsConnections() async throws {
            let atClient = NIOLockedBox<EventLoopFuture<TransportError>?>(nil)
            try await withListener { listener in
                let connection = try await connect(to: listener.localAddress).established.get()
                let (closed, answer) = try await connection.eventLoop.submit {
                    let handler = TestHandler(connection)
                    let answer = connection.eventLoop.makePromise(of: ByteBuffer.self)
                    connection.start(handler: handler)
                    try roundTrip(10, over: handler, answer: answer)
                    return (handler.closed, answer.futureResult)
                }.get()
                // Before its own handshake is done the server can't send an application's code (RFC 9000, section 10.2.3).
                _ = try await answer.get()
                atClient.value = closed
            }
            let reason = try await #require(atClient.value).get()
            #expect(reason == TransportError(.application, message: "", wireCode: 0, initiator: .peer))
        }

        @Test func aListenerThatStopsAcceptingKeepsItsConnections() async throws {
            var limits = ConnectionLimits()
            limits.handshakeTimeout = .milliseconds(300)
            try await withListener { listener in
                let answer = try await withConnection(to: listener.localAddress) { handler, answer in
                    let bound = NIOLoopBound(handler, eventLoop: handler.connection.eventLoop)
                    listener.stopAccepting().hop(to: handler.connection.eventLoop).whenSuccess {
                        let handler = bound.value
                        do {
                            try roundTrip(1000, over: handler, answer: answer)
                        } catch {
                            answer.fail(error)
                        }
                    }
                }
                #expect(answer.readableBytes == 1000)
                let error = await #expect(throws: TransportError.self) {
                    try await connect(to: listener.localAddress, limits: limits).established.get()
                }
                #expect(error?.code == .connectionRefused)
            }
        }

        @Test func aServerThatVanishesIsNoticedByTheIdleTimeout() async throws {
            var limits = ConnectionLimits()
            limits.idleTimeout = .milliseconds(300)
            limits.keepAliveInterval = nil
            let socket = NIOLockedBox<(any Channel)?>(nil)
            var options = UDPSocketOptions()
            options.makeSender = { channel, descriptor in
                socket.value = channel
                return SystemDatagramSender(channel: channel, descriptor: descriptor, usesSourceAddress: false)
            }
            // The socket that is closed is the one with the connection.
            var oneLoop = QUICServerOptions()
            oneLoop.loops = 1
            let atServer = NIOLockedBox<EventLoopFuture<TransportError>?>(nil)
            try await withListener(
                limits: limits, serverOptions: oneLoop, socketOptions: options,
                onConnection: { connection in
                    let handler = TestHandler(connection)
                    connection.start(handler: handler)
                    atServer.value = handler.closed
                }
            ) { listener in
                let connection = try await connect(to: listener.localAddress, limits: limits).established.get()
                let atClient = try await connection.eventLoop.submit {
                    let handler = TestHandler(connection)
                    connection.start(handler: handler)
                    return handler.closed
                }.get()
                let isThere = try await eventually { atServer.value != nil }
                #expect(isThere)
                try await #require(socket.value).close().get()
                let reason = try await atClient.get()
                #expect(reason.code == .idleTimeout)
                let lost = try await #require(atServer.value).get()
                #expect(lost.code == .carrierLost)
            }
        }

        @Test func keepAliveKeepsAnIdleConnection() async throws {
            var limits = ConnectionLimits()
            limits.idleTimeout = .seconds(1)
            limits.keepAliveInterval = .milliseconds(100)
            try await withListener(limits: limits) { listener in
                let answer = try await withConnection(to: listener.localAddress, limits: limits) { handler, answer in
                    // More than two idle timeouts later the connection still works.
                    handler.connection.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(2_200)) {
                        do {
                            try roundTrip(64, over: handler, answer: answer)
                        } catch {
                            answer.fail(error)
                        }
                    }
                }
                #expect(answer.readableBytes == 64)
            }
        }
    }
}

extension SocketTests {
    @Suite(.serialized) struct Refusal {
        @Test(arguments: ["127.0.0.1", "::1"])
        func aPortWhereNobodyListensFailsAtOnce(host: String) async throws {
            let address = try await Self.closedPort(on: host)
            let start = NIODeadline.now()
            let attempt = try connect(to: address)
            let error = await #expect(throws: TransportError.self) { try await attempt.established.get() }
            #expect(error?.code == .connectionRefused)
            #expect(error?.isRetrySafe == true)
            #expect(NIODeadline.now() - start < .seconds(9))
            await #expect(throws: TransportError.self) { try await attempt.heardFromPeer.get() }
        }

        @Test func aForeignCertificateIsRejectedAndTheServerGoesOn() async throws {
            let accepted = NIOLockedBox(0)
            try await withListener(onConnection: { connection in
                accepted.update { $0 += 1 }
                echo(connection)
            }) { listener in
                let attempt = try connect(to: listener.localAddress, tls: try TestTLS.stranger())
                let error = await #expect(throws: TransportError.self) { try await attempt.established.get() }
                #expect(error?.code == .certificateRejected)
                try await attempt.heardFromPeer.get()
                let cameBack = try await echoes(64, at: listener.localAddress)
                #expect(cameBack)
                #expect(accepted.value == 1)
                let isAlone = try await eventually { try await listener.occupancy().get().connections <= 1 }
                #expect(isAlone)
            }
        }

        @Test func aCancelledAttemptLeavesNothing() async throws {
            let silent = try await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .bind(to: try SocketAddress(ipAddress: "127.0.0.1", port: 0)).get()
            let address = try #require(silent.localAddress)
            let port = try #require(address.port)
            let sockets = SocketCensus()
            let attempt = try connect(to: address, socketOptions: sockets.options)
            attempt.cancel()
            let error = await #expect(throws: TransportError.self) { try await attempt.established.get() }
            #expect(error?.code == .cancelled)
            let second = try connect(to: address, socketOptions: sockets.options)
            let isTrying = try await eventually { sockets.open > 0 }
            #expect(isTrying)
            second.cancel()
            await #expect(throws: TransportError.self) { try await second.established.get() }
            let isGone = try await eventually { try sockets.open == 0 && openSockets(at: port) == 1 }
            #expect(isGone, "\(sockets.open) are open")
            try await silent.close().get()
        }

        @Test func aCancelAfterTheVictoryClosesWhatNobodyStarted() async throws {
            let atServer = NIOLockedBox<EventLoopFuture<TransportError>?>(nil)
            try await withListener(onConnection: { connection in
                let handler = TestHandler(connection)
                connection.start(handler: handler)
                atServer.value = handler.closed
            }) { listener in
                let attempt = try connect(to: listener.localAddress)
                _ = try await attempt.established.get()
                attempt.cancel()
                let isThere = try await eventually { atServer.value != nil }
                #expect(isThere)
                let reason = try await #require(atServer.value).get()
                #expect(reason == TransportError(.application, message: "", wireCode: 0, initiator: .peer))
            }
        }

        @Test func garbageOnTheServersPortHarmsNobody() async throws {
            try await withListener { listener in
                let sender = try await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                    .bind(to: try SocketAddress(ipAddress: "127.0.0.1", port: 0)).get()
                var random = SystemRandomNumberGenerator()
                for count in [0, 1, 2, 5, 20, 21, 42, 43, 100, 600, 1199, 1200, 1400, 9000] {
                    for head: UInt8 in [0x00, 0x40, 0xc0, 0xcf, 0xe0, 0xff] {
                        var bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
                        if count > 0 { bytes[0] = head }
                        // A well-formed Initial header before random bytes: the protection fails.
                        let id = [1, 2, 3, 4, 5, 6, 7, UInt8(count & 0xff)]
                        let header = [head, 0, 0, 0, 1, 8] + id + [0, 0, 0x44]
                        if count >= 100 { bytes.replaceSubrange(0..<header.count, with: header) }
                        let envelope = AddressedEnvelope(
                            remoteAddress: listener.localAddress, data: ByteBuffer(bytes: bytes))
                        try await sender.writeAndFlush(envelope).get()
                    }
                }
                let cameBack = try await echoes(64, at: listener.localAddress)
                #expect(cameBack)
                // What looked like a handshake must not occupy a place.
                let isAlone = try await eventually { try await listener.occupancy().get().connections <= 1 }
                #expect(isAlone)
                try await sender.close().get()
            }
        }

        @Test func aFullListenerTakesNoMore() async throws {
            var caps = ListenerLimits()
            caps.connections = 1
            var options = QUICServerOptions()
            options.limits = caps
            var limits = ConnectionLimits()
            limits.handshakeTimeout = .milliseconds(300)
            try await withListener(serverOptions: options) { listener in
                let first = try await connect(to: listener.localAddress).established.get()
                let error = await #expect(throws: TransportError.self) {
                    try await connect(to: listener.localAddress, limits: limits).established.get()
                }
                #expect(error?.code == .timedOut)
                first.eventLoop.execute { first.close(code: 0, reason: "") }
            }
        }

        @Test func anOccupiedPortIsAnError() async throws {
            try await withListener { listener in
                let port = listener.localAddress.port ?? 0
                let error = await #expect(throws: TransportError.self) {
                    try await withListener(on: "127.0.0.1", port: port) { _ in }
                }
                #expect(error?.code == .cannotListen)
                #expect((error?.cause as? IOError)?.errnoCode == EADDRINUSE)
                #expect(error?.message.hasPrefix("cannot listen on 127.0.0.1:\(port) over UDP: ") == true)
            }
        }

        /// A client is in its handshake, or its first packet waits in the socket, when the listener closes.
        @Test func clientsInTheirHandshakeHearThatTheListenerCloses() async throws {
            let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
            try await withListener(group: group) { listener in
                // The listener's loop stands still until all clients have sent their first packets.
                let gate = DispatchSemaphore(value: 0)
                let stopped = group.next().submit { gate.wait() }
                let sent = NIOLockedBox(0)
                let ends = try Self.ends(of: 16, to: listener.localAddress, sent: sent)
                #expect(try await eventually { sent.value >= ends.count })
                let closed = listener.close()
                gate.signal()
                try await stopped.get()
                let began = NIODeadline.now()
                let initiators = try await EventLoopFuture.whenAllSucceed(ends, on: group.next()).get()
                #expect(initiators.allSatisfy { $0 == .peer })
                // They would wait for ten seconds.
                #expect(NIODeadline.now() - began < .seconds(9))
                try await closed.get()
            }
            try await group.shutdownGracefully()
        }

        /// Clients, and who ended them: their handshake fails, or the server closes their connection.
        private static func ends(
            of count: Int, to address: SocketAddress, sent: NIOLockedBox<Int>
        ) throws -> [EventLoopFuture<TransportError.Initiator>] {
            var options = UDPSocketOptions()
            options.makeSender = { channel, descriptor in
                CountingSender(channel: channel, descriptor: descriptor, sent: sent)
            }
            return try (0..<count).map { _ in
                // What the server said before it heard of its end may have been enough for the client's handshake.
                try connect(to: address, socketOptions: options).established.flatMap { connection in
                    connection.eventLoop.flatSubmit {
                        let handler = TestHandler(connection)
                        connection.start(handler: handler)
                        return handler.closed
                    }
                }.map(\.initiator).flatMapErrorThrowing { error in
                    let code = (error as? TransportError)?.code
                    #expect(code == .connectionRefused || code == .handshakeFailed, "\(error)")
                    return .peer
                }
            }
        }

        @Test func aListenerThatStoppedAcceptingRefusesAtOnce() async throws {
            try await withListener { listener in
                try await listener.stopAccepting().get()
                let error = await #expect(throws: TransportError.self) {
                    try await connect(to: listener.localAddress).established.get()
                }
                #expect(error?.code == .connectionRefused)
                #expect(error?.isRetrySafe == true)
            }
        }

        @Test func aVersionNobodySpeaksIsNegotiated() async throws {
            try await withListener { listener in
                var packet = ByteBuffer(bytes: [0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8, 1, 2, 3, 4, 5, 6, 7, 8, 4, 9, 9, 9, 9])
                packet.writeRepeatingByte(0, count: 1200 - packet.readableBytes)
                let reply = try await Self.answer(of: listener.localAddress, to: [packet])
                // RFC 9000, section 17.2.1: version 0, then the connection IDs exchanged.
                #expect(reply.getBytes(at: 1, length: 4) == [0, 0, 0, 0])
                #expect(reply.getBytes(at: 5, length: 14) == [4, 9, 9, 9, 9, 8, 1, 2, 3, 4, 5, 6, 7, 8])
            }
        }

        @Test func anUnknownConnectionIsResetButNotWithoutEnd() async throws {
            try await withListener { listener in
                let packets = (0..<400).map { number in
                    var packet = ByteBuffer(bytes: [0x40, UInt8(number & 0xff), UInt8(number >> 8)])
                    packet.writeRepeatingByte(UInt8(number & 0xff), count: 97)
                    return packet
                }
                let count = NIOLockedBox(0)
                let reply = try await Self.answer(of: listener.localAddress, to: packets, count: count)
                // RFC 9000, section 10.3: it looks like a short header, and is shorter than what it answers.
                #expect(reply.readableBytes < 100)
                #expect(reply.readableBytes >= 21)
                #expect(reply.getInteger(at: 0, as: UInt8.self).map { $0 & 0xc0 } == 0x40)
                let cameBack = try await echoes(64, at: listener.localAddress)
                #expect(cameBack)
                #expect(count.value < 400)
            }
        }

        /// Sends raw datagrams and returns the first that comes back.
        private static func answer(
            of address: SocketAddress, to packets: [ByteBuffer], count: NIOLockedBox<Int> = NIOLockedBox(0)
        ) async throws -> ByteBuffer {
            let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
            let first = eventLoop.makePromise(of: ByteBuffer.self)
            let channel = try await DatagramBootstrap(group: eventLoop)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(RawReceiver(first: first, count: count))
                    }
                }
                .bind(to: try SocketAddress(ipAddress: "127.0.0.1", port: 0)).get()
            for packet in packets {
                channel.write(AddressedEnvelope(remoteAddress: address, data: packet), promise: nil)
            }
            channel.flush()
            let timeout = eventLoop.scheduleTask(in: .seconds(5)) {
                first.fail(TransportError(.timedOut, message: "no answer"))
            }
            let answer = try await first.futureResult.get()
            timeout.cancel()
            try await channel.close().get()
            return answer
        }

        private static func closedPort(on host: String) async throws -> SocketAddress {
            let channel = try await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .bind(to: try SocketAddress(ipAddress: host, port: 0)).get()
            let address = try #require(channel.localAddress)
            try await channel.close().get()
            return address
        }
    }
}

/// Keeps the first datagram and counts all.
private final class RawReceiver: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let first: EventLoopPromise<ByteBuffer>
    private let count: NIOLockedBox<Int>

    init(first: EventLoopPromise<ByteBuffer>, count: NIOLockedBox<Int>) {
        self.first = first
        self.count = count
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.count.update { $0 += 1 }
        self.first.succeed(self.unwrapInboundIn(data).data)
    }
}

/// Counts what a socket sends.
private final class CountingSender: DatagramSender {
    private let system: SystemDatagramSender
    private let sent: NIOLockedBox<Int>

    init(channel: any Channel, descriptor: CInt, sent: NIOLockedBox<Int>) {
        self.system = SystemDatagramSender(channel: channel, descriptor: descriptor, usesSourceAddress: false)
        self.sent = sent
    }

    var canSegment: Bool { self.system.canSegment }

    func send(_ bytes: UnsafeRawBufferPointer, segmentSize: Int, path: QUICPath, ecn: ECN) -> CInt {
        defer { self.sent.update { $0 += 1 } }
        return self.system.send(bytes, segmentSize: segmentSize, path: path, ecn: ecn)
    }
}
