// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Logging
import NIOCore
import NIOPosix
import Synchronization
import TernTesting
import TernTransport
import TestTimeLimits
import Testing

@testable import Tern

/// The connector over carriers that do what a test says; the race itself is tested in ``ConnectionRaceTests``.
@Suite("The connector", .untilItHangs)
struct ConnectorTests {
    @Test func quicWinsWhenItAnswers() async throws {
        let tcp = ScriptedCarrier(.tls, .silence)
        let connector = Self.connector([ScriptedCarrier(.quic, .connect), tcp])
        let (connection, report) = try await connector.race(to: Endpoint(host: "127.0.0.1", port: 4433))
        #expect(report.carrier == .quic)
        #expect(report.reason == .quicFirst)
        #expect(report.attempts.count == 1)
        #expect(tcp.started == 0)
        await connection.close()
    }

    @Test func tcpTakesOverWhenUDPIsSilent() async throws {
        let quic = ScriptedCarrier(.quic, .silence)
        let connector = Self.connector([quic, ScriptedCarrier(.tls, .connect)])
        let (connection, report) = try await connector.race(to: Endpoint(host: "127.0.0.1", port: 4433))
        #expect(report.carrier == .tls)
        #expect(report.reason == .udpSilent)
        #expect(report.totalDuration >= .milliseconds(100))
        #expect(report.description.hasPrefix("no answer over UDP: fell back to tls after "))
        #expect(quic.cancelled == 1, "the loser is given up")
        await connection.close()
    }

    @Test func tcpTakesOverAtOnceWhenQUICFails() async throws {
        let quic = ScriptedCarrier(.quic, .fail(TransportError(.connectionRefused, message: "port unreachable")))
        let connector = Self.connector([quic, ScriptedCarrier(.tls, .connect)])
        let (connection, report) = try await connector.race(to: Endpoint(host: "127.0.0.1", port: 4433))
        #expect(report.reason == .quicFailed)
        #expect(report.totalDuration < .milliseconds(100))
        await connection.close()
    }

    @Test func theErrorNamesEveryAttempt() async throws {
        let connector = Self.connector([
            ScriptedCarrier(.quic, .fail(TransportError(.certificateRejected, message: "unknown issuer"))),
            ScriptedCarrier(.tls, .fail(TransportError(.connectionRefused, message: "nobody listens"))),
        ])
        let error = await #expect(throws: TransportError.self) {
            _ = try await connector.connect(to: Endpoint(host: "127.0.0.1", port: 4433))
        }
        #expect(error?.code == .certificateRejected)
        #expect(error?.message.contains("unknown issuer") == true)
        #expect(error?.message.contains("nobody listens") == true)
    }

    @Test func theErrorNamesEveryAddressOnce() async throws {
        let address = "127.0.0.1:4433"
        let connector = Self.connector([
            ScriptedCarrier(.quic, .fail(TransportError(.certificateRejected, message: "unknown issuer"))),
            ScriptedCarrier(
                .tls, .fail(TransportError(.connectionRefused, message: "nobody listens at \(address) over TCP"))),
        ])
        let error = await #expect(throws: TransportError.self) {
            _ = try await connector.connect(to: Endpoint(host: "127.0.0.1", port: 4433))
        }
        let attempts = try #require(error?.message.split(separator: "; ").dropFirst())
        #expect(attempts.contains { $0.hasPrefix("quic to \(address): ") })
        #expect(attempts.contains("tls: connectionRefused: nobody listens at \(address) over TCP"))
    }

    @Test func aCancelledTaskGivesUpItsAttempts() async throws {
        let quic = ScriptedCarrier(.quic, .silence)
        let connector = Self.connector([quic], policy: ConnectionPolicy(.quicOnly))
        let task = Task { try await connector.connect(to: Endpoint(host: "127.0.0.1", port: 4433)) }
        await quic.untilStarted()
        task.cancel()
        await #expect(throws: CancellationError.self) { _ = try await task.value }
        await quic.untilCancelled()
    }

    @Test func namesAreResolvedAndTriedIPv6First() async throws {
        let quic = ScriptedCarrier(.quic, .connect)
        let connector = Self.connector([quic], policy: ConnectionPolicy(.quicOnly))
        let (connection, report) = try await connector.race(to: Endpoint(host: "two.example", port: 4433))
        #expect(report.address.ipAddress == "2001:db8::1")
        #expect(quic.serverNames == ["two.example"])
        await connection.close()
    }

    @Test func aNameThatDoesNotResolveIsUnreachable() async throws {
        let connector = Self.connector([ScriptedCarrier(.quic, .connect)])
        let error = await #expect(throws: TransportError.self) {
            _ = try await connector.connect(to: Endpoint(host: "missing.example", port: 4433))
        }
        #expect(error?.code == .unreachable)
    }

    @Test func theScopeClosesTheConnection() async throws {
        let quic = ScriptedCarrier(.quic, .connect)
        let connector = Self.connector([quic], policy: ConnectionPolicy(.quicOnly))
        let answer = try await connector.withConnection(to: Endpoint(host: "127.0.0.1", port: 4433)) { connection in
            try await connection.openStream(.unidirectional).finish()
            return 7
        }
        #expect(answer == 7)
        let peer = try #require(quic.servers.first)
        #expect(await peer.closed() == TransportError(.application, message: "", wireCode: 0, initiator: .peer))
    }

    @Test func replayableStreamsGoWithEveryAttempt() async throws {
        let quic = ScriptedCarrier(.quic, .silence)
        let tcp = ScriptedCarrier(.tls, .connect)
        let connector = Self.connector([quic, tcp], policy: ConnectionPolicy(.race))
        let request = ReplayableStream(ByteBuffer(string: "What time is it?"))
        let (connection, streams) = try await connector.connect(
            to: Endpoint(host: "127.0.0.1", port: 4433), replayable: [request])
        #expect(quic.replayable == [request])
        #expect(tcp.replayable == [request])
        let server = try #require(tcp.servers.first)
        let inbound = try #require(try await server.inboundStreams.first { _ in true })
        #expect(try await inbound.read() == request.bytes)
        #expect(try await inbound.read() == nil)
        try await inbound.finish(ByteBuffer(string: "Noon."))
        let stream = try #require(streams.first)
        #expect(streams.count == 1)
        #expect(try await stream.read() == ByteBuffer(string: "Noon."))
        await connection.close()
    }

    @Test func aRaceThatSentReplayableStreamsIsNotSurelyUnseen() async throws {
        let refusal = TransportError(.connectionRefused, message: "nobody listens", isRetrySafe: true)
        let connector = Self.connector([ScriptedCarrier(.quic, .fail(refusal)), ScriptedCarrier(.tls, .fail(refusal))])
        for replayable in [[], [ReplayableStream(ByteBuffer(string: "x"))]] {
            let error = await #expect(throws: TransportError.self) {
                _ = try await connector.race(to: Endpoint(host: "127.0.0.1", port: 4433), replayable: replayable)
            }
            #expect(error?.isRetrySafe == replayable.isEmpty)
        }
    }

    @Test func aLoopGetsItsConnectionWithoutATask() async throws {
        let quic = ScriptedCarrier(.quic, .connect)
        let connector = Self.connector([quic], policy: ConnectionPolicy(.quicOnly))
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let request = ReplayableStream(ByteBuffer(string: "hello"))
        let reason = try await connector.raceOnLoop(
            to: Endpoint(host: "127.0.0.1", port: 4433), replayable: [request], on: loop
        ).flatMapThrowing { connection, report in
            loop.preconditionInEventLoop()
            #expect(connection.eventLoop === loop)
            #expect(connection.replayableStreams.count == 1)
            connection.close(code: 7, reason: "")
            return report.reason
        }.get()
        #expect(reason == .onlyChoice)
        let peer = try #require(quic.servers.first)
        #expect(await peer.closed() == TransportError(.application, message: "", wireCode: 7, initiator: .peer))
    }

    private static func connector(
        _ carriers: [ScriptedCarrier], policy: ConnectionPolicy = ConnectionPolicy()
    ) -> Connector {
        Connector(
            carriers: carriers, policy: policy, eventLoopGroup: MultiThreadedEventLoopGroup.singleton,
            resolver: ScriptedResolver(),
            observation: TransportObservation(logger: Logger(label: "test"), metrics: nil))
    }
}

/// Knows two names and every literal.
private struct ScriptedResolver: AddressResolving {
    func resolve(
        _ endpoint: Endpoint, family: ConnectionRace.AddressFamily, on eventLoop: any EventLoop
    ) -> EventLoopFuture<[SocketAddress]> {
        switch (endpoint.host, family) {
        case ("two.example", .v6): Self.address("2001:db8::1", on: eventLoop)
        case ("two.example", .v4): Self.address("192.0.2.1", on: eventLoop)
        case ("missing.example", _):
            eventLoop.makeFailedFuture(TransportError(.unreachable, message: "missing.example does not resolve"))
        default: SystemAddressResolver().resolve(endpoint, family: family, on: eventLoop)
        }
    }

    private static func address(_ text: String, on eventLoop: any EventLoop) -> EventLoopFuture<[SocketAddress]> {
        eventLoop.makeCompletedFuture { [try SocketAddress(ipAddress: text, port: 4433)] }
    }
}

/// A carrier that connects in memory, fails, or says nothing.
private final class ScriptedCarrier: CarrierConnector {
    enum Behaviour: Sendable {
        case connect
        case silence
        case fail(TransportError)
    }

    private struct State {
        var started = 0
        var cancelled = 0
        var serverNames: [String] = []
        var replayable: [ReplayableStream] = []
        var servers: [Connection] = []
    }

    let carrier: Carrier
    private let behaviour: Behaviour
    private let state = Mutex(State())
    private let starts = AsyncStream<Void>.makeStream()
    private let cancellations = AsyncStream<Void>.makeStream()

    init(_ carrier: Carrier, _ behaviour: Behaviour) {
        self.carrier = carrier
        self.behaviour = behaviour
    }

    var started: Int { self.state.withLock { $0.started } }
    var cancelled: Int { self.state.withLock { $0.cancelled } }
    var serverNames: [String] { self.state.withLock { $0.serverNames } }
    var replayable: [ReplayableStream] { self.state.withLock { $0.replayable } }
    var servers: [Connection] { self.state.withLock { $0.servers } }
    func untilStarted() async { _ = await self.starts.stream.first { _ in true } }
    func untilCancelled() async { _ = await self.cancellations.stream.first { _ in true } }

    func connect(
        to address: SocketAddress, serverName: String, replayable: [ReplayableStream], on eventLoop: any EventLoop
    ) -> ConnectionAttempt {
        let established = eventLoop.makePromise(of: (any LoopConnection).self)
        let heard = eventLoop.makePromise(of: Void.self)
        self.state.withLock {
            $0.started += 1
            $0.serverNames.append(serverName)
            $0.replayable = replayable
        }
        self.starts.continuation.yield()
        switch self.behaviour {
        case .connect:
            self.connectInMemory(replayable, on: eventLoop, established, heard)
        case .silence:
            break
        case .fail(let error):
            heard.fail(error)
            established.fail(error)
        }
        return ConnectionAttempt(established: established.futureResult, heardFromPeer: heard.futureResult) {
            self.state.withLock { $0.cancelled += 1 }
            self.cancellations.continuation.yield()
            let error = TransportError(.cancelled, message: "given up")
            established.fail(error)
            heard.fail(error)
        }
    }

    private func connectInMemory(
        _ replayable: [ReplayableStream], on eventLoop: any EventLoop,
        _ established: EventLoopPromise<any LoopConnection>, _ heard: EventLoopPromise<Void>
    ) {
        do {
            let listener = try InMemoryListener(group: eventLoop) { connection in
                self.state.withLock { $0.servers.append(Connection(adopting: connection)) }
            }
            let attempt = listener.connector().connect(
                to: listener.localAddress, serverName: "memory", replayable: replayable, on: eventLoop)
            heard.succeed()
            attempt.established.cascade(to: established)
        } catch {
            heard.fail(error)
            established.fail(error)
        }
    }
}
