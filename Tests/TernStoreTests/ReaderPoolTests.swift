// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Synchronization
import TestTimeLimits
import Testing

@testable import TernStore

@Suite(.untilItHangs) struct ReaderPoolTests {
    /// Everybody who reads is busy, and more wait in line: whoever logs in is served all the same.
    @Test func loginsDoNotWaitBehindReaders() async throws {
        try await withStore { store async throws in
            let user = try await store.registerUser(named: "alice")
            let device = try await store.registerDevice(named: "phone", of: user)
            let gate = Gate()
            let readers = store.options.readers
            await withTaskGroup(of: Void.self) { tasks in
                for _ in 0..<3 * readers {
                    tasks.addTask {
                        _ = try? await store.readers.read { _ throws(StoreError) in gate.pass() }
                    }
                }
                while gate.waiting < readers { await Task.yield() }
                #expect(((try? await store.registerUser(named: "alice")) ?? 0) == user)
                #expect(((try? await store.registerDevice(named: "phone", of: user)) ?? 0) == device)
                #expect((try? await store.groups(of: user, after: 0, limit: 10)) == [])
                gate.open()
            }
        }
    }

    /// Blocks threads until it is opened.
    private final class Gate: Sendable {
        private let monitor = Monitor((isOpen: false, waiting: 0))

        var waiting: Int { self.monitor.withLock { $0.waiting } }

        func pass() {
            self.monitor.update { $0.waiting += 1 }
            _ = self.monitor.wait(until: nil) { $0.isOpen ? true : nil }
        }

        func open() {
            self.monitor.update { $0.isOpen = true }
        }
    }
}
