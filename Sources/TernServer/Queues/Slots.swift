// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import Synchronization

/// A number of places; who finds none waits in line.
///
/// Waiting does not end by cancellation: whoever takes a place gives it back for certain, so that it comes to everybody.
final class Slots: Sendable {
    private struct State {
        var free: Int
        var waiters: Deque<CheckedContinuation<Void, Never>> = []
    }

    private let state: Mutex<State>

    init(count: Int) {
        self.state = Mutex(State(free: max(1, count)))
    }

    func take() async {
        await withCheckedContinuation { continuation in
            let mustWait = self.state.withLock { state in
                guard state.free == 0 else {
                    state.free -= 1
                    return false
                }
                state.waiters.append(continuation)
                return true
            }
            if !mustWait { continuation.resume() }
        }
    }

    func giveBack() {
        let next = self.state.withLock { state in
            let next = state.waiters.popFirst()
            if next == nil { state.free += 1 }
            return next
        }
        next?.resume()
    }
}
