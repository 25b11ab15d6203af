// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CarrierSupport
import NIOCore
import NIOPosix
import TernTLS
import TernTransport
import Testing

@testable import TernQMux

extension SocketTests {
    /// How connections end.
    @Suite(.serialized) struct Ends {
        @Test func bothEndsHearTheCodeOfAClose() async throws {
            let servers = Accepted()
            try await withListener(onConnection: servers.start) { listener in
                for (byClient, code) in [(true, UInt64(0)), (true, 42), (false, 0), (false, (1 << 62) - 1)] {
                    let client = try await started(at: listener.localAddress)
                    let server = try await servers.next()
                    (byClient ? client : server).close(code: code, reason: "enough")
                    let (atClient, atServer) = (try await client.closed.get(), try await server.closed.get())
                    #expect(atClient.code == .application)
                    #expect(atServer.code == .application)
                    #expect(atClient.wireCode == code)
                    #expect(atServer.wireCode == code)
                    #expect(atClient.initiator == (byClient ? .local : .peer))
                    #expect(atServer.initiator == (byClient ? .peer : .local))
                    #expect((byClient ? atServer : atClient).message == "enough")
                }
                let isEmpty = try await eventually { listener.connectionCount == 0 }
                #expect(isEmpty)
            }
        }

        @Test func whatWasWrittenInTheTurnBeforeACloseArrives() async throws {
            let servers = Accepted()
            try await withListener(onConnection: servers.start) { listener in
                let client = try await started(at: listener.localAddress)
                let server = try await servers.next()
                let received = NIOLockedBox(ByteBuffer())
                try await server.connection.eventLoop.submit {
                    server.onReceived = { _, bytes, _ in received.update { $0.writeImmutableBuffer(bytes) } }
                }.get()
                let connection = client.connection
                try await connection.eventLoop.submit {
                    let stream = try #require(try connection.openStream(.unidirectional))
                    _ = try connection.write(ByteBuffer(string: "last words"), to: stream, finish: true)
                }.get()
                let arrived = try await eventually { received.value == ByteBuffer(string: "last words") }
                #expect(arrived)
                client.close()
                _ = try await server.closed.get()
            }
        }

        @Test func aClosedConnectionRefusesWork() async throws {
            try await withListener { listener in
                let client = try await started(at: listener.localAddress)
                client.close(code: 5, reason: "")
                let reason = try await client.closed.get()
                let connection = client.connection
                try await connection.eventLoop.submit {
                    #expect(throws: reason) { try connection.openStream(.bidirectional) }
                    #expect(throws: reason) { try connection.sendDatagram(ByteBuffer(string: "x")) }
                    #expect(throws: reason) {
                        try connection.write(ByteBuffer(string: "x"), to: StreamID(rawValue: 0), finish: true)
                    }
                    connection.reset(StreamID(rawValue: 0), code: 1)
                    connection.stopSending(StreamID(rawValue: 0), code: 1)
                    connection.consumed(1, of: StreamID(rawValue: 0))
                    connection.close(code: 6, reason: "")
                    _ = connection.statistics()
                }.get()
            }
        }

        @Test func aConnectionCanCloseInsideACallback() async throws {
            let serve: @Sendable (any LoopConnection) -> Void = { connection in
                let handler = TestHandler(connection)
                handler.onReceived = { _, _, _ in connection.close(code: 9, reason: "seen") }
                connection.start(handler: handler)
            }
            try await withListener(onConnection: serve) { listener in
                let client = try await started(at: listener.localAddress)
                let connection = client.connection
                try await connection.eventLoop.submit {
                    let stream = try #require(try connection.openStream(.bidirectional))
                    _ = try connection.write(ByteBuffer(string: "x"), to: stream, finish: false)
                }.get()
                let reason = try await client.closed.get()
                #expect(reason == TransportError(.application, message: "", wireCode: 9, initiator: .peer))
            }
        }

        @Test func startingAfterTheEndTellsTheEnd() async throws {
            let servers = Accepted()
            try await withListener(onConnection: servers.start) { listener in
                let connection = try await connect(to: listener.localAddress).established.get()
                let server = try await servers.next()
                server.close(code: 3, reason: "")
                _ = try await server.closed.get()
                let isGone = try await eventually { listener.connectionCount == 0 }
                #expect(isGone)
                let reason = try await connection.eventLoop.flatSubmit {
                    let handler = TestHandler(connection)
                    connection.start(handler: handler)
                    return handler.closed
                }.get()
                #expect(reason == TransportError(.application, message: "", wireCode: 3, initiator: .peer))
            }
        }

        @Test func silenceEndsAConnectionWithoutKeepAlive() async throws {
            var limits = ConnectionLimits()
            limits.idleTimeout = .milliseconds(200)
            limits.keepAliveInterval = nil
            let servers = Accepted()
            try await withListener(limits: limits, onConnection: servers.start) { listener in
                let client = try await started(at: listener.localAddress, limits: limits)
                let server = try await servers.next()
                // Whose timer fires first shuts the other one down, which then sees an end of file.
                let codes = [try await client.closed.get().code, try await server.closed.get().code]
                #expect(codes.contains(.idleTimeout))
                #expect(codes.allSatisfy { $0 == .idleTimeout || $0 == .carrierLost })
            }
        }

        @Test func keepAliveOutlastsTheIdleTimeout() async throws {
            var limits = ConnectionLimits()
            limits.idleTimeout = .milliseconds(300)
            limits.keepAliveInterval = .milliseconds(50)
            try await withListener(limits: limits) { listener in
                let cameBack = try await withConnection(to: listener.localAddress, limits: limits) { handler, answer in
                    // Much later than the idle timeout, and still there.
                    handler.connection.eventLoop.scheduleTask(in: .milliseconds(1200)) {
                        do { try roundTrip(10, over: handler, answer: answer) } catch { answer.fail(error) }
                    }
                }
                #expect(cameBack == Pattern.bytes(at: 0, count: 10))
            }
        }

        @Test(arguments: [false, true])
        func aPeerThatDiesIsALostCarrier(withReset: Bool) async throws {
            let servers = Accepted()
            try await withListener(onConnection: servers.start) { listener in
                let peer = try await RawPeer.connect(to: listener.localAddress, tls: true)
                peer.send(Wire.emptyParameters)
                let server = try await servers.next()
                if withReset { peer.kill() } else { peer.shutDown(clean: false) }
                let reason = try await server.closed.get()
                #expect(reason == TransportError(.carrierLost, message: "", initiator: .peer))
                try await peer.ended.get()
            }
        }

        @Test func anEndOfFileWithoutACloseIsALostCarrierAndAnsweredCleanly() async throws {
            let servers = Accepted()
            try await withListener(onConnection: servers.start) { listener in
                let peer = try await RawPeer.connect(to: listener.localAddress, tls: true)
                peer.send(Wire.emptyParameters)
                let server = try await servers.next()
                peer.shutDown(clean: true)
                let reason = try await server.closed.get()
                #expect(reason == TransportError(.carrierLost, message: "", initiator: .peer))
                let heard = try await eventually { try await peer.heardCleanEnd() }
                #expect(heard)
                peer.close()
            }
        }

        /// draft-ietf-quic-qmux-02, section 7: CONNECTION_CLOSE, the sending side shut down, then the peer's FIN.
        @Test func aCloseIsSaidBeforeTheEnd() async throws {
            let servers = Accepted()
            try await withListener(onConnection: servers.start) { listener in
                let peer = try await RawPeer.connect(to: listener.localAddress, tls: true)
                peer.send(Wire.emptyParameters)
                let server = try await servers.next()
                server.close(code: 5, reason: "x")
                let heard = try await eventually { try await peer.heardCleanEnd() }
                #expect(heard)
                let bytes = try await peer.received()
                // APPLICATION_CLOSE 0x1d, code 5, a reason of one byte.
                #expect(Array(bytes.readableBytesView.suffix(4)) == [0x1d, 5, 1, 0x78])
                #expect(listener.connectionCount == 1)
                peer.shutDown(clean: true)
                try await peer.ended.get()
                let isEmpty = try await eventually { listener.connectionCount == 0 }
                #expect(isEmpty)
            }
        }

        @Test func aPeerThatNeverAnswersACloseIsLeftAfterTheDrainTimeout() async throws {
            let servers = Accepted()
            try await withListener(onConnection: servers.start) { listener in
                let peer = try await RawPeer.connect(to: listener.localAddress, tls: true)
                peer.send(Wire.emptyParameters)
                let server = try await servers.next()
                server.close()
                _ = try await server.closed.get()
                let isEmpty = try await eventually { listener.connectionCount == 0 }
                #expect(isEmpty)
                peer.close()
            }
        }

        /// What 200 bytes before authentication once did to a whole process: resets that promise more than the credit that is
        /// left, and then one byte that nobody has paid for.
        @Test func resetsThatPromiseMoreThanTheCreditEndOneConnectionOnly() async throws {
            var limits = ConnectionLimits()
            limits.connectionWindow = 1 << 20
            limits.streamWindow = 1 << 20
            let servers = Accepted()
            try await withListener(limits: limits, onConnection: servers.start) { listener in
                let peer = try await RawPeer.connect(to: listener.localAddress, tls: true)
                peer.send(Wire.emptyParameters)
                let server = try await servers.next()
                // RESET_STREAM_AT of streams 0, 4 and 8 at 2^20, of which 1 byte is promised; then the 1 byte of each.
                let size: [UInt8] = [0x80, 0x10, 0x00, 0x00]
                var frames: [UInt8] = []
                for stream in [0, 4, 8] as [UInt8] { frames += [0x24, stream, 0x00] + size + [0x01] }
                for stream in [0, 4, 8, 12] as [UInt8] { frames += [0x0a, stream, 0x01, 0x61] }
                peer.send(Wire.record(frames))
                let reason = try await server.closed.get()
                let expected = TransportError(
                    .transport, message: "", wireCode: TransportErrorCode.flowControlError)
                #expect(reason == expected)
                peer.close()
                let isAlive = try await echoesThroughAnother(limits)
                #expect(isAlive)
            }
        }

        /// The close waits for a socket that takes nothing; meanwhile the peer, which has said that it says nothing more, goes on.
        @Test func whatComesAfterTheEndIsNotKept() async throws {
            let servers = Accepted()
            try await withListener(onConnection: servers.start) { listener in
                let peer = try await RawPeer.connect(to: listener.localAddress, tls: true)
                peer.send(Wire.parameters(ConnectionLimits()))
                let server = try await servers.next()
                let connection = try #require(server.connection as? QMuxConnection)
                try await peer.stopReading()
                try await connection.eventLoop.submit {
                    for _ in 0..<8 {
                        let stream = try #require(try connection.openStream(.unidirectional))
                        _ = try connection.write(ByteBuffer(repeating: 1, count: 1 << 20), to: stream, finish: true)
                    }
                }.get()
                let isBlocked = try await eventually {
                    try await connection.eventLoop.submit { connection.context?.channel.isWritable == false }.get()
                }
                #expect(isBlocked)
                server.close(code: 3, reason: "")
                peer.sayGoodbye()
                // On a slow machine the server may give up waiting before it has read all.
                try? await peer.sendUnencrypted(ByteBuffer(repeating: 0x17, count: 12 << 20))
                let kept = try await connection.eventLoop.submit { connection.tls.waitingCiphertext }.get()
                #expect(kept == 0)
                peer.kill()
            }
        }

        @Test func aRecordAboveTheLimitEndsTheConnection() async throws {
            let servers = Accepted()
            try await withListener(onConnection: servers.start) { listener in
                let peer = try await RawPeer.connect(to: listener.localAddress, tls: true)
                peer.send(Wire.emptyParameters)
                let server = try await servers.next()
                // A record of 16383 bytes; the limit is 16382.
                peer.send([0x7f, 0xff])
                let reason = try await server.closed.get()
                #expect(
                    reason
                        == TransportError(
                            .transport, message: "", wireCode: TransportErrorCode.frameEncodingError))
                // CONNECTION_CLOSE 0x1c, FRAME_ENCODING_ERROR 7.
                let heard = try await eventually {
                    let bytes = Array(try await peer.received().readableBytesView)
                    return zip(bytes, bytes.dropFirst()).contains { $0 == (0x1c, 0x07) }
                }
                #expect(heard)
                peer.close()
            }
        }

        @Test func aListenerThatClosesEndsItsConnections() async throws {
            let client = NIOLockedBox<TestHandler?>(nil)
            try await withListener { listener in
                client.value = try await started(at: listener.localAddress)
            }
            let reason = try await #require(client.value).closed.get()
            #expect(reason == TransportError(.application, message: "", wireCode: 0, initiator: .peer))
        }

        @Test func stoppingToAcceptLeavesConnectionsAlone() async throws {
            try await withListener { listener in
                let client = try await started(at: listener.localAddress)
                try await listener.stopAccepting().get()
                await #expect(throws: TransportError.self) {
                    _ = try await connect(to: listener.localAddress).established.get()
                }
                let answer = try await client.connection.eventLoop.flatSubmit {
                    let answer = client.connection.eventLoop.makePromise(of: ByteBuffer.self)
                    do { try roundTrip(1000, over: client, answer: answer) } catch { answer.fail(error) }
                    return answer.futureResult
                }.get()
                #expect(answer == Pattern.bytes(at: 0, count: 1000))
                client.close()
            }
        }

        #if os(Linux)
        @Test func nothingIsLeftOfAHundredConnections() async throws {
            try await withListener { listener in
                let port = try #require(listener.localAddress.port)
                let client = try await started(at: listener.localAddress)
                let isThere = try await eventually { try openSockets(at: port) == 3 }
                #expect(isThere)
                client.close()
                for _ in 0..<100 {
                    let cameBack = try await echoes(1000, at: listener.localAddress)
                    #expect(cameBack)
                }
                let isAlone = try await eventually { try openSockets(at: port) == 1 }
                #expect(isAlone)
                let isForgotten = try await eventually { listener.connectionCount == 0 }
                #expect(isForgotten)
            }
        }
        #endif
    }
}

/// The process lives: another listener serves.
private func echoesThroughAnother(_ limits: ConnectionLimits) async throws -> Bool {
    let isAlive = NIOLockedBox(false)
    try await withListener(limits: limits) { listener in
        isAlive.value = try await echoes(1000, at: listener.localAddress)
    }
    return isAlive.value
}
