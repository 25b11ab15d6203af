// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule

/// A few threads, each with a read-only connection of its own: reading does not wait for writing, nor block Swift's threads.
final class ReaderPool: Sendable {
    private struct State: Sendable {
        var jobs: Deque<@Sendable (ReadSession?) -> Void> = []
        var isClosed = false
        var threads = 0
        var whenClosed: [CheckedContinuation<Void, Never>] = []
    }

    private let monitor = Monitor(State())

    init(path: String, count: Int) throws(StoreError) {
        // The connections are opened here, where an error reaches whoever opens the store.
        var sessions: [ReadSession] = []
        for _ in 0..<count { sessions.append(try ReadSession(path: path)) }
        for session in sessions {
            let handover = Handover(session: session)
            self.monitor.withLock { $0.threads += 1 }
            do {
                try StoreThread.start { [monitor = self.monitor] in Self.serve(handover, monitor) }
            } catch {
                self.monitor.withLock { $0.threads -= 1 }
                self.stop()
                throw error
            }
        }
    }

    /// Runs `body` on one of the threads, inside of a transaction: everything it reads is of one moment.
    func read<Value: Sendable>(
        _ body: @escaping @Sendable (ReadSession) throws(StoreError) -> Value
    ) async throws(StoreError) -> Value {
        let result = await withCheckedContinuation { (reply: CheckedContinuation<Result<Value, StoreError>, Never>) in
            let job: @Sendable (ReadSession?) -> Void = { session in
                guard let session else { return reply.resume(returning: .failure(.closed)) }
                reply.resume(returning: Result { () throws(StoreError) in try session.transaction(body) })
            }
            let isTaken = self.monitor.update { state in
                if !state.isClosed { state.jobs.append(job) }
                return !state.isClosed
            }
            if !isTaken { job(nil) }
        }
        return try result.get()
    }

    /// Takes no more jobs; the threads end when they have done those they have.
    func stop() {
        self.monitor.update { $0.isClosed = true }
    }

    /// Returns when every connection is closed.
    func close() async {
        self.stop()
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let isDone = self.monitor.withLock { state in
                if state.threads > 0 { state.whenClosed.append(continuation) }
                return state.threads == 0
            }
            if isDone { continuation.resume() }
        }
    }

    /// `@unchecked Sendable`: the session is used by one thread after the other.
    private final class Handover: @unchecked Sendable {
        var session: ReadSession?
        init(session: ReadSession) { self.session = session }
    }

    private static func serve(_ handover: Handover, _ monitor: Monitor<State>) {
        while let session = handover.session {
            let job = monitor.wait(until: nil) { state -> (@Sendable (ReadSession?) -> Void)?? in
                if let job = state.jobs.popFirst() { return .some(job) }
                return state.isClosed ? .some(nil) : nil
            }
            guard let job = job.flatMap({ $0 }) else { break }
            job(session)
        }
        handover.session = nil
        let waiting = monitor.withLock { state -> [CheckedContinuation<Void, Never>] in
            state.threads -= 1
            guard state.threads == 0 else { return [] }
            defer { state.whenClosed = [] }
            return state.whenClosed
        }
        for continuation in waiting { continuation.resume() }
    }
}
