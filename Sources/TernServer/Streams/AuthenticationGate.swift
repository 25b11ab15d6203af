// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Synchronization

/// What a connection's streams wait for before the server reads them.
final class AuthenticationGate: Sendable {
    private enum Phase {
        case waiting
        /// A token came in time and is being looked at.
        case deciding
        case open(Session)
        case failed
    }

    private struct State {
        var phase: Phase = .waiting
        var hasControl = false
        var waiters: [Int: CheckedContinuation<Session?, Never>] = [:]
        var nextWaiter = 0
    }

    private let state = Mutex(State())

    var session: Session? {
        self.state.withLock { if case .open(let session) = $0.phase { session } else { nil } }
    }

    /// - Returns: `false` when there is a control stream already.
    func claimControl() -> Bool {
        self.state.withLock { state in
            defer { state.hasControl = true }
            return !state.hasControl
        }
    }

    /// The first message came: the deadline no longer matters.
    ///
    /// - Returns: `false` when it came too late.
    func begin() -> Bool {
        self.state.withLock { state in
            guard case .waiting = state.phase else { return false }
            state.phase = .deciding
            return true
        }
    }

    /// The deadline passed.
    ///
    /// - Returns: whether nothing had come by then.
    func giveUp() -> Bool {
        let isWaiting = self.state.withLock { if case .waiting = $0.phase { true } else { false } }
        if isWaiting { self.fail() }
        return isWaiting
    }

    /// - Returns: `false` when the connection ended in the meantime: nobody will use the session.
    func open(_ session: Session) -> Bool {
        self.settle(.open(session), session)
    }

    func fail() {
        _ = self.settle(.failed, nil)
    }

    /// - Returns: `false` when it was settled before.
    private func settle(_ phase: Phase, _ session: Session?) -> Bool {
        let waiters = self.state.withLock { state -> [CheckedContinuation<Session?, Never>]? in
            switch state.phase {
            case .waiting, .deciding: state.phase = phase
            case .open, .failed: return nil
            }
            defer { state.waiters = [:] }
            return Array(state.waiters.values)
        }
        for waiter in waiters ?? [] { waiter.resume(returning: session) }
        return waiters != nil
    }

    /// The session, or `nil` when there will be none.
    func wait() async -> Session? {
        let ticket = self.state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer = self.state.withLock { state -> Session?? in
                    switch state.phase {
                    case .open(let session): return .some(session)
                    case .failed: return .some(nil)
                    case .waiting, .deciding:
                        guard !Task.isCancelled else { return .some(nil) }
                        state.waiters[ticket] = continuation
                        return nil
                    }
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            self.state.withLock { $0.waiters.removeValue(forKey: ticket) }?.resume(returning: nil)
        }
    }
}
