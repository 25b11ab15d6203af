// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore
package import TernTransport
internal import Testing

/// A handler made of closures. Confined to its connection's event loop, hence `@unchecked Sendable`.
package final class TestHandler: LoopConnectionHandler, @unchecked Sendable {
    package let connection: any LoopConnection
    package let closed: EventLoopFuture<TransportError>
    private let closedPromise: EventLoopPromise<TransportError>
    private var endings = 0

    package var onStreamOpened: (StreamID) -> Void = { _ in }
    package var onReceived: (StreamID, ByteBuffer, Bool) -> Void = { _, _, _ in }
    package var onReset: (StreamID, UInt64) -> Void = { _, _ in }
    package var onStopped: (StreamID, UInt64) -> Void = { _, _ in }
    package var onWritable: (StreamID) -> Void = { _ in }
    package var onStreamClosed: (StreamID) -> Void = { _ in }
    package var onStreamsAvailable: (StreamDirection) -> Void = { _ in }
    package var onDatagram: (ByteBuffer) -> Void = { _ in }
    package var onSettled: (UInt64, DatagramFate) -> Void = { _, _ in }
    package var onEvent: (ConnectionEvent) -> Void = { _ in }

    package init(_ connection: any LoopConnection) {
        self.connection = connection
        self.closedPromise = connection.eventLoop.makePromise()
        self.closed = self.closedPromise.futureResult
    }

    package func streamOpened(_ stream: StreamID) { self.onStreamOpened(stream) }
    package func streamReceived(_ stream: StreamID, bytes: ByteBuffer, finished: Bool) {
        self.onReceived(stream, bytes, finished)
    }
    package func streamWasReset(_ stream: StreamID, code: UInt64) { self.onReset(stream, code) }
    package func streamWasStopped(_ stream: StreamID, code: UInt64) { self.onStopped(stream, code) }
    package func streamWritable(_ stream: StreamID) { self.onWritable(stream) }
    package func streamClosed(_ stream: StreamID) { self.onStreamClosed(stream) }
    package func streamsAvailable(_ direction: StreamDirection) { self.onStreamsAvailable(direction) }
    package func datagramReceived(_ bytes: ByteBuffer) { self.onDatagram(bytes) }
    package func datagramSettled(_ tag: UInt64, fate: DatagramFate) { self.onSettled(tag, fate) }
    package func connectionEventOccurred(_ event: ConnectionEvent) { self.onEvent(event) }
    package func connectionClosed(_ reason: TransportError) {
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
package func echo(_ connection: any LoopConnection) {
    let handler = TestHandler(connection)
    handler.onReceived = { stream, bytes, finished in
        _ = try? connection.write(bytes, to: stream, finish: finished)
        connection.consumed(bytes.readableBytes, of: stream)
    }
    handler.onDatagram = { _ = try? connection.sendDatagram($0) }
    connection.start(handler: handler)
}

extension TestHandler {
    package func close(code: UInt64 = 0, reason: String = "") {
        self.connection.eventLoop.execute { self.connection.close(code: code, reason: reason) }
    }
}

/// The connections that a listener accepted, started, in order.
package final class Accepted: Sendable {
    private let handlers = NIOLockedBox<[TestHandler]>([])

    package init() {}

    @Sendable package func start(_ connection: any LoopConnection) {
        let handler = TestHandler(connection)
        handler.onReceived = { stream, bytes, _ in connection.consumed(bytes.readableBytes, of: stream) }
        connection.start(handler: handler)
        self.handlers.update { $0.append(handler) }
    }

    package func next() async throws -> TestHandler {
        let isThere = try await eventually { !self.handlers.value.isEmpty }
        try #require(isThere)
        var first: TestHandler?
        self.handlers.update { first = $0.removeFirst() }
        return try #require(first)
    }
}
