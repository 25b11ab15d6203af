// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import Synchronization

/// A number of places, or of bytes; who finds too few free waits in line, and nobody overtakes.
///
/// Waiting does not end by cancellation: whoever takes places gives them back for certain, so that they come to everybody.
final class Slots: Sendable {
    private struct Waiter {
        var weight: Int
        var admit: CheckedContinuation<Void, Never>
    }

    private struct State {
        var free: Int
        var waiters: Deque<Waiter> = []
    }

    private let count: Int
    private let state: Mutex<State>

    init(count: Int) {
        self.count = max(1, count)
        self.state = Mutex(State(free: self.count))
    }

    /// How many places are taken now.
    var taken: Int { self.state.withLock { self.count - $0.free } }
    /// How many wait in line now.
    var waiting: Int { self.state.withLock { $0.waiters.count } }

    /// Takes `weight` places, or all that there are when it is more.
    ///
    /// - Returns: how many were taken and are to be given back.
    @discardableResult
    func take(_ weight: Int = 1) async -> Int {
        let weight = min(max(weight, 1), self.count)
        await withCheckedContinuation { continuation in
            let mustWait = self.state.withLock { state in
                guard !state.waiters.isEmpty || state.free < weight else {
                    state.free -= weight
                    return false
                }
                state.waiters.append(Waiter(weight: weight, admit: continuation))
                return true
            }
            if !mustWait { continuation.resume() }
        }
        return weight
    }

    func giveBack(_ weight: Int = 1) {
        let admitted = self.state.withLock { state in
            state.free += weight
            var admitted: [Waiter] = []
            while let next = state.waiters.first, next.weight <= state.free {
                state.free -= next.weight
                admitted.append(state.waiters.removeFirst())
            }
            return admitted
        }
        for waiter in admitted { waiter.admit.resume() }
    }
}
