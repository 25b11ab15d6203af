// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Calls `body` again and again from a task that was cancelled before: whatever it takes back must be its own.
package func callWhileCancelled(_ body: @escaping @Sendable () async -> Void) async {
    let task = Task {
        withUnsafeCurrentTask { $0?.cancel() }
        // Often enough that whoever shall wait meanwhile has begun to.
        for _ in 0..<2_000 {
            await body()
            await Task.yield()
        }
    }
    await task.value
}
