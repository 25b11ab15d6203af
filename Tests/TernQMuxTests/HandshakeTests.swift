// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CarrierSupport
import NIOCore
import NIOPosix
import TernTransport
import Testing

@testable import TernQMux

extension SocketTests {
    /// How connections do not come about.
    @Suite(.serialized) struct Handshakes {
        @Test func anUnknownAuthorityIsRejected() async throws {
            try await withListener { listener in
                let attempt = try connect(to: listener.localAddress, tls: try TestTLS.stranger())
                let error = await #expect(throws: TransportError.self) { _ = try await attempt.established.get() }
                #expect(error?.code == .certificateRejected)
                #expect(error?.initiator == .local)
                try await attempt.heardFromPeer.get()
                let cameBack = try await echoes(10, at: listener.localAddress)
                #expect(cameBack)
            }
        }

        @Test func anotherNameIsRejected() async throws {
            try await withListener { listener in
                let attempt = try connect(to: listener.localAddress, serverName: "example.org")
                let error = await #expect(throws: TransportError.self) { _ = try await attempt.established.get() }
                #expect(error?.code == .certificateRejected)
            }
        }

        @Test func noCommonApplicationProtocolFails() async throws {
            try await withListener { listener in
                let attempt = try connect(to: listener.localAddress, applicationProtocols: ["something-else"])
                let error = await #expect(throws: TransportError.self) { _ = try await attempt.established.get() }
                #expect(error == TransportError(.handshakeFailed, message: "", wireCode: 0x178, initiator: .peer))
            }
        }

        @Test func aPortWithoutAListenerRefuses() async throws {
            let free = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .bind(to: SocketAddress(ipAddress: "127.0.0.1", port: 0)).get()
            let address = try #require(free.localAddress)
            try await free.close()
            let attempt = try connect(to: address)
            let error = await #expect(throws: TransportError.self) { _ = try await attempt.established.get() }
            #expect(error?.code == .connectionRefused)
            #expect(error?.isRetrySafe == true)
            await #expect(throws: TransportError.self) { try await attempt.heardFromPeer.get() }
        }

        @Test func anAddressWithoutARouteIsUnreachable() async throws {
            // A broadcast address takes no TCP connection.
            let attempt = try connect(to: SocketAddress(ipAddress: "255.255.255.255", port: 9))
            let error = await #expect(throws: TransportError.self) { _ = try await attempt.established.get() }
            #expect(error?.code == .unreachable)
        }

        @Test func aPeerThatNeverAnswersTimesOut() async throws {
            let server = try await RawPeer.listen(tls: false) { _ in }
            var limits = ConnectionLimits()
            limits.handshakeTimeout = .milliseconds(100)
            let attempt = try connect(to: try #require(server.localAddress), limits: limits)
            let error = await #expect(throws: TransportError.self) { _ = try await attempt.established.get() }
            #expect(error?.code == .timedOut)
            try await server.close()
        }

        @Test func aPeerThatSpeaksTLSOnlyTimesOut() async throws {
            let server = try await RawPeer.listen(tls: true) { _ in }
            var limits = ConnectionLimits()
            limits.handshakeTimeout = .milliseconds(200)
            let attempt = try connect(to: try #require(server.localAddress), limits: limits)
            let error = await #expect(throws: TransportError.self) { _ = try await attempt.established.get() }
            #expect(error?.code == .timedOut)
            try await server.close()
        }

        @Test func aPeerThatHangsUpDuringTheHandshakeIsALostCarrier() async throws {
            let server = try await RawPeer.listen(tls: false) { $0.ready.whenSuccess { [peer = $0] in peer.close() } }
            let attempt = try connect(to: try #require(server.localAddress))
            let error = await #expect(throws: TransportError.self) { _ = try await attempt.established.get() }
            #expect(error?.code == .carrierLost)
            #expect(error?.isRetrySafe == true)
            try await server.close()
        }

        @Test func givingUpEndsTheAttemptAndItsSocket() async throws {
            let peers = NIOLockedBox<[RawPeer]>([])
            let server = try await RawPeer.listen(tls: false) { peer in peers.update { $0.append(peer) } }
            let attempt = try connect(to: try #require(server.localAddress))
            let isThere = try await eventually { peers.value.count == 1 }
            #expect(isThere)
            attempt.cancel()
            await #expect(throws: TransportError(.cancelled, message: "")) {
                _ = try await attempt.established.get()
            }
            let peer = try #require(peers.value.first)
            let heard = try await eventually { try await peer.heardCleanEnd() }
            #expect(heard)
            peer.close()
            try await server.close()
        }

        @Test func givingUpAtOnceEndsTheAttempt() async throws {
            try await withListener { listener in
                let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
                // On the loop itself, so that no handshake can be faster.
                let attempt = try await eventLoop.submit {
                    let attempt = try connect(to: listener.localAddress, on: eventLoop)
                    attempt.cancel()
                    return attempt
                }.get()
                await #expect(throws: TransportError(.cancelled, message: "")) {
                    _ = try await attempt.established.get()
                }
                let isEmpty = try await eventually { listener.connectionCount == 0 }
                #expect(isEmpty)
            }
        }

        @Test func givingUpTooLateClosesWhatNobodyStarted() async throws {
            let servers = Accepted()
            try await withListener(onConnection: servers.start) { listener in
                let attempt = try connect(to: listener.localAddress)
                _ = try await attempt.established.get()
                let server = try await servers.next()
                attempt.cancel()
                let reason = try await server.closed.get()
                #expect(reason == TransportError(.application, message: "", wireCode: 0, initiator: .peer))
            }
        }

        @Test func givingUpLeavesAStartedConnectionAlone() async throws {
            try await withListener { listener in
                let attempt = try connect(to: listener.localAddress)
                let connection = try await attempt.established.get()
                let (client, answer) = try await connection.eventLoop.submit {
                    let client = TestHandler(connection)
                    connection.start(handler: client)
                    attempt.cancel()
                    let answer = connection.eventLoop.makePromise(of: ByteBuffer.self)
                    client.closed.whenSuccess { answer.fail($0) }
                    try roundTrip(1000, over: client, answer: answer)
                    return (client, answer.futureResult)
                }.get()
                let received = try await answer.get()
                #expect(received == Pattern.bytes(at: 0, count: 1000))
                client.close()
            }
        }

        @Test func randomBytesOnThePortHarmNobody() async throws {
            try await withListener { listener in
                for round in 0..<20 {
                    let isTLS = round % 2 == 0
                    let peer = try await RawPeer.connect(to: listener.localAddress, tls: isTLS)
                    peer.send((0..<2000).map { _ in UInt8.random(in: 0...255) })
                    // They may look like the begin of something longer.
                    peer.shutDown(clean: round % 4 == 0)
                    let isOver = try await eventually {
                        try await peer.isOver()
                    }
                    #expect(isOver)
                    peer.close()
                }
                let cameBack = try await echoes(1000, at: listener.localAddress)
                #expect(cameBack)
                let isEmpty = try await eventually { listener.connectionCount == 0 }
                #expect(isEmpty)
            }
        }

        @Test func handshakesThatNeverFinishAreCappedAndTimeOut() async throws {
            var limits = ConnectionLimits()
            limits.handshakeTimeout = .milliseconds(500)
            var listenerLimits = ListenerLimits()
            listenerLimits.handshakes = 2
            try await withListener(limits: limits, listenerLimits: listenerLimits) { listener in
                let idle = [
                    try await RawPeer.connect(to: listener.localAddress, tls: false),
                    try await RawPeer.connect(to: listener.localAddress, tls: false),
                ]
                let isFull = try await eventually { listener.connectionCount == 2 }
                #expect(isFull)
                await #expect(throws: TransportError.self) {
                    _ = try await connect(to: listener.localAddress).established.get()
                }
                // The idle ones run out of time and make room.
                for peer in idle {
                    let isOver = try await eventually { try await peer.isOver() }
                    #expect(isOver)
                    peer.close()
                }
                let cameBack = try await echoes(10, at: listener.localAddress)
                #expect(cameBack)
            }
        }

        @Test func anOccupiedPortIsAnError() async throws {
            try await withListener { listener in
                await #expect(throws: IOError.self) {
                    _ = try await QMuxListener.bind(
                        to: listener.localAddress, tls: try TestTLS.server(), applicationProtocols: [testProtocol],
                        eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: testLogger,
                        onConnection: { echo($0) }
                    ).get()
                }
            }
        }
    }
}
