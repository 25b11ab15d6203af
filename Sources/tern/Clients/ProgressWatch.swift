// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Synchronization

/// Ends work that makes no progress: time counts while something is outstanding, and begins anew with each step.
///
/// Whether there is a connection does not matter: one that comes back again and again, and carries nothing, is no progress.
final class ProgressWatch: Sendable {
    private struct State {
        var outstanding = 0
        /// Since when the next step is waited for; `nil` while nothing is outstanding.
        var waitsSince: ContinuousClock.Instant?
    }

    private let timeout: Duration
    private let state = Mutex(State())

    init(timeout: Duration) {
        self.timeout = timeout
    }

    /// Something more is to be done.
    func began(at now: ContinuousClock.Instant = .now) {
        self.state.withLock { state in
            state.outstanding += 1
            if state.waitsSince == nil { state.waitsSince = now }
        }
    }

    /// Something was done.
    func stepped(at now: ContinuousClock.Instant = .now) {
        self.state.withLock { state in
            state.outstanding -= 1
            state.waitsSince = state.outstanding > 0 ? now : nil
        }
    }

    /// When there will have been no progress for too long, if none comes; a full time from `now` while nothing is outstanding.
    func deadline(at now: ContinuousClock.Instant) -> ContinuousClock.Instant {
        (self.state.withLock { $0.waitsSince } ?? now).advanced(by: self.timeout)
    }

    /// Returns only by throwing: when there was no progress for too long, or when the task is cancelled.
    func run() async throws {
        while true {
            let now = ContinuousClock.now
            let deadline = self.deadline(at: now)
            guard deadline > now else {
                let count = self.state.withLock { $0.outstanding }
                throw CommandError(
                    .unavailable,
                    "nothing was acknowledged for \(self.timeout.components.seconds) seconds; \(count) lines wait")
            }
            try await Task.sleep(until: deadline, clock: .continuous)
        }
    }
}
