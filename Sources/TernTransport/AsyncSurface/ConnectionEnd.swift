// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Synchronization

/// The end of a connection: many tasks may wait for it.
final class ConnectionEnd: Sendable {
    private struct State {
        var reason: TransportError?
        var waiters: [Int: CheckedContinuation<TransportError, Never>] = [:]
        var nextWaiter = 0
    }

    private let state = Mutex(State())

    var knownReason: TransportError? { self.state.withLock { $0.reason } }

    func came(_ reason: TransportError) {
        let waiters = self.state.withLock { state -> [Int: CheckedContinuation<TransportError, Never>] in
            guard state.reason == nil else { return [:] }
            state.reason = reason
            defer { state.waiters = [:] }
            return state.waiters
        }
        for waiter in waiters.values { waiter.resume(returning: reason) }
    }

    /// Waits for the end, or for the cancellation of the caller.
    func reason() async -> TransportError {
        let ticket = self.state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        let cancelled = TransportError(.cancelled, message: "the task that waited was cancelled")
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer = self.state.withLock { state -> TransportError? in
                    if let reason = state.reason { return reason }
                    if Task.isCancelled { return cancelled }
                    state.waiters[ticket] = continuation
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            let waiter = self.state.withLock { $0.waiters.removeValue(forKey: ticket) }
            waiter?.resume(returning: cancelled)
        }
    }
}
