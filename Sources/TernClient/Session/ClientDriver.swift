// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import NIOCore
internal import Synchronization
internal import TernMessages
internal import TernTransport

/// Carries facts to a ``ClientMachine`` and executes its effects, in their order: tasks for connections, a timer, and those who wait.
/// It decides nothing.
///
/// Everything is decided under one lock, and nothing is resumed under it: whoever cancels a task holds what resuming it takes, and may
/// wait for the lock in the task's cancellation handler. So what an effect hands to a task, or to whoever waits, is noted under
/// the lock and handed over after it, by one thread at a time and in order.
final class ClientDriver: Sendable {
    typealias Job = @Sendable () async -> Void
    typealias Instant = ContinuousClock.Instant

    private struct State {
        var machine: ClientMachine
        var links: [LinkNumber: LinkTasks] = [:]
        var sends: [ClientMessageID: SendReceipt] = [:]
        /// Who waits for something, by its number.
        var enqueuers: [ClientMessageID: CheckedContinuation<Void, any Error>] = [:]
        var requests: [RequestTag: CheckedContinuation<RequestFrame, any Error>] = [:]
        var identities: [RequestTag: CheckedContinuation<AuthenticationAnswer, any Error>] = [:]
        var pushReaders: [RequestTag: CheckedContinuation<Void, any Error>] = [:]
        var closers: [RequestTag: CheckedContinuation<Void, any Error>] = [:]
        var updateReader: (tag: RequestTag, continuation: CheckedContinuation<Void, any Error>)?
        var lastTag: RequestTag = 0
        var timer: (at: Instant, task: Task<Void, Never>)?
        var end: Result<Void, ClientError>?
        var isCancelled = false
        /// What is handed over next.
        var handovers: Deque<@Sendable () -> Void> = []
        /// A thread hands it over.
        var isHandingOver = false

        mutating func makeTag() -> RequestTag {
            self.lastTag += 1
            return self.lastTag
        }
    }

    let connect: @Sendable () async throws -> Connection
    let whileConnected: (@Sendable (Connection) async -> Void)?
    let configuration: ClientConfiguration
    private let state: Mutex<State>
    /// The tasks of ``run()``.
    private let jobs: AsyncStream<Job>
    private let sink: AsyncStream<Job>.Continuation

    init(
        _ configuration: ClientConfiguration, connect: @escaping @Sendable () async throws -> Connection,
        whileConnected: (@Sendable (Connection) async -> Void)?
    ) {
        self.configuration = configuration
        self.connect = connect
        self.whileConnected = whileConnected
        self.state = Mutex(State(machine: ClientMachine(configuration, seed: .random(in: 0 ... .max))))
        (self.jobs, self.sink) = AsyncStream.makeStream()
    }

    deinit {
        self.state.withLock { $0.timer?.task.cancel() }
    }

    // MARK: Facts

    /// Tells the machine something, and does what it wants.
    func tell(_ fact: (inout ClientMachine, Instant) -> [ClientMachine.Effect]) {
        self.withState { self.tell(&$0, fact) }
    }

    private func withState<Value: Sendable>(_ body: (inout State) -> Value) -> Value {
        defer { self.handOver() }
        return self.state.withLock { body(&$0) }
    }

    private func handOver() {
        let mayBegin = self.state.withLock { state in
            guard !state.isHandingOver, !state.handovers.isEmpty else { return false }
            state.isHandingOver = true
            return true
        }
        guard mayBegin else { return }
        while let next = self.nextHandover() { next() }
    }

    private func nextHandover() -> (@Sendable () -> Void)? {
        self.state.withLock { state in
            if state.handovers.isEmpty { state.isHandingOver = false }
            return state.handovers.popFirst()
        }
    }

    private func tell(_ state: inout State, _ fact: (inout ClientMachine, Instant) -> [ClientMachine.Effect]) {
        for effect in fact(&state.machine, .now) { self.execute(effect, &state) }
        self.setTimer(&state)
    }

    /// A connection came up for a link.
    ///
    /// - Returns: `false` when nobody wants it any more.
    func arrived(_ connection: Connection, for link: LinkTasks) -> Bool {
        self.withState { state in
            guard state.links[link.number] === link else { return false }
            link.adopt(connection)
            self.tell(&state) { $0.carrierCameUp(link.number, now: $1) }
            return true
        }
    }

    private func setTimer(_ state: inout State) {
        guard let next = state.machine.nextDeadline else {
            state.timer?.task.cancel()
            state.timer = nil
            return
        }
        if let timer = state.timer, timer.at <= next { return }
        state.timer?.task.cancel()
        let task = Task { [weak self] in
            guard (try? await Task.sleep(until: next, clock: .continuous)) != nil else { return }
            self?.timePassed(next)
        }
        state.timer = (next, task)
    }

    private func timePassed(_ instant: Instant) {
        self.withState { state in
            guard state.timer?.at == instant else { return }
            state.timer = nil
            self.tell(&state) { $0.timeout(now: $1) }
        }
    }

    // MARK: Effects

    private func execute(_ effect: ClientMachine.Effect, _ state: inout State) {
        switch effect {
        case .connect(let number):
            let link = LinkTasks(number: number, driver: self)
            state.links[number] = link
            self.later(&state) { self.sink.yield { await link.run() } }
        case .authenticate(let number): self.later(&state, number) { $0.authenticate() }
        case .measure(let number): self.later(&state, number) { $0.measure() }
        case .closeLink(let number, let code):
            self.later(&state, number) { $0.end(code) }
            state.links[number] = nil
        case .writeControl(let number, let messages): self.later(&state, number) { $0.control.sink.yield(messages) }
        case .openSendStream(let number, let stream): self.later(&state, number) { $0.openSendStream(stream) }
        case .writeMessages(let number, let stream, let messages):
            self.later(&state, number) { $0.write(messages, to: stream) }
        case .finishSendStream(let number, let stream): self.later(&state, number) { $0.finishSendStream(stream) }
        case .writeRequest(let number, let frame): self.later(&state, number) { $0.requests.sink.yield(frame) }
        case .sendDatagram(let number, let message): self.later(&state, number) { $0.datagrams.sink.yield(message) }
        case .updatesWait: self.resume(state.updateReader.take()?.continuation, &state)
        case .roomForPushes: self.resumePushReaders(&state)
        case .accepted(let id): self.resume(state.enqueuers.removeValue(forKey: id), &state)
        case .completeSend(let id, let result):
            if case .failure(let error) = result, let enqueuer = state.enqueuers.removeValue(forKey: id) {
                self.later(&state) { enqueuer.resume(throwing: error) }
            }
            guard let receipt = state.sends.removeValue(forKey: id) else { return }
            self.later(&state) { receipt.complete(result) }
        case .completeRequest(let tag, let result):
            self.resume(state.requests.removeValue(forKey: tag), with: result, &state)
        case .completeIdentity(let tag, let result):
            self.resume(state.identities.removeValue(forKey: tag), with: result, &state)
        case .end(let error): self.ended(error, &state)
        }
    }

    // MARK: Handing over

    private func later(_ state: inout State, _ handover: @escaping @Sendable () -> Void) {
        state.handovers.append(handover)
    }

    private func later(_ state: inout State, _ number: LinkNumber, _ body: @escaping @Sendable (LinkTasks) -> Void) {
        guard let link = state.links[number] else { return }
        state.handovers.append { body(link) }
    }

    private func resume(_ continuation: CheckedContinuation<Void, any Error>?, _ state: inout State) {
        guard let continuation else { return }
        state.handovers.append { continuation.resume() }
    }

    private func resume<Value: Sendable>(
        _ continuation: CheckedContinuation<Value, any Error>?, with result: Result<Value, ClientError>,
        _ state: inout State
    ) {
        guard let continuation else { return }
        state.handovers.append { continuation.resume(with: result.mapError { $0 as any Error }) }
    }

    private func resumePushReaders(_ state: inout State) {
        for reader in state.pushReaders.values { self.resume(reader, &state) }
        state.pushReaders = [:]
    }

    private func ended(_ error: ClientError?, _ state: inout State) {
        state.end = error.map { .failure($0) } ?? .success(())
        self.resume(state.updateReader.take()?.continuation, &state)
        self.resumePushReaders(&state)
        for closer in state.closers.values { self.resume(closer, &state) }
        state.closers = [:]
        self.later(&state) { self.sink.finish() }
    }

    // MARK: Running

    func run() async throws {
        let (hasStarted, end, error) = self.state.withLock { state in
            (state.machine.hasStarted, state.end, state.machine.closedError)
        }
        guard !hasStarted, end == nil else {
            // Who closed the client before it ran wanted nothing else.
            if !hasStarted { return try end?.get() ?? () }
            if let error { throw error }
            return
        }
        await withTaskCancellationHandler {
            await withDiscardingTaskGroup { group in
                self.tell { $0.start(now: $1) }
                for await job in self.jobs { group.addTask { await job() } }
            }
        } onCancel: {
            self.withState { state in
                state.isCancelled = state.end == nil
                self.tell(&state) { machine, _ in machine.cancel() }
            }
        }
        let (isCancelled, outcome) = self.state.withLock { ($0.isCancelled, $0.end) }
        if isCancelled { throw CancellationError() }
        try outcome?.get()
    }

    /// Waits until the client ended.
    func close(timeout: Duration) async {
        let tag = self.state.withLock { $0.makeTag() }
        do {
            try await self.waiting { state, continuation in
                guard state.end == nil else { return self.resume(continuation, &state) }
                state.closers[tag] = continuation
                self.tell(&state) { $0.close(timeout: timeout, now: $1) }
            } orCancel: { state in
                state.closers.removeValue(forKey: tag)
            }
        } catch {
            // Whoever closes it has no time to wait.
            self.tell { $0.close(timeout: .zero, now: $1) }
        }
    }

    // MARK: Waiting

    /// Waits for what `begin` asks the machine for.
    ///
    /// - Parameter cancel: takes the continuation back, if it still waits: this one, and nobody else's.
    private func waiting<Value: Sendable>(
        _ begin: (inout State, CheckedContinuation<Value, any Error>) -> Void,
        orCancel cancel: @escaping @Sendable (inout State) -> CheckedContinuation<Value, any Error>?
    ) async throws -> Value {
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                self.withState { state in
                    // Cancelled before there was something to cancel.
                    guard !Task.isCancelled else {
                        return self.later(&state) { continuation.resume(throwing: CancellationError()) }
                    }
                    begin(&state, continuation)
                }
            }
        } onCancel: {
            self.withState { cancel(&$0) }?.resume(throwing: CancellationError())
        }
    }

    func enqueue(
        _ payload: ByteBuffer, to receiver: PartyID, type: MessageType, id: ClientMessageID
    ) async throws -> SendReceipt {
        let receipt = SendReceipt(id: id)
        try await self.waiting { (state: inout State, continuation: CheckedContinuation<Void, any Error>) in
            guard state.sends[id] == nil else {
                // The first answer would be for both.
                let failure = Failure(.conflict, "a message of this id is on its way")
                return self.later(&state) { continuation.resume(throwing: ClientError.refused(failure)) }
            }
            state.sends[id] = receipt
            state.enqueuers[id] = continuation
            self.tell(&state) { $0.enqueue(payload, to: receiver, type: type, id: id, now: $1) }
        } orCancel: { state in
            guard state.sends[id] === receipt, state.machine.cancelEnqueue(id) else { return nil }
            state.sends[id] = nil
            return state.enqueuers.removeValue(forKey: id)
        }
        return receipt
    }

    func request<Body: RequestBody>(_ body: Body) async throws -> Body.Answer {
        let tag = self.state.withLock { $0.makeTag() }
        let bytes = body.encodedBody()
        let response = try await self.waiting { state, continuation in
            state.requests[tag] = continuation
            self.tell(&state) { $0.request(tag, Body.resource, bytes, now: $1) }
        } orCancel: { state in
            guard let continuation = state.requests.removeValue(forKey: tag) else { return nil }
            self.tell(&state) { $0.cancelRequest(tag, now: $1) }
            return continuation
        }
        do {
            return try Body.answer(in: response)
        } catch let failure as Failure {
            throw ClientError.refused(failure)
        } catch let error as WireError {
            throw ClientError(.protocolViolation, message: error.message, cause: error)
        }
    }

    func identity() async throws -> AuthenticationAnswer {
        let tag = self.state.withLock { $0.makeTag() }
        return try await self.waiting { state, continuation in
            state.identities[tag] = continuation
            self.tell(&state) { machine, _ in machine.identity(tag) }
        } orCancel: { state in
            guard let continuation = state.identities.removeValue(forKey: tag) else { return nil }
            self.tell(&state) { $0.cancelRequest(tag, now: $1) }
            return continuation
        }
    }

    /// Waits until pushes may be read again.
    func untilThereIsRoom() async throws {
        let tag: RequestTag? = self.state.withLock { state in
            state.machine.hasRoomForPushes ? nil : state.makeTag()
        }
        guard let tag else { return }
        try await self.waiting { state, continuation in
            guard !state.machine.hasRoomForPushes, state.end == nil else { return self.resume(continuation, &state) }
            state.pushReaders[tag] = continuation
        } orCancel: { state in
            state.pushReaders.removeValue(forKey: tag)
        }
    }

    /// The next update; `nil` at the end.
    func nextUpdate() async throws -> ClientUpdate? {
        while true {
            let (update, end) = self.withState { state -> (ClientUpdate?, Result<Void, ClientError>?) in
                var taken: ClientUpdate?
                self.tell(&state) { machine, now in
                    let (update, effects) = machine.takeUpdate(now: now)
                    taken = update
                    return effects
                }
                return (taken, state.end)
            }
            if let update { return update }
            if let end {
                try end.get()
                return nil
            }
            let tag = self.state.withLock { $0.makeTag() }
            try await self.waiting { state, continuation in
                guard state.machine.waitingUpdateCount == 0, state.end == nil else {
                    return self.resume(continuation, &state)
                }
                precondition(state.updateReader == nil, "one task reads the updates")
                state.updateReader = (tag, continuation)
            } orCancel: { state in
                state.updateReader?.tag == tag ? state.updateReader.take()?.continuation : nil
            }
        }
    }
}
