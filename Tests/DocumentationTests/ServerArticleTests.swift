// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CoreMetrics
import Logging
import MetricsTestKit
import NIOCore
import NIOPosix
import Synchronization
import Tern
import TernTesting
import TestTimeLimits
import Testing

/// The code of the articles about servers, the handler surface, errors, statistics and tests.
@Suite("Servers and tests", .untilItHangs)
struct ServerArticleTests {
    private let development = Result { try TLSIdentity.selfSigned() }

    @Test func aServerHasLimits() async throws {
        let identity = try self.development.get().identity
        let secret = [UInt8](repeating: 7, count: 32)
        // snippet: server-limits
        var limits = ConnectionLimits()
        limits.bidirectionalStreams = 32  // At once, for each client.
        limits.connectionWindow = 1 << 20  // Bytes in memory, unread, for each client.
        limits.idleTimeout = .seconds(60)

        var listenerLimits = ListenerLimits()
        listenerLimits.connections = 20_000  // Over each carrier.
        listenerLimits.connectionsPerAddress = 1_000

        var server = QUICServerOptions()
        server.addressValidation = .underLoad
        server.handshakesBeforeRetry = 200
        server.secret = secret  // The same on every machine behind this address.

        let listener = try await Listener.bind(
            to: Endpoint(host: "127.0.0.1", port: 0), applicationProtocol: ApplicationProtocol("echo"),
            tls: TLSServerConfiguration(identity: identity), limits: limits, listenerLimits: listenerLimits,
            quicServer: server)
        // end
        #expect(listener.quicAddress.port == listener.tlsAddress.port)
        await listener.close()
    }

    @Test func aServerDrains() async throws {
        let identity = try self.development.get().identity
        let listener = try await Listener.bind(
            to: Endpoint(host: "127.0.0.1", port: 0), applicationProtocol: ApplicationProtocol("echo"),
            tls: TLSServerConfiguration(identity: identity))
        // snippet: server-drain
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await listener.run { try? await echo($0) } }
            await listener.stopAccepting()  // Those that are served are served to their end,
            group.addTask { try? await Task.sleep(for: .seconds(30)) }  // but no longer than this.
            await group.next()
            group.cancelAll()
        }
        await listener.close()
        // end
    }

    @Test func aHandlerEchoes() async throws {
        let development = try self.development.get()
        // snippet: handler-listen
        let listener = try await LoopListener.bind(
            to: Endpoint(host: "127.0.0.1", port: 0), applicationProtocol: ApplicationProtocol("echo"),
            tls: TLSServerConfiguration(identity: development.identity)
        ) { connection in
            connection.start(handler: EchoHandler(connection))
        }
        // end
        let endpoint = try Endpoint(host: "127.0.0.1", port: #require(listener.quicAddress.port))
        let connector = try self.connector()
        try await connector.withConnection(to: endpoint) { connection in
            let stream = try await connection.openStream()
            async let sent: Void = self.send(1_000, on: stream)
            var count = 0
            while let bytes = try await stream.read() { count += bytes.readableBytes }
            try await sent
            #expect(count == 1_000 * 1_000)
        }
        // snippet: handler-connect
        let connecting = connector.raceOnLoop(to: endpoint).map { connection, report in
            connection.start(handler: EchoHandler(connection))
            return connection
        }
        // end
        let connection = try await connecting.get()
        connection.eventLoop.execute { connection.close(code: 0, reason: "") }
        await listener.close()
    }

    private func send(_ count: Int, on stream: TernTransport.Stream) async throws {
        for _ in 0..<count { try await stream.write(ByteBuffer(repeating: 1, count: 1_000)) }
        try await stream.finish()
    }

    @Test func onlyWhatWasNotSeenIsTriedAgain() async throws {
        let connector = try self.connector()
        await #expect(throws: TransportError(.connectionRefused, message: "", initiator: .peer)) {
            try await self.connectPatiently(connector, to: Endpoint(host: "127.0.0.1", port: 1)).close()
        }
    }

    private func connectPatiently(_ connector: Connector, to endpoint: Endpoint) async throws -> Connection {
        // snippet: errors-retry
        var attempt = 1
        while true {
            do {
                return try await connector.connect(to: endpoint)
            } catch let error as TransportError where error.isRetrySafe && attempt < 3 {
                attempt += 1
                try await Task.sleep(for: .milliseconds(Int.random(in: 1...100 * attempt)))
            }
        }
        // end
    }

    @Test func theEndOfAConnectionHasAReason() async throws {
        try await withPair { client, server in
            await client.close(code: 42, reason: "no more")
            #expect(await self.describeEnd(of: server) == "the peer's application said 42: no more")
        }
    }

    private func describeEnd(of connection: Connection) async -> String {
        // snippet: errors-end
        let reason = await connection.closed()
        switch reason.code {
        case .application where reason.wireCode == 0: return "a clean close"
        case .application: return "the peer's application said \(reason.wireCode ?? 0): \(reason.message)"
        case .idleTimeout, .carrierLost: return "the network is gone"
        default: return "a failure: \(reason)"
        }
        // end
    }

    @Test func aConnectionIsObserved() async throws {
        let development = try self.development.get()
        try await withServer(development, echo) { endpoint in
            let metrics = TestMetrics()
            // snippet: observe-metrics
            let connector = try Connector(
                applicationProtocol: ApplicationProtocol("echo"),
                tls: TLSClientConfiguration(
                    trust: .certificateAuthorities(pem: development.certificateAuthorityPEM)),
                logger: Logger(label: "my-client"), metricsFactory: metrics)
            // end
            try await connector.withConnection(to: endpoint) { connection in
                // snippet: observe-statistics
                let statistics = await connection.statistics()
                let roundTrip = statistics.smoothedRoundTripTime.map { "\($0.nanoseconds / 1_000) µs" } ?? "unknown"
                print("\(connection.carrier): \(statistics.bytesSent) bytes sent, round trip \(roundTrip)")
                // end
                #expect(statistics.bytesSent > 0)
            }
            #expect(metrics.counterTotal(label: "tern_connections_opened") == 1)
        }
    }

    @Test func eventsAreWatched() async throws {
        try await withPair { client, server in
            let watching = Task {
                // snippet: observe-events
                for await event in client.events where event.kind == .pathChanged {
                    print("moved: \(event.message)")
                }
                // end
            }
            await server.close()
            await watching.value
        }
    }

    // snippet: testing-pair
    @Test func theServiceAnswers() async throws {
        let group = MultiThreadedEventLoopGroup.singleton
        let pair = InMemoryTransport.makePair(clientLoop: group.next(), serverLoop: group.next())
        let (client, server) = (Connection(adopting: pair.client), Connection(adopting: pair.server))
        async let serving: Void = echo(server)
        let stream = try await client.openStream()
        try await stream.finish(ByteBuffer(string: "ping"))
        #expect(try await stream.read() == ByteBuffer(string: "ping"))
        await client.close()
        try await serving
    }
    // end

    // snippet: testing-cut
    @Test func theServiceSurvivesALostNetwork() async throws {
        let group = MultiThreadedEventLoopGroup.singleton
        let pair = InMemoryTransport.makePair(clientLoop: group.next(), serverLoop: group.next())
        let (client, server) = (Connection(adopting: pair.client), Connection(adopting: pair.server))
        pair.cut()
        await #expect(throws: TransportError(.carrierLost, message: "")) { try await echo(server) }
        #expect(await client.closed().code == .carrierLost)
    }
    // end

    // snippet: testing-conformance
    @Test("My carrier", arguments: TransportConformance.behaviours.prefix(3))
    func conforms(_ behaviour: ConformanceBehaviour) async throws {
        try await behaviour.run(over: InMemoryHarness(group: MultiThreadedEventLoopGroup.singleton))
    }
    // end

    private func connector() throws -> Connector {
        let trust = TLSTrust.certificateAuthorities(pem: try self.development.get().certificateAuthorityPEM)
        return try Connector(
            applicationProtocol: ApplicationProtocol("echo"), tls: TLSClientConfiguration(trust: trust))
    }
}

// snippet: handler-echo
/// Echoes every bidirectional stream, on the connection's event loop.
final class EchoHandler: LoopConnectionHandler {
    private let connection: any LoopConnection
    /// Bytes whose credit is held back until their echo has found room.
    private var owed: [StreamID: Int] = [:]

    init(_ connection: any LoopConnection) {
        self.connection = connection
    }

    func streamReceived(_ stream: StreamID, bytes: ByteBuffer, finished: Bool) {
        do throws(TransportError) {
            guard try self.connection.write(bytes, to: stream, finish: finished) || finished else {
                self.owed[stream, default: 0] += bytes.readableBytes
                return
            }
        } catch {
            self.connection.stopSending(stream, code: error.wireCode ?? 0)
        }
        self.connection.consumed(bytes.readableBytes, of: stream)
    }

    func streamWritable(_ stream: StreamID) { self.payBack(stream) }
    func streamWasStopped(_ stream: StreamID, code: UInt64) { self.payBack(stream) }
    func streamClosed(_ stream: StreamID) { self.payBack(stream) }
    func streamWasReset(_ stream: StreamID, code: UInt64) { self.connection.reset(stream, code: code) }

    private func payBack(_ stream: StreamID) {
        self.connection.consumed(self.owed.removeValue(forKey: stream) ?? 0, of: stream)
    }

    func streamOpened(_ stream: StreamID) {}
    func streamsAvailable(_ direction: StreamDirection) {}
    func datagramReceived(_ bytes: ByteBuffer) {}
    func connectionEventOccurred(_ event: ConnectionEvent) {}
    func connectionClosed(_ reason: TransportError) {}
}
// end
