// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import CTernBench
internal import NIOCore
internal import Tern

/// Sends back what comes, without leaving the event loop.
final class LoopEcho: QuietHandler {
    private let connection: any LoopConnection

    init(_ connection: any LoopConnection) {
        self.connection = connection
    }

    func streamReceived(_ stream: StreamID, bytes: ByteBuffer, finished: Bool) {
        self.connection.consumed(bytes.readableBytes, of: stream)
        _ = try? self.connection.write(bytes, to: stream, finish: finished)
    }
}

/// Sends 64 bytes, waits for them, and again, without leaving the event loop.
final class LoopQuestioner: QuietHandler {
    static let size = 64

    struct Outcome: Sendable {
        var latencies: Latencies
        /// Heap allocations of the process while it was measured, if they were counted.
        var allocations: UInt64
    }

    private let connection: any LoopConnection
    private let done: EventLoopPromise<Outcome>
    private let question = ByteBuffer(repeating: 0x61, count: LoopQuestioner.size)
    private var stream: StreamID?
    private var warmUpsLeft: Int
    private var left: Int
    private var awaited = 0
    private var started = ContinuousClock.now
    private var latencies: Latencies
    private let countsAllocations: Bool

    init(
        _ connection: any LoopConnection, warmUp: Int, roundTrips: Int, countsAllocations: Bool = false,
        done: EventLoopPromise<Outcome>
    ) {
        self.connection = connection
        self.warmUpsLeft = warmUp
        self.left = roundTrips
        self.latencies = Latencies(capacity: roundTrips)
        self.countsAllocations = countsAllocations
        self.done = done
    }

    /// On the connection's event loop.
    func begin() throws {
        self.connection.start(handler: self)
        self.stream = try self.connection.openStream(.bidirectional)
        self.ask()
    }

    func streamReceived(_ stream: StreamID, bytes: ByteBuffer, finished: Bool) {
        self.connection.consumed(bytes.readableBytes, of: stream)
        self.awaited -= bytes.readableBytes
        guard self.awaited == 0 else { return }
        if self.warmUpsLeft > 0 {
            self.warmUpsLeft -= 1
            if self.warmUpsLeft == 0, self.countsAllocations { tern_bench_count_allocations() }
        } else {
            self.latencies.append(ContinuousClock.now - self.started)
            self.left -= 1
        }
        if self.left > 0 { return self.ask() }
        let allocations = self.countsAllocations ? tern_bench_allocations() : 0
        if self.countsAllocations { tern_bench_print_stacks(UInt64(2 * self.latencies.count)) }
        self.done.succeed(Outcome(latencies: self.latencies, allocations: allocations))
    }

    func connectionClosed(_ reason: TransportError) {
        self.done.fail(reason)
    }

    private func ask() {
        guard let stream else { return self.done.fail(BenchmarkError("no stream may be opened")) }
        self.awaited = Self.size
        self.started = .now
        do {
            _ = try self.connection.write(self.question, to: stream, finish: false)
        } catch {
            self.done.fail(error)
        }
    }
}

struct LoopEchoServer: Codable {
    var carrier: BenchmarkCarrier
    var loops = 1

    static let applicationProtocol = ApplicationProtocol("tern-echo")

    func play() async throws {
        try await self.bind().serveUntilInputEnds()
    }

    func bind() async throws -> LoopServer {
        try await LoopServer.bind(Self.applicationProtocol, over: self.carrier, loops: self.loops) { connection in
            connection.start(handler: LoopEcho(connection))
        }
    }
}

struct LoopEchoClient: Codable {
    var server: ServerAddress
    var carrier: BenchmarkCarrier
    var roundTrips: Int

    func play() async throws {
        let outcome = try await self.measure(countsAllocations: false)
        try tell(outcome.latencies.summary)
    }

    func measure(countsAllocations: Bool) async throws -> LoopQuestioner.Outcome {
        let dialer = try LoopDialer(to: self.server, over: self.carrier, LoopEchoServer.applicationProtocol)
        let connection = try await dialer.connect()
        let done = connection.eventLoop.makePromise(of: LoopQuestioner.Outcome.self)
        try await connection.eventLoop.submit {
            try LoopQuestioner(
                connection, warmUp: EchoClient.warmUp, roundTrips: self.roundTrips,
                countsAllocations: countsAllocations, done: done
            ).begin()
        }.get()
        let outcome = try await done.futureResult.get()
        try await connection.eventLoop.submit { connection.close(code: 0, reason: "") }.get()
        return outcome
    }
}

/// Both ends in one process, whose allocations are counted.
struct AllocationsRole: Codable {
    var carrier: BenchmarkCarrier
    var roundTrips: Int

    func play() async throws {
        let server = try await LoopEchoServer(carrier: self.carrier).bind()
        let outcome = try await LoopEchoClient(
            server: server.address, carrier: self.carrier, roundTrips: self.roundTrips
        ).measure(countsAllocations: true)
        try await server.listener.close().get()
        // A round trip is two messages, each sent by one end and received by the other.
        try tell(["allocationsPerMessage": Double(outcome.allocations) / Double(2 * self.roundTrips)])
    }
}

extension Workload {
    static let allocations = Workload(
        name: "allocations",
        summary: {
            """
            \($0.echoRoundTrips) round trips of 64 bytes on the handler surface after \(EchoClient.warmUp) to warm up, both \
            ends in one process: heap allocations per message, sent and received
            """
        },
        contenders: { profile in
            [BenchmarkCarrier.quic, .tls].map { carrier in
                Contender(name: "tern-\(carrier)-handler", expectedSeconds: 2) { stage in
                    let child = try stage.start(
                        .allocations(AllocationsRole(carrier: carrier, roundTrips: profile.echoRoundTrips)),
                        name: "allocations")
                    let values: [String: Double] = try stage.answer(of: child)
                    _ = try child.finish(within: .seconds(20), whileWaiting: stage.tick)
                    return values
                }
            }
        },
        columns: [Column(title: "allocations", key: "allocationsPerMessage", decimals: 3)],
        ratios: [],
        goals: [BenchmarkCarrier.quic, .tls].map {
            Goal(
                figure: "allocations per message, handler surface, \($0)", key: "allocationsPerMessage",
                of: "tern-\($0)-handler", bound: .atMost(0.05))
        },
        roundLimit: 1)
}
