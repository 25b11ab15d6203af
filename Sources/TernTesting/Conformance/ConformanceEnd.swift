// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTransport

/// What one end heard, sorted.
struct ConformanceRecord: Sendable {
    var opened: [StreamID] = []
    var bytes: [StreamID: ByteBuffer] = [:]
    var finished: Set<StreamID> = []
    /// How many bytes of all streams had come when a stream ended.
    var totalAtEnd: [StreamID: Int] = [:]
    var resets: [StreamID: UInt64] = [:]
    var stops: [StreamID: UInt64] = [:]
    var writable: [StreamID: Int] = [:]
    var closed: Set<StreamID> = []
    var available: [StreamDirection: Int] = [:]
    var datagrams: [ByteBuffer] = []
    var fates: [UInt64: DatagramFate] = [:]
    var events: [ConnectionEvent.Kind] = []
    var end: TransportError?
    /// What must not happen, on any connection.
    var faults: [String] = []

    func count(_ stream: StreamID) -> Int { self.bytes[stream]?.readableBytes ?? 0 }
    var total: Int { self.bytes.values.reduce(0) { $0 + $1.readableBytes } }
}

/// One end under test: calls the connection on its event loop, and records what it hears.
///
/// `@unchecked Sendable`: everything mutable is touched on the connection's event loop only.
final class ConformanceEnd: LoopConnectionHandler, @unchecked Sendable {
    let connection: any LoopConnection
    private(set) var record = ConformanceRecord()
    /// Whether received bytes are consumed when they come.
    var consumesAtOnce = true
    /// Called for each piece of a stream, after it was recorded.
    var onReceived: ((ConformanceEnd, StreamID, ByteBuffer, Bool) -> Void)?

    private var isInCall = false
    private var waiters: [Int: (ConformanceRecord) -> Bool] = [:]
    private var nextWaiter = 0

    init(_ connection: any LoopConnection) {
        self.connection = connection
    }

    func start() async throws {
        try await self.perform { $0.connection.start(handler: $0) }
    }

    /// Runs `body` on the event loop; a callback from inside it is a fault.
    func perform<Value: Sendable>(
        _ body: @escaping @Sendable (ConformanceEnd) throws -> Value
    ) async throws -> Value {
        try await self.connection.eventLoop.submit {
            self.isInCall = true
            defer { self.isInCall = false }
            return try body(self)
        }.get()
    }

    /// Waits until `match` finds what it looks for in the record.
    func until<Value: Sendable>(
        _ what: String, _ match: @escaping @Sendable (ConformanceRecord) -> Value?
    ) async throws -> Value {
        let promise = self.connection.eventLoop.makePromise(of: Value.self)
        self.connection.eventLoop.execute {
            if let value = match(self.record) { return promise.succeed(value) }
            let waiter = self.nextWaiter
            self.nextWaiter += 1
            let deadline = self.connection.eventLoop.scheduleTask(in: TransportConformance.patience) {
                self.waiters[waiter] = nil
                promise.fail(ConformanceFailure("the \(self.connection.role) never saw \(what): \(self.summary)"))
            }
            self.waiters[waiter] = { record in
                guard let value = match(record) else { return false }
                deadline.cancel()
                promise.succeed(value)
                return true
            }
        }
        return try await promise.futureResult.get()
    }

    func until(_ what: String, _ match: @escaping @Sendable (ConformanceRecord) -> Bool) async throws {
        try await self.until(what) { match($0) ? () : nil }
    }

    func openStream(_ direction: StreamDirection = .bidirectional) async throws -> StreamID {
        let stream = try await self.perform { try $0.connection.openStream(direction) }
        guard let stream else { throw ConformanceFailure("no \(direction) stream can be opened") }
        return stream
    }

    /// Writes as a polite application does: stops when told, goes on when called.
    func send(_ bytes: ByteBuffer, on stream: StreamID, finish: Bool = true) async throws {
        var rest = bytes
        repeat {
            let piece = rest.readSlice(length: min(rest.readableBytes, 48 << 10)) ?? ByteBuffer()
            let isLast = rest.readableBytes == 0
            let (mayGoOn, calls) = try await self.perform { end in
                let calls = end.record.writable[stream, default: 0]
                return (try end.connection.write(piece, to: stream, finish: finish && isLast), calls)
            }
            if !mayGoOn, !isLast {
                try await self.until("\(stream) become writable") { $0.writable[stream, default: 0] > calls }
            }
        } while rest.readableBytes > 0
    }

    private var summary: String {
        let record = self.record
        let bytes = record.bytes.sorted { $0.key < $1.key }.prefix(5).map {
            "\($0.key): \($0.value.readableBytes) bytes"
        }
        return "opened \(record.opened.count), \(bytes), finished \(record.finished.count), resets \(record.resets), "
            + "stops \(record.stops), closed \(record.closed.count), datagrams \(record.datagrams.count), "
            + "end \(record.end.map { "\($0)" } ?? "none")"
    }

    // MARK: - What it hears

    private func note(_ call: String, _ change: (inout ConformanceRecord) -> Void) {
        if self.isInCall { self.record.faults.append("\(call) came from inside a call") }
        if self.record.end != nil { self.record.faults.append("\(call) came after the end") }
        change(&self.record)
        guard !self.waiters.isEmpty else { return }
        self.waiters = self.waiters.filter { !$0.value(self.record) }
    }

    /// An event of a stream that is not open is a fault.
    private func note(_ call: String, of stream: StreamID, _ change: (inout ConformanceRecord) -> Void) {
        self.note("\(call)(\(stream))") { record in
            let isOurs = stream.initiator == self.connection.role
            if !isOurs, !record.opened.contains(stream) { record.faults.append("\(call) of \(stream), never opened") }
            if record.closed.contains(stream) { record.faults.append("\(call) of \(stream), closed already") }
            change(&record)
        }
    }

    func streamOpened(_ stream: StreamID) {
        self.note("streamOpened") { record in
            if record.opened.contains(stream) { record.faults.append("\(stream) opened twice") }
            record.opened.append(stream)
        }
    }

    func streamReceived(_ stream: StreamID, bytes: ByteBuffer, finished: Bool) {
        self.note("streamReceived", of: stream) { record in
            if record.finished.contains(stream) { record.faults.append("bytes after the end of \(stream)") }
            if record.resets[stream] != nil { record.faults.append("bytes after the reset of \(stream)") }
            record.bytes[stream, default: ByteBuffer()].writeImmutableBuffer(bytes)
            if finished {
                record.finished.insert(stream)
                record.totalAtEnd[stream] = record.total
            }
        }
        if self.consumesAtOnce { self.connection.consumed(bytes.readableBytes, of: stream) }
        self.onReceived?(self, stream, bytes, finished)
    }

    func streamWasReset(_ stream: StreamID, code: UInt64) {
        self.note("streamWasReset", of: stream) { $0.resets[stream] = code }
    }

    func streamWasStopped(_ stream: StreamID, code: UInt64) {
        self.note("streamWasStopped", of: stream) { $0.stops[stream] = code }
    }

    func streamWritable(_ stream: StreamID) {
        self.note("streamWritable", of: stream) { $0.writable[stream, default: 0] += 1 }
    }

    func streamClosed(_ stream: StreamID) {
        self.note("streamClosed", of: stream) { $0.closed.insert(stream) }
    }

    func streamsAvailable(_ direction: StreamDirection) {
        self.note("streamsAvailable") { $0.available[direction, default: 0] += 1 }
    }

    func datagramReceived(_ bytes: ByteBuffer) {
        self.note("datagramReceived") { $0.datagrams.append(bytes) }
    }

    func datagramSettled(_ tag: UInt64, fate: DatagramFate) {
        self.note("datagramSettled") { record in
            if let first = record.fates.updateValue(fate, forKey: tag) {
                record.faults.append("datagram \(tag) was settled twice: \(first), then \(fate)")
            }
        }
    }

    func connectionEventOccurred(_ event: ConnectionEvent) {
        self.note("connectionEventOccurred") { $0.events.append(event.kind) }
    }

    func connectionClosed(_ reason: TransportError) {
        self.note("connectionClosed") { $0.end = reason }
    }
}

/// Both ends of a connection under test.
struct ConformanceEnds: Sendable {
    let client: ConformanceEnd
    let server: ConformanceEnd
    private let release: @Sendable () async -> Void

    init(_ pair: ConformancePair) {
        self.client = ConformanceEnd(pair.client)
        self.server = ConformanceEnd(pair.server)
        self.release = pair.release
    }

    /// Runs `body`, and ends the connection whatever happened.
    func run(_ body: @Sendable (ConformanceEnd, ConformanceEnd) async throws -> Void) async throws {
        do {
            try await body(self.client, self.server)
            try await self.finish()
        } catch {
            for end in [self.client, self.server] {
                try? await end.perform { $0.connection.close(code: 0, reason: "") }
            }
            await self.release()
            throw error
        }
        await self.release()
    }

    /// Closes, waits for both ends, and looks for what must never happen.
    private func finish() async throws {
        try await self.client.perform { $0.connection.close(code: 0, reason: "") }
        for end in [self.client, self.server] {
            try await end.until("the end of the connection") { $0.end != nil }
            let faults = try await end.perform { $0.record.faults }
            try require(faults.isEmpty, "the \(end.connection.role) heard what it must not: \(faults)")
        }
    }
}

extension ConformanceHarness {
    /// Runs `body` on a started pair, and ends it.
    func withEnds(
        client clientLimits: ConnectionLimits = ConnectionLimits(),
        server serverLimits: ConnectionLimits = ConnectionLimits(), replayable: [ReplayableStream] = [],
        _ body: @Sendable (ConformanceEnd, ConformanceEnd) async throws -> Void
    ) async throws {
        let pair = try await self.connectWithoutTimers(
            client: clientLimits, server: serverLimits, replayable: replayable)
        try await ConformanceEnds(pair).run { client, server in
            try await client.start()
            try await server.start()
            try await body(client, server)
        }
    }
}

extension ConformanceEnd {
    /// Answers every stream of the peer with its own bytes.
    func echo() async throws {
        try await self.perform { end in
            end.onReceived = { end, stream, bytes, finished in
                guard stream.initiator != end.connection.role, stream.direction == .bidirectional else { return }
                do {
                    _ = try end.connection.write(bytes, to: stream, finish: finished)
                } catch {
                    end.record.faults.append("the echo of \(stream) failed: \(error)")
                }
            }
        }
    }

    /// The bytes of a stream, once it has ended.
    func whole(_ stream: StreamID) async throws -> ByteBuffer {
        try await self.until("the end of \(stream)") { record in
            record.finished.contains(stream) ? record.bytes[stream] ?? ByteBuffer() : nil
        }
    }
}
