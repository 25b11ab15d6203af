// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Synchronization

/// The memory by which the receive windows of many connections may grow, together. Any thread.
package final class WindowBudget: Sendable {
    private let left: Mutex<Int>

    package init(bytes: Int) {
        self.left = Mutex(max(bytes, 0))
    }

    package var available: Int { self.left.withLock { $0 } }

    /// - Returns: what is wanted, but no more than a sixteenth of what is left, so that something is left for the others.
    fileprivate func take(_ wanted: Int) -> Int {
        self.left.withLock { left in
            let bytes = min(max(wanted, 0), left / 16)
            left -= bytes
            return bytes
        }
    }

    fileprivate func give(back bytes: Int) {
        self.left.withLock { $0 += bytes }
    }
}

/// What one connection has of a ``WindowBudget``, which gets it back when the connection is gone.
package final class WindowShare {
    package private(set) var bytes = 0
    private let budget: WindowBudget?

    /// - Parameter budget: `nil` gives whatever is wanted.
    package init(of budget: WindowBudget?) {
        self.budget = budget
    }

    deinit {
        self.budget?.give(back: self.bytes)
    }

    /// - Returns: what the budget gives; possibly less than wanted, or nothing.
    package func grow(by wanted: Int) -> Int {
        let taken = self.budget.map { $0.take(wanted) } ?? max(wanted, 0)
        self.bytes += taken
        return taken
    }

    /// All or nothing.
    package func grow(byExactly wanted: Int) -> Bool {
        let taken = self.grow(by: wanted)
        if taken < wanted { self.shrink(by: taken) }
        return taken >= wanted
    }

    package func shrink(by bytes: Int) {
        let bytes = min(max(bytes, 0), self.bytes)
        self.bytes -= bytes
        self.budget?.give(back: bytes)
    }
}
