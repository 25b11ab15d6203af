// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Synchronization

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
