// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Synchronization

/// What was sent, what came back and when; outlives the connections that carry it.
final class MessageLog: Sendable {
    fileprivate struct State {
        var isBegun = false
        var start = ContinuousClock.now
        var measuredFrom = ContinuousClock.now
        /// When each message that is not echoed was due.
        var pending: [Int: ContinuousClock.Instant] = [:]
        var lanes: [AsyncStream<Int>.Continuation] = []
        /// Microseconds from when it was due until its echo, by message; only what counts.
        var latencies: [Int: Int] = [:]
        var lastArrival: ContinuousClock.Instant?
        /// When something last came back, or a connection began.
        var lastSign = ContinuousClock.now
        var longestGap = Duration.zero
        var arrivals = ArrivalCounter()
        var bulkBytes = 0
        var bulkEnd: ContinuousClock.Instant?
        var events: [ClientEvent] = []
        var reconnects = 0
        var isEverythingDue = false
        var isDone = false
        var waiter: CheckedContinuation<Void, Never>?
    }

    private let work: MessageWork
    private let state = Mutex(State())

    init(_ work: MessageWork) {
        self.work = work
    }

    func begin(at start: ContinuousClock.Instant, measuredFrom: ContinuousClock.Instant) {
        self.state.withLock {
            ($0.isBegun, $0.start, $0.measuredFrom, $0.lastArrival) = (true, start, measuredFrom, measuredFrom)
        }
    }

    // MARK: Sending

    func send(_ number: Int, due: ContinuousClock.Instant) {
        self.state.withLock {
            $0.pending[number] = due
            if !$0.lanes.isEmpty { $0.lanes[number % $0.lanes.count].yield(number) }
        }
    }

    /// The messages for each stream of a new connection, those first that were sent before and not echoed.
    func attach() -> [AsyncStream<Int>] {
        self.state.withLock { state in
            let lanes = (0..<self.work.streams).map { _ in AsyncStream<Int>.makeStream() }
            state.lanes = lanes.map(\.continuation)
            for number in state.pending.keys.sorted() { state.lanes[number % lanes.count].yield(number) }
            state.lastSign = .now
            return lanes.map(\.stream)
        }
    }

    func detach() {
        let lanes = self.state.withLock { state in
            defer { state.lanes = [] }
            return state.lanes
        }
        for lane in lanes { lane.finish() }
    }

    // MARK: Receiving

    func received(_ number: Int, at now: ContinuousClock.Instant) {
        let waiter = self.state.withLock { state -> CheckedContinuation<Void, Never>? in
            state.lastSign = now
            // What was sent over two connections comes back twice.
            guard let due = state.pending.removeValue(forKey: number) else { return nil }
            if number >= self.work.warmUpCount {
                state.latencies[number] = Int((now - due).seconds * 1e6)
                state.arrivals.add(1, at: (now - state.measuredFrom).seconds)
                if let last = state.lastArrival { state.longestGap = max(state.longestGap, now - last) }
                state.lastArrival = now
            }
            return state.takeWaiterIfDone()
        }
        waiter?.resume()
    }

    func receivedBulk(_ count: Int, at now: ContinuousClock.Instant) {
        self.state.withLock {
            guard now >= $0.measuredFrom else { return }
            $0.bulkBytes += count
            $0.bulkEnd = now
        }
    }

    /// For how long nothing came back although something is awaited, in seconds.
    var silence: Double {
        self.state.withLock { state in
            let now = ContinuousClock.now
            guard let oldest = state.pending.values.min() else { return 0 }
            return min((now - oldest).seconds, (now - state.lastSign).seconds)
        }
    }

    // MARK: The end

    func everythingIsDue() {
        let waiter = self.state.withLock { state in
            state.isEverythingDue = true
            return state.takeWaiterIfDone()
        }
        waiter?.resume()
    }

    func giveUp() {
        let waiter = self.state.withLock { state in
            state.isDone = true
            return state.takeWaiterIfDone()
        }
        waiter?.resume()
    }

    func untilDone() async {
        await withCheckedContinuation { continuation in
            let isDone = self.state.withLock { state in
                if state.isDone { return true }
                state.waiter = continuation
                return false
            }
            if isDone { continuation.resume() }
        }
    }

    func note(_ text: String, isOfTransport: Bool) {
        self.state.withLock { state in
            guard state.isBegun, state.events.count < 200 else { return }
            let at = (ContinuousClock.now - state.measuredFrom).seconds
            state.events.append(ClientEvent(at: at, isOfTransport: isOfTransport, text: text))
        }
    }

    func reconnects(_ count: Int) {
        self.state.withLock { $0.reconnects += count }
    }

    func result() -> ClientResult {
        self.state.withLock { state in
            var result = ClientResult()
            result.add(latencies: state.latencies.sorted { $0.key < $1.key }.map(\.value))
            let unanswered = self.work.count - state.latencies.count
            // What never came counts as a gap until the end.
            if unanswered > 0, let last = state.lastArrival { state.longestGap = max(state.longestGap, .now - last) }
            result.values["gap"] = state.longestGap.seconds * 1e3
            result.values["unanswered"] = Double(unanswered)
            result.values["reconnects"] = Double(state.reconnects)
            result.values["messages"] = Double(state.latencies.count)
            if self.work.bulkBytes > 0 {
                let end = state.bulkEnd ?? .now
                let seconds = max(0.001, (end - state.measuredFrom).seconds)
                result.values["bulk"] = Double(state.bulkBytes) / seconds / 1e6
            }
            result.add(timeline: state.arrivals, of: "messages")
            result.events = state.events
            if unanswered > 0 { result.failure = "\(unanswered) of \(self.work.count) messages were not answered" }
            return result
        }
    }
}

extension MessageLog.State {
    fileprivate mutating func takeWaiterIfDone() -> CheckedContinuation<Void, Never>? {
        if self.isEverythingDue, self.pending.isEmpty { self.isDone = true }
        guard self.isDone else { return nil }
        defer { self.waiter = nil }
        return self.waiter
    }
}
