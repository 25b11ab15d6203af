// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CarrierSupport
import NIOCore
import NIOPosix
import TernQMuxCore
import TernTransport
import Testing

@testable import TernQMux
@testable import TernTLS

extension SocketTests {
    /// 0-RTT over TLS over TCP.
    @Suite(.serialized) struct EarlyData {
        private let request = ReplayableStream(ByteBuffer(string: "what may be asked twice"))

        @Test func whatIsReplayableGoesWithTheFirstFlight() async throws {
            let client = try Client()
            let seen = NIOLockedBox<[Bool]>([])
            let outcomes = NIOLockedBox<[EarlyDataOutcome]>([])
            let serve: @Sendable (any LoopConnection) -> Void = { connection in
                seen.update { $0.append(connection.isHandshakeComplete) }
                let handler = TestHandler(connection)
                handler.onReceived = { stream, bytes, finished in
                    seen.update { $0.append(connection.isReplayable(stream)) }
                    outcomes.update { $0.append(connection.earlyData) }
                    _ = try? connection.write(bytes, to: stream, finish: finished)
                    connection.consumed(bytes.readableBytes, of: stream)
                }
                connection.start(handler: handler)
            }
            try await withListener(tls: try Self.server(), onConnection: serve) { listener in
                try await client.visit(listener.localAddress)
                let visit = try await client.visit(listener.localAddress, sending: [self.request])
                #expect(visit.answers == [ByteBuffer(string: "what may be asked twice")])
                #expect(visit.outcome == .accepted)
                #expect(visit.events == [.earlyDataAccepted, .handshakeConfirmed])
                // The first one was handed out after its handshake; the second one before, with a stream that may be a copy and
                // one that is none.
                #expect(seen.value == [true, false, false, true, false])
                #expect(outcomes.value == [.notOffered, .pending, .accepted])
            }
        }

        @Test func withoutATicketItGoesAfterTheHandshake() async throws {
            let client = try Client()
            try await withListener(tls: try Self.server()) { listener in
                let visit = try await client.visit(listener.localAddress, sending: [self.request, self.request])
                #expect(visit.answers == [self.request.bytes, self.request.bytes])
                #expect(visit.outcome == .notOffered)
                #expect(visit.events == [.handshakeConfirmed])
            }
        }

        /// Most servers: their tickets allow nothing early, and a full handshake is faster than one that resumes.
        @Test func aServerThatTakesNothingEarlyIsAskedForNothing() async throws {
            let client = try Client()
            try await withListener(tls: try Self.server(takesEarlyData: false)) { listener in
                try await client.visit(listener.localAddress)
                let visit = try await client.visit(listener.localAddress, sending: [self.request])
                #expect(visit.answers == [self.request.bytes])
                #expect(visit.outcome == .notOffered)
            }
        }

        @Test(arguments: [100, 300_000])
        func whatAServerRefusesIsSentAgain(size: Int) async throws {
            let client = try Client()
            let address = NIOLockedBox<SocketAddress?>(nil)
            try await withListener(tls: try Self.server()) { listener in
                address.value = listener.localAddress
                try await client.visit(listener.localAddress)
            }
            // The server comes back, knows its tickets, and has changed its mind.
            let port = try #require(address.value?.port)
            try await withListener(port: port, tls: try Self.server(takesEarlyData: false)) { listener in
                let large = ReplayableStream(Pattern.bytes(at: 0, count: size))
                let visit = try await client.visit(listener.localAddress, sending: [large, self.request])
                let areWhole = visit.answers == [large.bytes, self.request.bytes]
                #expect(areWhole)
                #expect(visit.outcome == .rejected)
                #expect(visit.events.first == .earlyDataRejected)
            }
        }

        @Test func moreThanATicketAllowsGoesOnAfterTheHandshake() async throws {
            let client = try Client()
            try await withListener(tls: try Self.server()) { listener in
                try await client.visit(listener.localAddress)
                let large = ReplayableStream(Pattern.bytes(at: 0, count: 3 << 20))
                let visit = try await client.visit(listener.localAddress, sending: [large, self.request])
                let areWhole = visit.answers == [large.bytes, self.request.bytes]
                #expect(areWhole)
                #expect(visit.outcome == .accepted)
            }
        }

        @Test func moreStreamsThanThePeerAllowsFollowLater() async throws {
            var limits = ConnectionLimits()
            limits.bidirectionalStreams = 2
            let client = try Client()
            try await withListener(tls: try Self.server(), limits: limits) { listener in
                try await client.visit(listener.localAddress)
                let requests = (0..<7).map { ReplayableStream(ByteBuffer(string: "request \($0)")) }
                let visit = try await client.visit(listener.localAddress, sending: requests)
                #expect(visit.answers == requests.map(\.bytes))
                #expect(visit.outcome == .accepted)
            }
        }

        /// RFC 8446, section 8.2: what it took before it started, it does not remember.
        @Test func aServerThatIsYoungerThanTheTicketTakesNothingEarly() async throws {
            let client = try Client()
            let address = NIOLockedBox<SocketAddress?>(nil)
            try await withListener(tls: try Self.server()) { listener in
                address.value = listener.localAddress
                try await client.visit(listener.localAddress)
            }
            let port = try #require(address.value?.port)
            try await withListener(port: port, tls: try Self.server()) { listener in
                let refused = try await client.visit(listener.localAddress, sending: [self.request])
                #expect(refused.outcome == .rejected)
                #expect(refused.answers == [self.request.bytes])
            }
        }

        /// A first flight, and nothing behind it; then its copies.
        @Test func aFirstFlightWithoutAnEndHoldsNothingForLongAndItsCopiesBringNothing() async throws {
            let client = try Client()
            var limits = ConnectionLimits()
            limits.handshakeTimeout = .milliseconds(500)
            let accepted = Accepted()
            let handedOut = NIOLockedBox(0)
            let serve: @Sendable (any LoopConnection) -> Void = { connection in
                handedOut.update { $0 += 1 }
                accepted.start(connection)
            }
            try await withListener(tls: try Self.server(), limits: limits, onConnection: serve) { listener in
                try await client.fetchTicket(listener.localAddress, from: accepted)
                let flight = try client.firstFlight(to: listener.localAddress)
                let peer = try await RawPeer.connect(to: listener.localAddress, tls: false)
                peer.send(flight)
                let early = try await accepted.next()
                #expect(
                    try await early.connection.eventLoop.submit { early.connection.isHandshakeComplete }.get() == false)
                for _ in 0..<3 {
                    let copy = try await RawPeer.connect(to: listener.localAddress, tls: false)
                    copy.send(flight)
                    let isOver = try await eventually { try await copy.isOver() }
                    #expect(isOver, "refused, and never finished")
                    copy.close()
                }
                let reason = try await early.closed.get()
                #expect(reason.code == .timedOut)
                #expect(handedOut.value == 2)
                peer.close()
                let isEmpty = try await eventually { listener.connectionCount == 0 }
                #expect(isEmpty)
            }
        }

        /// It fell silent between its first flight and its Finished: nothing can be said to it, and it is not waited for as long as a
        /// handshake may take.
        @Test func aListenerClosesWhileAFirstFlightHasNoEnd() async throws {
            let client = try Client()
            var limits = ConnectionLimits()
            limits.handshakeTimeout = .hours(1)
            let accepted = Accepted()
            try await withListener(
                tls: try Self.server(), limits: limits, onConnection: accepted.start
            ) { listener in
                try await client.fetchTicket(listener.localAddress, from: accepted)
                let isEmptyBefore = try await eventually { listener.connectionCount == 0 }
                #expect(isEmptyBefore)
                let peer = try await RawPeer.connect(to: listener.localAddress, tls: false)
                peer.send(try client.firstFlight(to: listener.localAddress))
                let early = try await accepted.next()
                async let closed: Void = listener.close().get()
                let reason = try await early.closed.get()
                #expect(reason.code == .application && reason.initiator == .local)
                let isEmpty = try await eventually { listener.connectionCount == 0 }
                #expect(isEmpty)
                peer.close()
                try await closed
            }
        }

        private static func server(
            takesEarlyData: Bool = true
        ) throws -> TLSServerConfiguration {
            var configuration = try TestTLS.server()
            configuration.tickets = TLSTickets(secret: (0..<64).map { $0 })
            configuration.earlyData = takesEarlyData ? TLSEarlyData() : nil
            return configuration
        }
    }
}

/// A client that comes more than once.
private struct Client {
    struct Visit {
        /// What came back on the replayable streams, in their order.
        var answers: [ByteBuffer]
        var outcome: EarlyDataOutcome
        var events: [ConnectionEvent.Kind]
    }

    private let connector: QMuxConnector
    private let configuration: TLSClientConfiguration

    init() throws {
        self.configuration = try TestTLS.client()
        self.connector = try QMuxConnector(
            tls: self.configuration, applicationProtocols: [testProtocol], logger: testLogger)
    }

    /// Connects to a server that echoes nothing, until its tickets have come.
    func fetchTicket(_ address: SocketAddress, from accepted: Accepted) async throws {
        let connection = try await self.connector.connect(
            to: address, serverName: "localhost", on: MultiThreadedEventLoopGroup.singleton.next()
        ).established.get()
        let cache = try #require(self.configuration.sessionCache)
        let hasTicket = try await eventually { cache.count > 0 }
        #expect(hasTicket)
        _ = try await accepted.next()
        connection.eventLoop.execute { connection.close(code: 0, reason: "") }
    }

    /// A ClientHello and early data that opens a stream.
    func firstFlight(to address: SocketAddress) throws -> [UInt8] {
        let session = try TLSClientContext(self.configuration).makeSession(
            for: .stream, applicationProtocols: [testProtocol], serverName: "localhost", port: address.port ?? 0,
            hasEarlyData: true)
        let stream = TLSStream(session: session)
        // STREAM 0 with a length and "hi".
        let bytes = Wire.emptyParameters + Wire.record([0x0a, 0x00, 0x02, 0x68, 0x69])
        #expect(session.earlyDataLimit > bytes.count)
        #expect(stream.writeEarly(ByteBuffer(bytes: bytes)))
        #expect(try !stream.handshake())
        return Array(buffer: try #require(stream.takeCiphertext()))
    }

    /// Connects, waits for the answers to `requests` and to one stream more, by when tickets have come, and closes.
    @discardableResult
    func visit(_ address: SocketAddress, sending requests: [ReplayableStream] = []) async throws -> Visit {
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        let connection = try await self.connector.connect(
            to: address, serverName: "localhost", replayable: requests, on: eventLoop
        ).established.get()
        let (answer, closed) = try await eventLoop.submit {
            let handler = TestHandler(connection)
            let promise = eventLoop.makePromise(of: Visit.self)
            handler.closed.whenSuccess { promise.fail($0) }
            var received: [StreamID: ByteBuffer] = [:]
            var finished: Set<StreamID> = []
            var events: [ConnectionEvent.Kind] = []
            var last: StreamID?
            handler.onEvent = { events.append($0.kind) }
            handler.onReceived = { stream, bytes, isFinished in
                received[stream, default: ByteBuffer()].writeImmutableBuffer(bytes)
                connection.consumed(bytes.readableBytes, of: stream)
                if isFinished { finished.insert(stream) }
                if last == nil, let stream = try? connection.openStream(.bidirectional) {
                    last = stream
                    _ = try? connection.write(ByteBuffer(string: "last"), to: stream, finish: true)
                }
                guard finished.count == requests.count + 1 else { return }
                promise.succeed(
                    Visit(
                        answers: connection.replayableStreams.map { received[$0] ?? ByteBuffer() },
                        outcome: connection.earlyData, events: events))
            }
            connection.start(handler: handler)
            if requests.isEmpty, let stream = try connection.openStream(.bidirectional) {
                last = stream
                _ = try connection.write(ByteBuffer(string: "last"), to: stream, finish: true)
            }
            return (promise.futureResult, handler.closed)
        }.get()
        let visit: Visit
        do { visit = try await answer.get() } catch {
            connection.eventLoop.execute { connection.close(code: 0, reason: "") }
            throw error
        }
        connection.eventLoop.execute { connection.close(code: 0, reason: "") }
        _ = try await closed.get()
        return visit
    }
}
