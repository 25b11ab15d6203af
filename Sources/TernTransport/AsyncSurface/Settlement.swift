// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Synchronization

/// A value that comes once, and that any number of tasks may wait for.
final class Settlement<Value: Sendable>: Sendable {
    private struct State {
        var value: Value?
        var waiters: [Int: CheckedContinuation<Void, Never>] = [:]
        var nextWaiter = 0
    }

    private let state = Mutex(State())

    /// The value, if it came. Any thread.
    var knownValue: Value? { self.state.withLock { $0.value } }

    /// The first value stays. Any thread.
    func settle(_ value: Value) {
        let waiters = self.state.withLock { state -> [Int: CheckedContinuation<Void, Never>] in
            guard state.value == nil else { return [:] }
            state.value = value
            defer { state.waiters = [:] }
            return state.waiters
        }
        for waiter in waiters.values { waiter.resume() }
    }

    /// Waits for the value; `nil` when the task that waits is cancelled first.
    func value() async -> Value? {
        if let value = self.knownValue { return value }
        await self.wait()
        return self.knownValue
    }

    /// The value does not come through the continuation, which may be the only thing that an idle connection's task holds: as
    /// long as it waits, it has room for the largest value in each of its frames.
    private func wait() async {
        let ticket = self.state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let mustWait = self.state.withLock { state in
                    guard state.value == nil, !Task.isCancelled else { return false }
                    // Settling and cancelling take it out, each under the lock: it is resumed once.
                    state.waiters[ticket] = continuation
                    return true
                }
                if !mustWait { continuation.resume() }
            }
        } onCancel: {
            let waiter = self.state.withLock { $0.waiters.removeValue(forKey: ticket) }
            waiter?.resume()
        }
    }
}
