// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernSystem
internal import NIOCore
internal import Synchronization
internal import TernTransport

/// How many qlog files may be open at once. Any thread.
final class QlogBudget: Sendable {
    private struct State {
        var open = 0
        var warnings = RareWarning()
    }

    /// A quarter of the descriptors that the process may still open: connections over TCP and the program's own files come first.
    static let ofTheProcess: QlogBudget = {
        var (limit, lowestFree): (Int64, Int64) = (0, 0)
        tern_descriptors(&limit, &lowestFree)
        return QlogBudget(most: ListenerCaps.descriptors(limit: Int(limit), inUse: Int(lowestFree)) / 4)
    }()

    let most: Int
    private let state = Mutex(State())

    init(most: Int) {
        self.most = most
    }

    /// - Returns: whether there was room for another one.
    func take() -> Bool {
        self.state.withLock { state in
            guard state.open < self.most else { return false }
            state.open += 1
            return true
        }
    }

    func giveBack() {
        self.state.withLock { $0.open -= 1 }
    }

    func mayWarn() -> Bool {
        self.state.withLock { $0.warnings.isDue(at: .now()) }
    }
}
