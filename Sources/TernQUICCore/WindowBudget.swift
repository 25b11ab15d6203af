// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Synchronization
internal import TernTransport

/// The memory by which the receive windows of many connections may grow, together. Any thread.
package final class WindowBudget: Sendable {
    private let left: Mutex<Int>

    package init(bytes: Int) {
        self.left = Mutex(max(bytes, 0))
    }

    package var available: Int { self.left.withLock { $0 } }

    /// Takes a share: what is wanted, but no more than a sixteenth of what is left, so that something is left for the next.
    package func share(wanted: Int) -> WindowShare {
        let bytes = self.left.withLock { left in
            let bytes = min(max(wanted, 0), left / 16)
            left -= bytes
            return bytes
        }
        return WindowShare(of: self, bytes: bytes)
    }

    fileprivate func give(back bytes: Int) {
        self.left.withLock { $0 += bytes }
    }
}

/// A part of a ``WindowBudget``, which gets it back when nobody refers to this any more.
package final class WindowShare: Sendable {
    package let bytes: Int
    private let budget: WindowBudget

    fileprivate init(of budget: WindowBudget, bytes: Int) {
        self.budget = budget
        self.bytes = bytes
    }

    deinit {
        self.budget.give(back: self.bytes)
    }
}

extension QUICConfiguration {
    /// The same, its windows' growth bounded by what `budget` gives.
    package func sharing(_ budget: WindowBudget) -> QUICConfiguration {
        var configuration = self
        let share = budget.share(wanted: self.maximumConnectionWindow - self.limits.connectionWindow)
        configuration.windowShare = share
        configuration.maximumConnectionWindow = self.limits.connectionWindow + share.bytes
        configuration.maximumStreamWindow = max(
            self.limits.streamWindow, min(self.maximumStreamWindow, configuration.maximumConnectionWindow))
        return configuration
    }
}
