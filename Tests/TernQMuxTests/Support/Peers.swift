// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Logging
import NIOCore
import NIOPosix
import TernTransport
import Testing

@testable import TernQMux
@testable import TernTLS

#if canImport(Glibc)
import Glibc
#endif

/// A handler made of closures. Confined to its connection's event loop, hence `@unchecked Sendable`.
final class TestHandler: LoopConnectionHandler, @unchecked Sendable {
    let connection: any LoopConnection
    let closed: EventLoopFuture<TransportError>
    private let closedPromise: EventLoopPromise<TransportError>
    private var endings = 0

    var onStreamOpened: (StreamID) -> Void = { _ in }
    var onReceived: (StreamID, ByteBuffer, Bool) -> Void = { _, _, _ in }
    var onReset: (StreamID, UInt64) -> Void = { _, _ in }
    var onStopped: (StreamID, UInt64) -> Void = { _, _ in }
    var onWritable: (StreamID) -> Void = { _ in }
    var onStreamClosed: (StreamID) -> Void = { _ in }
    var onStreamsAvailable: (StreamDirection) -> Void = { _ in }
    var onDatagram: (ByteBuffer) -> Void = { _ in }
    var onSettled: (UInt64, DatagramFate) -> Void = { _, _ in }
    var onEvent: (ConnectionEvent) -> Void = { _ in }

    init(_ connection: any LoopConnection) {
        self.connection = connection
        self.closedPromise = connection.eventLoop.makePromise()
        self.closed = self.closedPromise.futureResult
    }

    func streamOpened(_ stream: StreamID) { self.onStreamOpened(stream) }
    func streamReceived(_ stream: StreamID, bytes: ByteBuffer, finished: Bool) {
        self.onReceived(stream, bytes, finished)
    }
    func streamWasReset(_ stream: StreamID, code: UInt64) { self.onReset(stream, code) }
    func streamWasStopped(_ stream: StreamID, code: UInt64) { self.onStopped(stream, code) }
    func streamWritable(_ stream: StreamID) { self.onWritable(stream) }
    func streamClosed(_ stream: StreamID) { self.onStreamClosed(stream) }
    func streamsAvailable(_ direction: StreamDirection) { self.onStreamsAvailable(direction) }
    func datagramReceived(_ bytes: ByteBuffer) { self.onDatagram(bytes) }
    func datagramSettled(_ tag: UInt64, fate: DatagramFate) { self.onSettled(tag, fate) }
    func connectionEventOccurred(_ event: ConnectionEvent) { self.onEvent(event) }
    func connectionClosed(_ reason: TransportError) {
        self.endings += 1
        #expect(self.endings == 1)
        self.closedPromise.succeed(reason)
        // The closures hold the handler.
        self.onReceived = { _, _, _ in }
        self.onWritable = { _ in }
        self.onDatagram = { _ in }
        self.onStreamsAvailable = { _ in }
        self.onSettled = { _, _ in }
        self.onEvent = { _ in }
    }
}

/// Sends back what comes, on the same stream, and datagrams.
func echo(_ connection: any LoopConnection) {
    let handler = TestHandler(connection)
    handler.onReceived = { stream, bytes, finished in
        _ = try? connection.write(bytes, to: stream, finish: finished)
        connection.consumed(bytes.readableBytes, of: stream)
    }
    handler.onDatagram = { _ = try? connection.sendDatagram($0) }
    connection.start(handler: handler)
}

let testLogger = Logger(label: "tests", factory: { _ in SwiftLogNoOpLogHandler() })
let testProtocol = "tern-test/1"

/// Runs `body` with a listener, and makes sure that nothing is left of it.
func withListener(
    on host: String = "127.0.0.1", port: Int = 0, tls: TLSServerConfiguration? = nil,
    limits: ConnectionLimits = ConnectionLimits(), listenerLimits: QMuxListenerLimits = QMuxListenerLimits(),
    options: TCPOptions = TCPOptions(),
    onConnection: @escaping @Sendable (any LoopConnection) -> Void = { echo($0) },
    _ body: (QMuxListener) async throws -> Void
) async throws {
    let listener = try await QMuxListener.bind(
        to: try SocketAddress(ipAddress: host, port: port), tls: try tls ?? TestTLS.server(),
        applicationProtocols: [testProtocol], limits: limits, listenerLimits: listenerLimits, options: options,
        eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: testLogger, onConnection: onConnection
    ).get()
    do {
        try await body(listener)
    } catch {
        try? await listener.close().get()
        throw error
    }
    try await listener.close().get()
    #expect(listener.connectionCount == 0)
}

func connect(
    to address: SocketAddress, serverName: String = "localhost", tls: TLSClientConfiguration? = nil,
    applicationProtocols: [String] = [testProtocol], limits: ConnectionLimits = ConnectionLimits(),
    on eventLoop: any EventLoop = MultiThreadedEventLoopGroup.singleton.next()
) throws -> ConnectionAttempt {
    let connector = try QMuxConnector(
        tls: try tls ?? TestTLS.client(), applicationProtocols: applicationProtocols, limits: limits,
        logger: testLogger)
    return connector.connect(to: address, serverName: serverName, on: eventLoop)
}

/// Connects, starts the connection, runs `body` on its event loop, waits for what it promises, and closes.
func withConnection<Answer: Sendable>(
    to address: SocketAddress, limits: ConnectionLimits = ConnectionLimits(),
    _ body: @escaping @Sendable (TestHandler, EventLoopPromise<Answer>) throws -> Void
) async throws -> Answer {
    let connection = try await connect(to: address, limits: limits).established.get()
    let (answer, closed) = try await connection.eventLoop.submit {
        let handler = TestHandler(connection)
        let promise = connection.eventLoop.makePromise(of: Answer.self)
        handler.closed.whenSuccess { promise.fail($0) }
        connection.start(handler: handler)
        do { try body(handler, promise) } catch { promise.fail(error) }
        return (promise.futureResult, handler.closed)
    }.get()
    let result: Answer
    do { result = try await answer.get() } catch {
        connection.eventLoop.execute { connection.close(code: 0, reason: "") }
        throw error
    }
    connection.eventLoop.execute { connection.close(code: 0, reason: "") }
    let reason = try await closed.get()
    #expect(reason == TransportError(.application, message: "", wireCode: 0))
    return result
}

/// Connects and starts; whoever calls closes.
func started(
    at address: SocketAddress, limits: ConnectionLimits = ConnectionLimits()
) async throws -> TestHandler {
    let connection = try await connect(to: address, limits: limits).established.get()
    return try await connection.eventLoop.submit {
        let handler = TestHandler(connection)
        connection.start(handler: handler)
        return handler
    }.get()
}

extension TestHandler {
    func close(code: UInt64 = 0, reason: String = "") {
        self.connection.eventLoop.execute { self.connection.close(code: code, reason: reason) }
    }
}

/// Sends `count` bytes on a new stream and waits for them to come back.
func roundTrip(_ count: Int, over handler: TestHandler, answer: EventLoopPromise<ByteBuffer>) throws {
    let connection = handler.connection
    var received = ByteBuffer()
    let stream = try #require(try connection.openStream(.bidirectional))
    handler.onReceived = { id, bytes, finished in
        guard id == stream else { return }
        received.writeImmutableBuffer(bytes)
        connection.consumed(bytes.readableBytes, of: id)
        if finished { answer.succeed(received) }
    }
    _ = try connection.write(Pattern.bytes(at: 0, count: count), to: stream, finish: true)
}

func echoes(_ count: Int, at address: SocketAddress) async throws -> Bool {
    let answer = try await withConnection(to: address) { handler, answer in
        try roundTrip(count, over: handler, answer: answer)
    }
    return answer == Pattern.bytes(at: 0, count: count)
}

/// Asks again, without holding a thread, until `condition` holds or 10 seconds have passed.
func eventually(_ condition: () async throws -> Bool) async throws -> Bool {
    let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
    let deadline = NIODeadline.now() + .seconds(10)
    while NIODeadline.now() < deadline {
        if try await condition() { return true }
        try await eventLoop.scheduleTask(in: .milliseconds(5)) {}.futureResult.get()
    }
    return false
}

/// Bytes that say where in a transfer they belong: a period that divides no buffer size.
enum Pattern {
    private static let period = 65_521
    private static let cycle: ByteBuffer = {
        var state: UInt32 = 1
        var bytes = (0..<period).map { _ in
            state = state &* 1_664_525 &+ 1_013_904_223
            return UInt8(truncatingIfNeeded: state >> 24)
        }
        bytes += bytes
        return ByteBuffer(bytes: bytes + bytes)
    }()

    static func bytes(at offset: Int, count: Int) -> ByteBuffer {
        var result = ByteBuffer()
        while result.readableBytes < count {
            let start = (offset + result.readableBytes) % self.period
            let length = min(count - result.readableBytes, self.period)
            result.writeImmutableBuffer(self.cycle.getSlice(at: start, length: length)!)
        }
        return result
    }
}

/// The connections that a listener accepted, started, in order.
final class Accepted: Sendable {
    private let handlers = NIOLockedBox<[TestHandler]>([])

    @Sendable func start(_ connection: any LoopConnection) {
        let handler = TestHandler(connection)
        handler.onReceived = { stream, bytes, _ in connection.consumed(bytes.readableBytes, of: stream) }
        connection.start(handler: handler)
        self.handlers.update { $0.append(handler) }
    }

    func next() async throws -> TestHandler {
        let isThere = try await eventually { !self.handlers.value.isEmpty }
        try #require(isThere)
        var first: TestHandler?
        self.handlers.update { first = $0.removeFirst() }
        return try #require(first)
    }
}

/// The file descriptors of this process.
func openDescriptors() throws -> Int {
    let folder = try #require(opendir("/proc/self/fd"))
    defer { closedir(folder) }
    var count = 0
    while readdir(folder) != nil { count += 1 }
    return count
}
