// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Dispatch
internal import Foundation
internal import LabLink
internal import LabReport
internal import Synchronization

/// Does trials, several at a time, each on a thread and a ground of its own. Grounds are kept for the next trials.
final class TrialCrew {
    private var grounds: [Grounds] = []

    /// - Parameters:
    ///   - together: how many at the same time.
    ///   - tick: called a few times a second until all are done.
    ///   - each: called with every sample as it comes.
    func run(
        _ trials: [Trial], together: Int, tick: () -> Void, each: (LabSample) throws -> Void
    ) throws {
        let queue = TrialQueue(trials)
        let workers = min(together, trials.count)
        while self.grounds.count < workers { self.grounds.append(Grounds()) }
        for grounds in self.grounds.prefix(workers) {
            Thread {
                while let trial = queue.next() { queue.finished(Result { try grounds.run(trial) }) }
                queue.workerEnded()
            }.start()
        }
        var failure: (any Error)?
        var working = workers
        while working > 0 {
            switch queue.news(within: .milliseconds(200)) {
            case .none: tick()
            case .ended: working -= 1
            case .sample(let result):
                do {
                    try each(result.get())
                } catch {
                    // The others are waited for, so that nothing is left running.
                    failure = failure ?? error
                    queue.abandon()
                }
            }
        }
        if let failure { throw failure }
    }

    func close() {
        for grounds in self.grounds { grounds.close() }
        self.grounds = []
    }
}

/// The grounds of one worker, by what they have to look like.
///
/// `@unchecked Sendable`: used by its worker's thread while that runs, by the crew's otherwise.
private final class Grounds: @unchecked Sendable {
    /// By the number of accesses; 0 is the loopback.
    private var grounds: [Int: TrialGround] = [:]

    func run(_ trial: Trial) throws -> LabSample {
        try FileManager.default.createDirectory(atPath: trial.scratch, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: trial.scratch) }
        let conditions = trial.scenario.ground.conditions
        let key = conditions?.accesses.count ?? 0
        let ground = try self.grounds[key] ?? TrialGround(conditions, seed: trial.seed)
        self.grounds[key] = ground
        return try trial.run(on: ground)
    }

    func close() {
        for ground in self.grounds.values { ground.close() }
        self.grounds = [:]
    }
}

/// What is to be done, and what came of it.
private final class TrialQueue: Sendable {
    enum News: Sendable {
        case none
        case sample(Result<LabSample, any Error>)
        case ended
    }

    private struct State {
        var trials: ArraySlice<Trial>
        var news: [News] = []
    }

    private let state: Mutex<State>
    private let isReady = DispatchSemaphore(value: 0)

    init(_ trials: [Trial]) {
        self.state = Mutex(State(trials: trials[...]))
    }

    func next() -> Trial? { self.state.withLock { $0.trials.popFirst() } }

    func abandon() { self.state.withLock { $0.trials = [] } }

    func finished(_ result: Result<LabSample, any Error>) {
        self.state.withLock { $0.news.append(.sample(result)) }
        self.isReady.signal()
    }

    func workerEnded() {
        self.state.withLock { $0.news.append(.ended) }
        self.isReady.signal()
    }

    func news(within limit: DispatchTimeInterval) -> News {
        guard self.isReady.wait(timeout: .now() + limit) == .success else { return .none }
        return self.state.withLock { $0.news.removeFirst() }
    }
}
