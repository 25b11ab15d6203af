// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Dispatch
package import TernStore

/// Keeps the writer of a store busy until it is let go: what is asked in the meantime waits in line, and goes into one
/// transaction.
package final class HeldWriter: Sendable {
    private let store: SQLiteMessageStore
    private let mayGo = DispatchSemaphore(value: 0)

    package init(of store: SQLiteMessageStore) async throws {
        self.store = store
        let (held, isHeld) = AsyncStream.makeStream(of: Void.self)
        try await store.onWriter { [mayGo] in
            isHeld.finish()
            mayGo.wait()
        }
        for await _ in held {}
    }

    /// Asks for something, and returns when it is in line behind what was asked before.
    package func queue<Answer: Sendable>(
        _ body: @escaping @Sendable () async throws -> Answer
    ) async -> Task<Answer, any Error> {
        let before = self.store.statistics.queued
        let task = Task { try await body() }
        while self.store.statistics.queued == before { await Task.yield() }
        return task
    }

    package func letGo() {
        self.mayGo.signal()
    }
}
