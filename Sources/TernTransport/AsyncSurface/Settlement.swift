// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Synchronization

/// A value that comes once, and that any number of tasks may wait for.
final class Settlement<Value: Sendable>: Sendable {
    private struct State {
        var value: Value?
        var waiters: [Int: CheckedContinuation<Value?, Never>] = [:]
        var nextWaiter = 0
    }

    private let state = Mutex(State())

    /// The value, if it came. Any thread.
    var knownValue: Value? { self.state.withLock { $0.value } }

    /// The first value stays. Any thread.
    func settle(_ value: Value) {
        let waiters = self.state.withLock { state -> [Int: CheckedContinuation<Value?, Never>] in
            guard state.value == nil else { return [:] }
            state.value = value
            defer { state.waiters = [:] }
            return state.waiters
        }
        for waiter in waiters.values { waiter.resume(returning: value) }
    }

    /// Waits for the value; `nil` when the task that waits is cancelled first.
    func value() async -> Value? {
        let ticket = self.state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let (mustWait, value) = self.state.withLock { state -> (Bool, Value?) in
                    if state.value != nil || Task.isCancelled { return (false, state.value) }
                    state.waiters[ticket] = continuation
                    return (true, nil)
                }
                if !mustWait { continuation.resume(returning: value) }
            }
        } onCancel: {
            let waiter = self.state.withLock { $0.waiters.removeValue(forKey: ticket) }
            waiter?.resume(returning: nil)
        }
    }
}
