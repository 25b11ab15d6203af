// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule

/// A few threads, each with a read-only connection of its own: reading does not wait for writing, nor block Swift's threads. One
/// more is there for logins alone, so that nobody who comes waits for those who read pages of history.
final class ReaderPool: Sendable {
    private struct State: Sendable {
        var jobs: Deque<Job> = []
        var logins: Deque<Job> = []
        var isClosed = false
        var threads = 0
        var whenClosed: [CheckedContinuation<Void, Never>] = []

        mutating func next(for lane: Lane) -> Job? {
            switch lane {
            case .login: self.logins.popFirst()
            case .any: self.jobs.popFirst() ?? self.logins.popFirst()
            }
        }
    }

    private typealias Job = @Sendable (ReadSession?) -> Void

    /// What a read is for.
    enum Lane: Sendable {
        case any
        /// Short, and somebody waits to be let in.
        case login
    }

    private let monitor = Monitor(State())

    /// - Parameter count: threads that read anything.
    init(path: String, count: Int) throws(StoreError) {
        // The connections are opened here, where an error reaches whoever opens the store.
        var sessions: [(ReadSession, Lane)] = [(try ReadSession(path: path), .login)]
        for _ in 0..<count { sessions.append((try ReadSession(path: path), .any)) }
        for (session, lane) in sessions {
            let handover = Handover(session: session)
            self.monitor.withLock { $0.threads += 1 }
            do {
                try StoreThread.start { [monitor = self.monitor] in Self.serve(handover, lane, monitor) }
            } catch {
                self.monitor.withLock { $0.threads -= 1 }
                self.stop()
                throw error
            }
        }
    }

    /// Runs `body` on one of the threads, inside of a transaction: everything it reads is of one moment.
    func read<Value: Sendable>(
        _ lane: Lane = .any,
        _ body: @escaping @Sendable (ReadSession) throws(StoreError) -> Value
    ) async throws(StoreError) -> Value {
        let result = await withCheckedContinuation { (reply: CheckedContinuation<Result<Value, StoreError>, Never>) in
            let job: Job = { session in
                guard let session else { return reply.resume(returning: .failure(.closed)) }
                reply.resume(returning: Result { () throws(StoreError) in try session.transaction(body) })
            }
            let isTaken = self.monitor.update { state in
                guard !state.isClosed else { return false }
                switch lane {
                case .any: state.jobs.append(job)
                case .login: state.logins.append(job)
                }
                return true
            }
            if !isTaken { job(nil) }
        }
        return try result.get()
    }

    /// Jobs that no thread has taken yet.
    var waiting: Int { self.monitor.withLock { $0.jobs.count + $0.logins.count } }

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

    private static func serve(_ handover: Handover, _ lane: Lane, _ monitor: Monitor<State>) {
        while let session = handover.session {
            let job = monitor.wait(until: nil) { state -> Job?? in
                if let job = state.next(for: lane) { return .some(job) }
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
