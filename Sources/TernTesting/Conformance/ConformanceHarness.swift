// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore
public import TernTransport

/// Makes connected pairs over one carrier, for ``TransportConformance``.
public protocol ConformanceHarness: Sendable {
    var carrier: Carrier { get }

    /// Connects two ends, preferably on different event loops. Neither is started.
    ///
    /// - Parameters:
    ///   - client: what the client grants the server.
    ///   - server: what the server grants the client.
    ///   - replayable: streams for the client to open at once; it has no ticket of an earlier connection.
    func connect(
        client: ConnectionLimits, server: ConnectionLimits, replayable: [ReplayableStream]
    ) async throws -> ConformancePair
}

/// Two ends of one connection; neither is started.
public struct ConformancePair: Sendable {
    public let client: any LoopConnection
    public let server: any LoopConnection
    /// Frees what the pair needed besides, such as a listener; called when both ends are closed.
    public let release: @Sendable () async -> Void

    public init(
        client: any LoopConnection, server: any LoopConnection, release: @escaping @Sendable () async -> Void = {}
    ) {
        self.client = client
        self.server = server
        self.release = release
    }
}

/// The in-memory carrier, on two event loops.
public struct InMemoryHarness: ConformanceHarness {
    public var carrier: Carrier { .memory }
    private let group: any EventLoopGroup

    public init(group: any EventLoopGroup) {
        self.group = group
    }

    public func connect(
        client: ConnectionLimits, server: ConnectionLimits, replayable: [ReplayableStream]
    ) async throws -> ConformancePair {
        let accepted = self.group.any().makePromise(of: (any LoopConnection).self)
        let listener = try InMemoryListener(group: self.group, limits: server) { accepted.succeed($0) }
        let attempt = listener.connector(limits: client).connect(
            to: listener.localAddress, serverName: "memory", replayable: replayable, on: self.group.next())
        do {
            let end = try await attempt.established.get()
            return ConformancePair(client: end, server: try await accepted.futureResult.get()) {
                try? await listener.close().get()
            }
        } catch {
            accepted.fail(error)
            throw error
        }
    }
}

/// A carrier did not behave.
public struct ConformanceFailure: Error, CustomStringConvertible {
    public let description: String

    public init(_ description: String) {
        self.description = description
    }
}

/// One thing that every carrier does alike.
public struct ConformanceBehaviour: Sendable, CustomStringConvertible {
    /// A sentence.
    public let description: String
    private let body: @Sendable (any ConformanceHarness) async throws -> Void

    init(_ description: String, _ body: @escaping @Sendable (any ConformanceHarness) async throws -> Void) {
        self.description = description
        self.body = body
    }

    /// - Throws: ``ConformanceFailure``, or what the carrier threw where it should not have.
    public func run(over harness: any ConformanceHarness) async throws {
        try await self.body(harness)
    }
}

/// What a carrier must do to be one: the table of all behaviours, over any ``ConformanceHarness``.
///
/// ```swift
/// for behaviour in TransportConformance.behaviours {
///     try await behaviour.run(over: InMemoryHarness(group: group))
/// }
/// ```
///
/// Nothing in it sleeps. What does not come is given up after ``patience``, with a list of what came instead.
public enum TransportConformance {
    /// How long a behaviour waits for something before it fails.
    public static let patience: TimeAmount = .seconds(60)

    /// Everything that a carrier must do.
    public static let behaviours: [ConformanceBehaviour] =
        Self.streamBehaviours + Self.abandonmentBehaviours + Self.flowBehaviours + Self.connectionBehaviours
        + Self.handshakeBehaviours + Self.pathBehaviours + Self.deliveryBehaviours + Self.asyncBehaviours
}

extension ConformanceHarness {
    /// Connects without timers that are due while a behaviour is patient: they would wake up a carrier that forgot to
    /// go on.
    func connectWithoutTimers(
        client: ConnectionLimits, server: ConnectionLimits, replayable: [ReplayableStream] = []
    ) async throws -> ConformancePair {
        try await self.connect(client: client.withoutTimers, server: server.withoutTimers, replayable: replayable)
    }
}

extension ConnectionLimits {
    var withoutTimers: ConnectionLimits {
        var limits = self
        limits.keepAliveInterval = nil
        limits.handshakeTimeout = .seconds(60)
        limits.idleTimeout = .seconds(60)
        return limits
    }
}

func require(_ condition: Bool, _ failure: @autoclosure () -> String) throws(ConformanceFailure) {
    guard condition else { throw ConformanceFailure(failure()) }
}

/// `body` must throw a ``TransportError`` of this kind.
func expectError<Value>(
    _ code: TransportError.Code, wireCode: UInt64? = nil, _ what: String, _ body: () throws -> Value
) throws {
    do {
        _ = try body()
    } catch let error as TransportError {
        try require(error.code == code, "\(what) threw \(error) instead of \(code)")
        try require(
            wireCode == nil || error.wireCode == wireCode, "\(what) threw \(error), without code \(wireCode ?? 0)")
        return
    }
    throw ConformanceFailure("\(what) did not throw \(code)")
}

/// `count` bytes that show where they belong.
func testBytes(_ count: Int, seed: Int = 17) -> ByteBuffer {
    var bytes = ByteBuffer()
    bytes.reserveCapacity(count)
    var period = ByteBuffer()
    for index in 0..<251 { period.writeInteger(UInt8(truncatingIfNeeded: (31 * index + seed) % 251)) }
    while bytes.readableBytes < count {
        bytes.writeImmutableBuffer(
            period.getSlice(at: 0, length: min(251, count - bytes.readableBytes)) ?? ByteBuffer())
    }
    return bytes
}
