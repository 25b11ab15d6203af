// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import Synchronization

/// Updates on their way to the application. Appending never waits, so that order is decided where the facts are; whoever reads
/// from the network waits for room afterwards, and that bounds the queue.
final class UpdateQueue: Sendable {
    private struct State {
        var updates: Deque<ClientUpdate> = []
        var reader: CheckedContinuation<ClientUpdate?, any Error>?
        var writers: [CheckedContinuation<Void, Never>] = []
        var end: Result<Void, any Error>?
        var isAbandoned = false
    }

    private let state = Mutex(State())
    private let capacity: Int

    init(capacity: Int) {
        self.capacity = max(1, capacity)
    }

    func append(_ update: ClientUpdate) {
        let reader = self.state.withLock { state -> CheckedContinuation<ClientUpdate?, any Error>? in
            guard state.end == nil else { return nil }
            if let reader = state.reader.take() { return reader }
            state.updates.append(update)
            return nil
        }
        reader?.resume(returning: update)
    }

    /// Waits until the reader has caught up; does not wait after the end.
    func untilThereIsRoom() async {
        await withCheckedContinuation { continuation in
            let mayGoOn = self.state.withLock { state in
                guard state.updates.count >= self.capacity, state.end == nil else { return true }
                state.writers.append(continuation)
                return false
            }
            if mayGoOn { continuation.resume() }
        }
    }

    func next() async throws -> ClientUpdate? {
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let (answer, writers) = self.state.withLock {
                    state -> (Result<ClientUpdate?, any Error>?, [CheckedContinuation<Void, Never>]) in
                    if let update = state.updates.popFirst() {
                        guard state.updates.count < self.capacity else { return (.success(update), []) }
                        defer { state.writers = [] }
                        return (.success(update), state.writers)
                    }
                    if let end = state.end { return (end.map { nil }, []) }
                    if Task.isCancelled { return (.failure(CancellationError()), []) }
                    precondition(state.reader == nil, "one task reads the updates")
                    state.reader = continuation
                    return (nil, [])
                }
                for writer in writers { writer.resume() }
                if let answer { continuation.resume(with: answer) }
            }
        } onCancel: {
            let reader = self.state.withLock { $0.reader.take() }
            reader?.resume(throwing: CancellationError())
        }
    }

    func finish(_ end: Result<Void, any Error>) {
        let (reader, writers) = self.state.withLock {
            state -> (CheckedContinuation<ClientUpdate?, any Error>?, [CheckedContinuation<Void, Never>]) in
            if state.end == nil { state.end = end }
            defer { state.writers = [] }
            return (state.reader.take(), state.writers)
        }
        for writer in writers { writer.resume() }
        reader?.resume(with: end.map { nil })
    }
}
