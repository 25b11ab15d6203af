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
    let end = Settlement<TransportError>()
    /// The handshake is complete, or never will be.
    let handshake = Settlement<Result<Void, TransportError>>()
    /// The streams that were given to the carrier before it connected.
    let replayableStreams = Settlement<[StreamState]>()
    let events: AsyncStream<ConnectionEvent>
    let eventSink: AsyncStream<ConnectionEvent>.Continuation
    private let mailbox = Mutex(Mailbox())
    /// Credit goes back when this much is owed: rarely enough to cost no wake-up per message, and always before a window is used up.
    private let creditThreshold: Int
    /// Streams that wait for `inboundStreams`; more than this many means that nobody takes them.
    let acceptBacklog: Int

    var streams: [StreamID: StreamState] = [:]
    var openers: [StreamDirection: Deque<Opener>] = [:]
    var unsettledDatagrams = UnsettledDatagrams()
    var streamsOpened: UInt64 = 0
    var streamsAccepted: UInt64 = 0
    let replayable: [ReplayableStream]
    let observer: (any ConnectionObserver)?

    init(
        _ connection: any LoopConnection, replayable: [ReplayableStream] = [],
        observer: (any ConnectionObserver)? = nil
    ) {
        self.connection = connection
        self.replayable = replayable
        self.observer = observer
        let limits = connection.limits
        self.datagrams = Inlet(capacity: max(1, limits.bufferedDatagrams)) { $1.append($0.withoutWaste) }
        self.creditThreshold = max(1, min(limits.streamWindow, limits.connectionWindow) / 8)
        let (streams, isTooMany) = limits.bidirectionalStreams.addingReportingOverflow(limits.unidirectionalStreams)
        self.acceptBacklog = isTooMany ? .max : 4 * min(streams, 1 << 40) + 16
        (self.events, self.eventSink) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(64))
    }

    func start() {
        if self.connection.eventLoop.inEventLoop {
            self.startOnLoop()
        } else {
            self.connection.eventLoop.execute {
                self.startOnLoop()
            } orWhenShutDown: {
                self.loopIsGone()
            }
        }
    }

    /// Nothing will be heard of the connection any more. Any thread.
    private func loopIsGone() {
        let reason = TransportError.eventLoopIsShutDown()
        self.handshake.settle(.failure(reason))
        self.replayableStreams.settle([])
        self.acceptedStreams.end(reason)
        self.datagrams.end(reason)
        self.eventSink.finish()
        self.end.settle(reason)
    }

    private func startOnLoop() {
        self.observer?.connectionStarted(self.connection, source: self)
        let streams = zip(self.connection.replayableStreams, self.replayable).map { id, sent in
            let stream = StreamState(id: id, role: self.connection.role, limits: self.connection.limits)
            if sent.finishes {
                stream.outbound.end(TransportError(.streamFinished, message: "it was finished when it was opened"))
            }
            self.streams[id] = stream
            return stream
        }
        self.streamsOpened += UInt64(streams.count)
        self.replayableStreams.settle(streams)
        self.noteHandshake()
        self.connection.start(handler: self)
    }

    /// On the loop: tells those who wait, once the handshake is complete.
    func noteHandshake() {
        if self.connection.isHandshakeComplete { self.handshake.settle(.success(())) }
    }

    /// Any thread. Nobody waits for what is posted: where the loop was shut down, the connection ended before, and with it all of this.
    func post(_ operation: Operation) {
        let mustSchedule = self.mailbox.withLock { mailbox in
            mailbox.operations.append(operation)
            return mailbox.schedule()
        }
        if mustSchedule { self.connection.eventLoop.execute { self.drain() } }
    }

    /// Any thread. A connection that ended needs no closing, and its loop no waking.
    func postClose(code: UInt64, reason: String) {
        guard self.end.knownValue == nil else { return }
        self.mailbox.withLock { $0.operations.append(.close(code: code, reason: reason)) }
        self.connection.eventLoop.execute {
            self.drain()
        } orWhenShutDown: {
            self.loopIsGone()
        }
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
        if let reason = self.end.knownValue { throw reason }
        let opener = Opener(direction: direction)
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                opener.wait(with: continuation)
                self.mailbox.withLock { $0.operations.append(.open(opener)) }
                self.connection.eventLoop.execute {
                    self.drain()
                } orWhenShutDown: {
                    opener.answer(.failure(self.end.knownValue ?? .eventLoopIsShutDown()))
                }
            }
        } onCancel: {
            opener.answer(.failure(CancellationError()))
        }
    }

    /// Runs `body` on the loop, after everything that was posted before it.
    ///
    /// - Throws: what `body` throws, or why the connection is closed.
    func onLoop<Value: Sendable>(
        _ body: @escaping @Sendable (any LoopConnection) throws(TransportError) -> Value
    ) async throws -> Value {
        if let reason = self.end.knownValue { throw reason }
        let result = await self.look { connection in
            Result { () throws(TransportError) in try body(connection) }
        }
        guard let result else { throw self.end.knownValue ?? .eventLoopIsShutDown() }
        return try result.get()
    }

    /// As ``onLoop(_:)``, for what may still be asked when the connection is closed.
    ///
    /// - Returns: `nil` only when the event loop is shut down.
    func look<Value: Sendable>(_ body: @escaping @Sendable (any LoopConnection) -> Value) async -> Value? {
        let connection = self.connection
        return await withCheckedContinuation { continuation in
            connection.eventLoop.execute {
                self.drain()
                continuation.resume(returning: body(connection))
            } orWhenShutDown: {
                continuation.resume(returning: nil)
            }
        }
    }

    /// Begins something on the loop that takes its time. A cancelled task stops to wait, the thing goes on.
    func begin<Value: Sendable>(
        _ body: @escaping @Sendable (any LoopConnection) -> EventLoopFuture<Value>
    ) async throws -> Value {
        let answer = Settlement<Result<Value, any Error>>()
        let connection = self.connection
        if let reason = self.end.knownValue { throw reason }
        connection.eventLoop.execute {
            self.drain()
            body(connection).whenComplete { answer.settle($0) }
        } orWhenShutDown: {
            answer.settle(.failure(self.end.knownValue ?? .eventLoopIsShutDown()))
        }
        guard let result = await answer.value() else { throw CancellationError() }
        return try result.mapError { TransportError.orCancellation($0) }.get()
    }

    /// Waits until the peer's transport has what was written so far. The carrier knows the answer also when it is closed.
    ///
    /// - Parameters:
    ///   - stream: `nil`: all of them.
    ///   - time: how long to wait; `nil`: until the connection ends.
    func delivery(of stream: StreamID?, within time: TimeAmount? = nil) async throws {
        let answer = Settlement<Result<Void, any Error>>()
        let connection = self.connection
        connection.eventLoop.execute {
            self.drain()
            let timer = time.map { time in
                connection.eventLoop.scheduleTask(in: time) {
                    answer.settle(.failure(TransportError(.timedOut, message: "it took longer than \(time.inWords)")))
                }
            }
            connection.delivery(of: stream).whenComplete { result in
                timer?.cancel()
                answer.settle(result)
            }
        } orWhenShutDown: {
            answer.settle(.failure(TransportError.eventLoopIsShutDown()))
        }
        guard let result = await answer.value() else { throw CancellationError() }
        try result.mapError { TransportError.orCancellation($0) }.get()
    }

    /// - Throws: why the datagram was not accepted.
    func sendTracked(_ bytes: ByteBuffer) async throws -> DatagramDelivery {
        try await self.onLoop { (connection) throws(TransportError) in
            let delivery = DatagramDelivery()
            let tag = self.unsettledDatagrams.add(delivery)
            do throws(TransportError) {
                _ = try connection.sendDatagram(bytes, tag: tag)
            } catch {
                self.unsettledDatagrams.settle(tag, nil)
                throw error
            }
            return delivery
        }
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
        if let reason = self.end.knownValue {
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
    func tryToOpen(_ opener: Opener) -> Bool {
        guard opener.isWaiting else { return true }
        do throws(TransportError) {
            guard let id = try self.connection.openStream(opener.direction) else { return false }
            let stream = StreamState(id: id, role: self.connection.role, limits: self.connection.limits)
            self.streams[id] = stream
            self.streamsOpened += 1
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

extension ConnectionBridge.Mailbox {
    /// - Returns: whether the caller must send the loop to the mailbox.
    fileprivate mutating func schedule() -> Bool {
        defer { self.isDrainScheduled = true }
        return !self.isDrainScheduled
    }
}

extension ConnectionBridge: ConnectionActivitySource {
    func activity() -> ConnectionActivity {
        var activity = ConnectionActivity()
        activity.statistics = self.connection.statistics()
        activity.statistics.datagramsDropped += self.datagrams.dropped
        activity.streamsOpened = self.streamsOpened
        activity.streamsAccepted = self.streamsAccepted
        return activity
    }
}
