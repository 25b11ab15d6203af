// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import UnixSignals

extension Output {
    /// Runs `body`; SIGTERM and SIGINT cancel it and count as its end, also while nobody reads what it prints.
    func endingOnSignals(_ body: @escaping @Sendable () async throws -> Void) async throws {
        let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                for await _ in signals { return self.endSoon() }
                // Cancelled: not the end.
                try await Task.sleep(for: .seconds(86_400))
            }
            group.addTask {
                try await body()
                // Here, because a signal can still end it.
                await self.flush()
            }
            try await group.next()
            group.cancelAll()
        }
    }
}
