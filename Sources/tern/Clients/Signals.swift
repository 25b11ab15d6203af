// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import UnixSignals

/// Runs `body`; SIGTERM and SIGINT cancel it and count as its end.
func endingOnSignals(_ body: @escaping @Sendable () async throws -> Void) async throws {
    let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint)
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
            for await _ in signals { return }
            // Cancelled: not the end.
            try await Task.sleep(for: .seconds(86_400))
        }
        group.addTask { try await body() }
        try await group.next()
        group.cancelAll()
    }
}
