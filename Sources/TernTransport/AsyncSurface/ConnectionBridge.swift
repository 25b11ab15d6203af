// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import NIOCore
internal import Synchronization

/// Stands between tasks and the event loop of one connection: tasks post operations, which the loop executes many at a time in
/// the order of their posting; what the loop hears goes into inlets that tasks read.
///
/// **Isolation.** `streams` and `openers` belong to the connection's event loop, everything else is behind a mutex: that is the
/// invariant which makes it `Sendable`.
final class ConnectionBridge: @unchecked Sendable {
    /// What a task asks of the loop.
    enum Operation: Sendable {
        case open(Opener)
        case write(StreamState, ByteBuffer, finish: Bool)
        case reset(StreamState, code: UInt64)
        case stopSending(StreamState, code: UInt64)
        case setPriority(StreamState, StreamPriority)
        case returnCredit
        case close(code: UInt64, reason: String)
    }

    fileprivate struct Mailbox {
        var operations: Deque<Operation> = []
        var isDrainScheduled = false
        var credit: [StreamID: Int] = [:]
        var creditBytes = 0
    }

    let connection: any LoopConnection
    let acceptedStreams = Inlet<StreamState>()
    let datagrams: Inlet<ByteBuffer>
    let end = ConnectionEnd()
    let events: AsyncStream<ConnectionEvent>
    private let eventSink: AsyncStream<ConnectionEvent>.Continuation
    private let mailbox = Mutex(Mailbox())
    /// Credit goes back when this much is owed: rarely enough to cost no wake-up per message, and always before a window is used up.
    private let creditThreshold: Int
    /// Streams that wait for `inboundStreams`; more than this many means that nobody takes them.
    private let acceptBacklog: Int

    private var streams: [StreamID: StreamState] = [:]
    private var openers: [StreamDirection: Deque<Opener>] = [:]

    init(_ connection: any LoopConnection) {
        self.connection = connection
        let limits = connection.limits
        self.datagrams = Inlet(capacity: max(1, limits.bufferedDatagrams))
        self.creditThreshold = max(1, min(limits.streamWindow, limits.connectionWindow) / 8)
        self.acceptBacklog = 4 * (limits.bidirectionalStreams + limits.unidirectionalStreams) + 16
        (self.events, self.eventSink) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(64))
    }

    func start() {
        if self.connection.eventLoop.inEventLoop {
            self.connection.start(handler: self)
        } else {
            self.connection.eventLoop.execute { self.connection.start(handler: self) }
        }
    }

    /// Any thread.
    func post(_ operation: Operation) {
        let mustSchedule = self.mailbox.withLock { mailbox in
            mailbox.operations.append(operation)
            return mailbox.schedule()
        }
        if mustSchedule { self.connection.eventLoop.execute { self.drain() } }
    }

    /// The application is done with received bytes. Any thread.
    func returnCredit(_ byteCount: Int, of stream: StreamID) {
        guard byteCount > 0 else { return }
        let mustSchedule = self.mailbox.withLock { mailbox in
            mailbox.credit[stream, default: 0] += byteCount
            mailbox.creditBytes += byteCount
            guard mailbox.creditBytes >= self.creditThreshold else { return false }
            mailbox.operations.append(.returnCredit)
            mailbox.creditBytes = 0
            return mailbox.schedule()
        }
        if mustSchedule { self.connection.eventLoop.execute { self.drain() } }
    }

    /// Nothing more comes on a stream: what is still owed for it goes back at once, because a stream counts against the peer's
    /// limit until all its bytes are consumed. Any thread.
    func returnAllCredit(of stream: StreamID) {
        let mustSchedule = self.mailbox.withLock { mailbox in
            guard mailbox.credit[stream] != nil else { return false }
            mailbox.operations.append(.returnCredit)
            return mailbox.schedule()
        }
        if mustSchedule { self.connection.eventLoop.execute { self.drain() } }
    }

    func openStream(_ direction: StreamDirection) async throws -> StreamState {
        let opener = Opener(direction: direction)
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                opener.wait(with: continuation)
                self.post(.open(opener))
            }
        } onCancel: {
            opener.answer(.failure(CancellationError()))
        }
    }

    /// Runs `body` on the loop, after everything that was posted before it.
    func onLoop<Value: Sendable>(
        _ body: @escaping @Sendable (any LoopConnection) throws(TransportError) -> Value
    ) async throws -> Value {
        let connection = self.connection
        if let reason = self.end.knownReason { throw reason }
        return try await connection.eventLoop.submit {
            self.drain()
            return try body(connection)
        }.get()
    }

    private func drain() {
        let (operations, credit) = self.mailbox.withLock { mailbox in
            defer {
                mailbox.operations = []
                mailbox.credit = [:]
                mailbox.creditBytes = 0
                mailbox.isDrainScheduled = false
            }
            return (mailbox.operations, mailbox.credit)
        }
        for (stream, byteCount) in credit { self.connection.consumed(byteCount, of: stream) }
        for operation in operations { self.execute(operation) }
    }

    private func execute(_ operation: Operation) {
        switch operation {
        case .open(let opener):
            self.open(opener)
        case .write(let stream, let bytes, let finish):
            self.write(bytes, to: stream, finish: finish)
        case .reset(let stream, let code):
            self.connection.reset(stream.id, code: code)
        case .stopSending(let stream, let code):
            self.connection.stopSending(stream.id, code: code)
        case .setPriority(let stream, let priority):
            self.connection.setPriority(priority, of: stream.id)
        case .returnCredit:
            break
        case .close(let code, let reason):
            self.connection.close(code: code, reason: reason)
        }
    }

    private func open(_ opener: Opener) {
        guard opener.isWaiting else { return }
        if let reason = self.end.knownReason {
            opener.answer(.failure(reason))
            return
        }
        // First come, first served: who waits for a stream is not overtaken.
        guard self.openers[opener.direction, default: []].isEmpty, self.tryToOpen(opener) else {
            self.openers[opener.direction, default: []].append(opener)
            return
        }
    }

    /// - Returns: whether the opener needs no more attention.
    private func tryToOpen(_ opener: Opener) -> Bool {
        guard opener.isWaiting else { return true }
        do throws(TransportError) {
            guard let id = try self.connection.openStream(opener.direction) else { return false }
            let stream = StreamState(id: id, role: self.connection.role, limits: self.connection.limits)
            self.streams[id] = stream
            if !opener.answer(.success(stream)) {
                // The task was cancelled while its stream was opened.
                self.connection.reset(id, code: 0)
                self.connection.stopSending(id, code: 0)
            }
        } catch {
            opener.answer(.failure(error))
        }
        return true
    }

    private func write(_ bytes: ByteBuffer, to stream: StreamState, finish: Bool) {
        do throws(TransportError) {
            let wantsMore = try self.connection.write(bytes, to: stream.id, finish: finish)
            stream.outbound.handedOver(bytes.readableBytes, carrierWantsMore: wantsMore)
        } catch {
            stream.outbound.end(error)
        }
    }
}

extension ConnectionBridge: LoopConnectionHandler {
    func streamOpened(_ id: StreamID) {
        let stream = StreamState(id: id, role: self.connection.role, limits: self.connection.limits)
        self.streams[id] = stream
        if self.acceptedStreams.count >= self.acceptBacklog {
            self.connection.close(
                code: TransportErrorCode.applicationError, reason: "more streams were opened than the application takes"
            )
            return
        }
        self.acceptedStreams.push(stream)
    }

    func streamReceived(_ id: StreamID, bytes: ByteBuffer, finished: Bool) {
        guard let stream = self.streams[id] else { return self.connection.consumed(bytes.readableBytes, of: id) }
        if bytes.readableBytes > 0, !stream.inbound.received(bytes) {
            self.connection.consumed(bytes.readableBytes, of: id)
        }
        if finished { stream.inbound.finished() }
    }

    func streamWasReset(_ id: StreamID, code: UInt64) {
        guard let stream = self.streams[id] else { return }
        let error = TransportError(
            .streamReset, message: "the peer gave up sending on \(id)", wireCode: code, initiator: .peer)
        self.connection.consumed(stream.inbound.failed(error), of: id)
    }

    func streamWasStopped(_ id: StreamID, code: UInt64) {
        self.streams[id]?.outbound.end(
            TransportError(
                .streamStopped, message: "the peer wants no more of \(id)", wireCode: code, initiator: .peer))
    }

    func streamWritable(_ id: StreamID) {
        self.streams[id]?.outbound.carrierIsWritable()
    }

    func streamClosed(_ id: StreamID) {
        self.streams[id] = nil
    }

    func streamsAvailable(_ direction: StreamDirection) {
        while let opener = self.openers[direction]?.first, self.tryToOpen(opener) {
            self.openers[direction]?.removeFirst()
        }
    }

    func datagramReceived(_ bytes: ByteBuffer) {
        self.datagrams.push(bytes)
    }

    func connectionEventOccurred(_ event: ConnectionEvent) {
        self.eventSink.yield(event)
    }

    func connectionClosed(_ reason: TransportError) {
        self.end.came(reason)
        let error: TransportError? = reason.code == .application && reason.wireCode == 0 ? nil : reason
        for stream in self.streams.values {
            stream.outbound.end(reason)
            // What arrived whole before the end may still be read; a stream cut in the middle fails.
            stream.inbound.endAfterDelivery(reason)
        }
        for opener in self.openers.values.joined() { opener.answer(.failure(reason)) }
        self.streams = [:]
        self.openers = [:]
        self.acceptedStreams.end(error)
        self.datagrams.end(error)
        self.eventSink.finish()
    }
}

extension ConnectionBridge.Mailbox {
    /// - Returns: whether the caller must send the loop to the mailbox.
    fileprivate mutating func schedule() -> Bool {
        defer { self.isDrainScheduled = true }
        return !self.isDrainScheduled
    }
}

/// A task that waits for its stream.
final class Opener: Sendable {
    private enum State {
        case idle
        case waiting(CheckedContinuation<StreamState, any Error>)
        case answered(any Error)
        case served
    }

    let direction: StreamDirection
    private let state = Mutex(State.idle)

    init(direction: StreamDirection) {
        self.direction = direction
    }

    var isWaiting: Bool {
        self.state.withLock { if case .waiting = $0 { true } else { false } }
    }

    func wait(with continuation: CheckedContinuation<StreamState, any Error>) {
        let error = self.state.withLock { state -> (any Error)? in
            if case .answered(let error) = state { return error }
            state = .waiting(continuation)
            return nil
        }
        if let error { continuation.resume(throwing: error) }
    }

    /// - Returns: whether the task was still waiting.
    @discardableResult
    func answer(_ result: Result<StreamState, any Error>) -> Bool {
        let waiter = self.state.withLock { state -> CheckedContinuation<StreamState, any Error>? in
            switch (state, result) {
            case (.waiting(let continuation), _):
                state = .served
                return continuation
            case (.idle, .failure(let error)):
                state = .answered(error)
                return nil
            default:
                return nil
            }
        }
        waiter?.resume(with: result)
        return waiter != nil
    }
}
