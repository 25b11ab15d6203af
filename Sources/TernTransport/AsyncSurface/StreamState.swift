// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import Synchronization

/// What the async surface knows of one stream; shared by the handle and the bridge.
final class StreamState: Sendable {
    let id: StreamID
    let inbound: StreamInlet
    let outbound: StreamOutlet
    private let mayBeReplay = Atomic(false)
    private let delivered = Atomic(false)

    init(id: StreamID, role: ConnectionRole, limits: ConnectionLimits) {
        self.id = id
        self.inbound = StreamInlet(isReadable: id.isReadable(by: role))
        self.outbound = StreamOutlet(isWritable: id.isWritable(by: role), limits: limits)
    }

    /// Whether bytes that were delivered came before the handshake was complete. Any thread.
    var isReplayable: Bool { self.mayBeReplay.load(ordering: .acquiring) }
    func noteReplayable() { self.mayBeReplay.store(true, ordering: .releasing) }

    /// Whether something was delivered. On the event loop.
    var wasDelivered: Bool {
        get { self.delivered.load(ordering: .relaxed) }
        set { self.delivered.store(newValue, ordering: .relaxed) }
    }

    func write(_ bytes: ByteBuffer, finish: Bool, through bridge: ConnectionBridge) async throws {
        do throws(TransportError) {
            try self.outbound.accept(bytes.readableBytes, finish: finish)
        } catch {
            // It wanted no end, and whether it closed just before or just after is chance.
            guard finish, bytes.readableBytes == 0, error.isCleanCloseByPeer else { throw error }
            return
        }
        bridge.post(.write(self, bytes, finish: finish))
        if !finish { try await self.outbound.untilBelowWatermark() }
    }
}

/// Whether the peer gave up one side of a stream, for tasks that want to know while they neither read nor write.
final class StreamCodeWatch: Sendable {
    private let answer = Settlement<UInt64?>()

    /// Waits for the peer; `nil` when the side ends in another way, or when the task is cancelled.
    func code() async -> UInt64? { await self.answer.value() ?? nil }

    /// With the peer's code, or `nil` when the side ended in another way. The first answer stays.
    func settle(_ code: UInt64?) { self.answer.settle(code) }
}

/// The receiving side of a stream.
final class StreamInlet: Sendable {
    private let inlet = Inlet<ByteBuffer>(keep: { $0.wait(behind: &$1) })
    private let resetWatch = StreamCodeWatch()

    init(isReadable: Bool) {
        if isReadable { return }
        self.inlet.end(TransportError(.misuse, message: "this end only sends on this stream"))
        self.resetWatch.settle(nil)
    }

    /// Whether more bytes can come, or wait to be read.
    var isOpen: Bool { self.inlet.isOpen }

    /// - Returns: `false` when nobody will read them; their credit is the caller's to return.
    func received(_ bytes: ByteBuffer) -> Bool { self.inlet.push(bytes) }
    func finished() {
        self.inlet.end()
        self.resetWatch.settle(nil)
    }

    /// - Returns: how many bytes were dropped unread; their credit is the caller's to return.
    func failed(_ error: TransportError) -> Int {
        self.resetWatch.settle(error.wireCode ?? 0)
        return self.inlet.abort(error).reduce(0) { $0 + $1.readableBytes }
    }
    /// The connection ended: what waits is still delivered, then `reason`.
    func endAfterDelivery(_ reason: TransportError) {
        self.inlet.end(reason)
        self.resetWatch.settle(nil)
    }
    func stop() -> Int {
        self.resetWatch.settle(nil)
        return self.inlet.abort(nil).reduce(0) { $0 + $1.readableBytes }
    }
    func next() async throws -> ByteBuffer? { try await self.inlet.next() }

    /// Waits for the peer's reset; `nil` when there will be none, or when the task is cancelled.
    func resetCode() async -> UInt64? { await self.resetWatch.code() }
}

/// The sending side of a stream: counts what is on its way to the event loop and suspends writers above the watermark.
final class StreamOutlet: Sendable {
    fileprivate struct State {
        /// Why nothing can be written any more.
        var end: TransportError?
        /// Bytes posted and not yet handed to the carrier.
        var postedBytes = 0
        /// The carrier said that enough waits.
        var isCarrierFull = false
        var waiters: [Int: CheckedContinuation<Void, any Error>] = [:]
        var nextWaiter = 0
    }

    private let state: Mutex<State>
    private let stopWatch = StreamCodeWatch()
    private let highWatermark: Int

    init(isWritable: Bool, limits: ConnectionLimits) {
        self.highWatermark = limits.writeHighWatermark
        var state = State()
        if !isWritable { state.end = TransportError(.misuse, message: "this end only receives on this stream") }
        self.state = Mutex(state)
        if !isWritable { self.stopWatch.settle(nil) }
    }

    /// Whether the sending side was neither finished, reset nor lost.
    var isOpen: Bool { self.state.withLock { $0.end == nil } }

    /// Why what was written need not arrive: the stream was reset or stopped, or never sent.
    var abandonment: TransportError? {
        guard let end = self.state.withLock({ $0.end }) else { return nil }
        let isFinish = end.code == .streamFinished && end.wireCode == nil
        return !isFinish && [.streamFinished, .streamStopped, .misuse].contains(end.code) ? end : nil
    }

    /// A writer is about to post `byteCount` bytes.
    func accept(_ byteCount: Int, finish: Bool) throws(TransportError) {
        let end = self.state.withLock { state -> TransportError? in
            if let end = state.end { return end }
            state.postedBytes += byteCount
            if finish { state.end = TransportError(.streamFinished, message: "the stream was finished here") }
            return nil
        }
        if let end { throw end }
    }

    /// The loop handed posted bytes to the carrier, which says whether it wants more.
    func handedOver(_ byteCount: Int, carrierWantsMore: Bool) {
        self.resumeIfBelowWatermark {
            $0.postedBytes -= byteCount
            $0.isCarrierFull = !carrierWantsMore
        }
    }

    func carrierIsWritable() {
        self.resumeIfBelowWatermark { $0.isCarrierFull = false }
    }

    /// Nothing can be written any more; the first reason stays.
    func end(_ reason: TransportError) {
        let waiters = self.state.withLock { state in
            if state.end == nil || state.end?.code == .streamFinished { state.end = reason }
            defer { state.waiters = [:] }
            return state.waiters
        }
        self.stopWatch.settle(reason.code == .streamStopped ? reason.wireCode ?? 0 : nil)
        for waiter in waiters.values { waiter.resume(throwing: reason) }
    }

    /// Everything arrived, or will never.
    func closed() { self.stopWatch.settle(nil) }

    /// Waits until the peer wants no more; `nil` when it took all, or when the task is cancelled.
    func stopCode() async -> UInt64? { await self.stopWatch.code() }

    func untilBelowWatermark() async throws {
        guard let ticket = self.state.withLock({ $0.takeTicket(highWatermark: self.highWatermark) }) else { return }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                let answer = self.state.withLock { state -> Result<Void, any Error>? in
                    if let end = state.end, end.code != .streamFinished { return .failure(end) }
                    if Task.isCancelled { return .failure(CancellationError()) }
                    guard state.mustWait(highWatermark: self.highWatermark) else { return .success(()) }
                    state.waiters[ticket] = continuation
                    return nil
                }
                if let answer { continuation.resume(with: answer) }
            }
        } onCancel: {
            let waiter = self.state.withLock { $0.waiters.removeValue(forKey: ticket) }
            waiter?.resume(throwing: CancellationError())
        }
    }

    private func resumeIfBelowWatermark(after change: (inout State) -> Void) {
        let waiters = self.state.withLock { state -> [Int: CheckedContinuation<Void, any Error>] in
            change(&state)
            guard !state.waiters.isEmpty, !state.mustWait(highWatermark: self.highWatermark) else { return [:] }
            defer { state.waiters = [:] }
            return state.waiters
        }
        for waiter in waiters.values { waiter.resume() }
    }
}

extension StreamOutlet.State {
    fileprivate func mustWait(highWatermark: Int) -> Bool {
        self.isCarrierFull || self.postedBytes > highWatermark
    }

    fileprivate mutating func takeTicket(highWatermark: Int) -> Int? {
        guard self.mustWait(highWatermark: highWatermark) else { return nil }
        self.nextWaiter += 1
        return self.nextWaiter
    }
}
