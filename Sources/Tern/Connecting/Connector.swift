// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import CoreMetrics
public import Logging
public import NIOCore
public import NIOPosix
public import TernQMux
public import TernQUIC
public import TernTLS
public import TernTransport

/// Connects to servers: races QUIC and TCP by a policy and gives back whichever finished its handshake first.
///
/// ```swift
/// let connector = try Connector(applicationProtocol: ApplicationProtocol("echo"), tls: .init(trust: .system))
/// let connection = try await connector.connect(to: Endpoint(host: "example.org", port: 4433))
/// ```
///
/// A connector is a value that any number of tasks share. Its copies remember together at which servers QUIC died young
/// (``ConnectionPolicy/youngAge``): keep one for as long as you connect.
public struct Connector: Sendable {
    private let carriers: [Carrier: any CarrierConnector]
    private let policy: ConnectionPolicy
    private let serverName: String?
    private let eventLoopGroup: any EventLoopGroup
    private let resolver: any AddressResolving
    private let observation: TransportObservation
    /// Shared by copies.
    let memory: CarrierMemoryBox

    /// - Parameters:
    ///   - applicationProtocol: the ALPN identifiers to offer.
    ///   - tls: whom to trust, and our own identity if the server asks for one.
    ///   - policy: which carriers to try, and when.
    ///   - limits: what the server may make us keep in memory, and timeouts.
    ///   - quicOptions: how QUIC behaves.
    ///   - tcpOptions: how TCP behaves.
    ///   - serverName: the name that the server's certificate must carry, if it is not the endpoint's host.
    ///   - eventLoopGroup: where connections live; NIO's shared group by default.
    ///   - logger: hears of connections at debug level, and of what an operator must act on at warning level.
    ///   - metricsFactory: who collects metrics; what was bootstrapped in the metrics system by default.
    /// - Throws: ``TernTransport/TransportError/Code/misuse`` when the trust, the identity or the ALPN identifiers can't be used.
    public init(
        applicationProtocol: ApplicationProtocol, tls: TLSClientConfiguration,
        policy: ConnectionPolicy = ConnectionPolicy(),
        limits: ConnectionLimits = ConnectionLimits(), quic quicOptions: QUICOptions = QUICOptions(),
        tcp tcpOptions: TCPOptions = TCPOptions(), serverName: String? = nil,
        eventLoopGroup: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton,
        logger: Logger = Logger(label: "tern.connector"), metricsFactory: any MetricsFactory = MetricsSystem.factory
    ) throws {
        try applicationProtocol.check()
        let carriers: [any CarrierConnector]
        do {
            carriers = [
                try QUICConnector(
                    tls: tls, applicationProtocols: [applicationProtocol.quic], limits: limits, options: quicOptions,
                    logger: logger),
                try QMuxConnector(
                    tls: tls, applicationProtocols: [applicationProtocol.tls], limits: limits, options: tcpOptions,
                    logger: logger),
            ]
        } catch let error as TLSError {
            throw TransportError(unusable: error)
        }
        if let serverName { _ = try ServerName(serverName) }
        self.init(
            carriers: carriers, policy: policy, serverName: serverName, eventLoopGroup: eventLoopGroup,
            resolver: SystemAddressResolver(timeout: policy.lookupTimeout),
            observation: TransportObservation(logger: logger, metrics: TransportMetrics(factory: metricsFactory)))
    }

    init(
        carriers: [any CarrierConnector], policy: ConnectionPolicy, serverName: String? = nil,
        eventLoopGroup: any EventLoopGroup, resolver: any AddressResolving, observation: TransportObservation
    ) {
        self.carriers = Dictionary(carriers.map { ($0.carrier, $0) }) { first, _ in first }
        self.policy = policy
        self.serverName = serverName
        self.eventLoopGroup = eventLoopGroup
        self.resolver = resolver
        self.observation = observation
        self.memory = CarrierMemoryBox(policy)
    }

    /// Connects, and says nothing about how. See ``race(to:)``.
    public func connect(to endpoint: Endpoint) async throws -> Connection {
        try await self.race(to: endpoint).connection
    }

    /// Connects, and opens streams whose bytes may leave before the handshake is done (0-RTT).
    ///
    /// That takes a ticket of an earlier connection; without one, or when the server refuses, the bytes leave when the handshake
    /// is done. **The server may see them more than once:** an attacker can repeat them, and each attempt of the race, over
    /// either carrier, sends them. Their type says that this does no harm.
    ///
    /// - Parameters:
    ///   - endpoint: where to.
    ///   - replayable: what to send, each on a stream of its own.
    /// - Returns: the connection, and its streams in the order of `replayable`; read the answers from them.
    /// - Throws: as ``race(to:)``, and ``TernTransport/TransportError/Code/limitExceeded`` when the server allows fewer streams.
    public func connect(
        to endpoint: Endpoint, replayable: [ReplayableStream]
    ) async throws -> (connection: Connection, streams: [TernTransport.Stream]) {
        let (connection, streams, _) = try await self.race(to: endpoint, replayable: replayable)
        return (connection, streams)
    }

    /// Connects, and reports what was tried, what was chosen and why.
    ///
    /// - Throws: ``TernTransport/TransportError`` whose message names every attempt and its outcome, or `CancellationError`.
    public func race(to endpoint: Endpoint) async throws -> (connection: Connection, report: ConnectionReport) {
        let (connection, _, report) = try await self.race(to: endpoint, replayable: [])
        return (connection, report)
    }

    /// ``connect(to:replayable:)`` with the report of ``race(to:)``.
    public func race(
        to endpoint: Endpoint, replayable: [ReplayableStream]
    ) async throws -> (connection: Connection, streams: [TernTransport.Stream], report: ConnectionReport) {
        let driver = self.driver(to: endpoint, replayable: replayable, on: self.eventLoopGroup.next())
        let (loopConnection, report) = try await withTaskCancellationHandler {
            try Task.checkCancellation()
            return try await self.run(driver, to: endpoint).get()
        } onCancel: {
            driver.abandon()
        }
        let connection = Connection(
            adopting: loopConnection, replayable: replayable, observer: self.observer(of: loopConnection, to: endpoint))
        do {
            try Task.checkCancellation()
            let streams = try await connection.replayableStreams()
            return (connection, streams, report)
        } catch {
            await connection.close()
            throw error
        }
    }

    /// Connects for code that stays on an event loop: the answer is a connection that holds its events back until
    /// ``TernTransport/LoopConnection/start(handler:)``.
    ///
    /// The caller owns the connection: it lives until an end closes it. That it died young is not noticed
    /// (``ConnectionPolicy/youngAge``); what was noticed of others counts.
    ///
    /// - Parameters:
    ///   - endpoint: where to.
    ///   - replayable: as for ``connect(to:replayable:)``; ``TernTransport/LoopConnection/replayableStreams`` has the identifiers.
    ///   - eventLoop: where the connection will live and the future is completed; `nil`: the next of the connector's group.
    /// - Returns: fails with a ``TernTransport/TransportError`` whose message names every attempt and its outcome.
    public func raceOnLoop(
        to endpoint: Endpoint, replayable: [ReplayableStream] = [], on eventLoop: (any EventLoop)? = nil
    ) -> EventLoopFuture<(connection: any LoopConnection, report: ConnectionReport)> {
        let driver = self.driver(to: endpoint, replayable: replayable, on: eventLoop ?? self.eventLoopGroup.next())
        return self.run(driver, to: endpoint).map { (connection: $0, report: $1) }
    }

    private func run(
        _ driver: RaceDriver, to endpoint: Endpoint
    ) -> EventLoopFuture<(any LoopConnection, ConnectionReport)> {
        let outcome = driver.run()
        outcome.whenComplete { [observation] in
            observation.raceEnded($0.map { _, report in report }, at: endpoint)
        }
        return outcome
    }

    private func driver(
        to endpoint: Endpoint, replayable: [ReplayableStream], on eventLoop: any EventLoop
    ) -> RaceDriver {
        RaceDriver(
            race: (self.policy, endpoint, self.memory.distrustsQUIC(at: endpoint, now: eventLoop.now)),
            carriers: self.carriers, serverName: self.serverName ?? endpoint.host,
            replayable: replayable, resolver: self.resolver, eventLoop: eventLoop)
    }

    /// Who hears of the connection's life: logs and metrics, and over QUIC the memory of what dies young.
    private func observer(
        of connection: any LoopConnection, to endpoint: Endpoint
    ) -> (any ConnectionObserver)? {
        let recorder = self.observation.recorder()
        guard connection.carrier == .quic, self.policy.mode == .preferQUIC || self.policy.mode == .race else {
            return recorder
        }
        return YouthWatch(over: recorder, endpoint: endpoint, memory: self.memory)
    }

    /// Connects, runs `body`, and closes the connection: with code 0 when everything has arrived that `body` wrote, or abruptly with
    /// code 1 when `body` throws.
    ///
    /// - Parameters:
    ///   - endpoint: where to.
    ///   - grace: how long to wait for the peer when `body` has returned.
    ///   - body: has the connection while it runs.
    /// - Throws: as ``connect(to:)``, what `body` throws, or ``TernTransport/TransportError/Code/undelivered`` when not everything arrived:
    ///   see ``TernTransport/Connection/closeGracefully(within:)``.
    public func withConnection<Result: Sendable>(
        to endpoint: Endpoint, grace: TimeAmount = Connection.defaultGrace,
        _ body: (Connection) async throws -> Result
    ) async throws -> Result {
        let connection = try await self.connect(to: endpoint)
        let result: Result
        do {
            result = try await body(connection)
        } catch {
            await connection.close(code: 1, reason: "the client gave up")
            throw error
        }
        try await connection.closeGracefully(within: grace)
        return result
    }
}
