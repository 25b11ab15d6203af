// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

@testable import TernStore

/// Keeps the writer of a store busy until it is let go: what is asked in the meantime waits in line, and goes into one
/// transaction.
final class HeldWriter: Sendable {
    private let store: SQLiteMessageStore
    private let monitor = Monitor((isHeld: false, mayGo: false))

    init(of store: SQLiteMessageStore) async throws {
        self.store = store
        try await store.writer.queue.reserve(cost: 0)
        let change = WriteChange(
            apply: { [monitor] _ throws(StoreError) in
                monitor.update { $0.isHeld = true }
                _ = monitor.wait(until: nil) { $0.mayGo ? true : nil }
                return {}
            }, fail: { _ in })
        store.writer.queue.put(.change(change))
        while !self.monitor.withLock({ $0.isHeld }) { await Task.yield() }
    }

    /// Asks for something, and returns when it is in line behind what was asked before.
    func queue<Answer: Sendable>(_ body: @escaping @Sendable () async throws -> Answer) async -> Task<Answer, any Error>
    {
        let before = self.store.statistics.queued
        let task = Task { try await body() }
        while self.store.statistics.queued == before { await Task.yield() }
        return task
    }

    func letGo() {
        self.monitor.update { $0.mayGo = true }
    }
}
