// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import Synchronization

extension SQLiteMessageStore {
    public func append(contentsOf drafts: [Draft]) async -> [Result<Receipt, StoreError>] {
        let replies = BatchReplies(count: drafts.count)
        for (index, draft) in drafts.enumerated() {
            let (payload, extensions) = (draft.payload.readableBytes, draft.extensions.readableBytes)
            guard payload <= self.options.maximumPayload, extensions <= self.options.maximumExtensions else {
                let message = "a payload of \(payload) bytes with extensions of \(extensions) bytes is too large"
                replies.set(.failure(StoreError(.tooLarge, message: message)), at: index)
                continue
            }
            // One task reserves and puts one draft after the other: that keeps their order even when the line is full.
            do throws(StoreError) {
                try await self.writer.queue.reserve(cost: draft.heldBytes)
                self.writer.queue.put(.append(draft, reply: { replies.set($0, at: index) }))
            } catch {
                replies.set(.failure(error), at: index)
            }
        }
        return await replies.all()
    }
}

/// Collects the replies of one batch.
private final class BatchReplies: Sendable {
    private struct State {
        var results: [Result<Receipt, StoreError>?]
        var missing: Int
        var waiter: CheckedContinuation<Void, Never>?
    }

    private let state: Mutex<State>

    init(count: Int) {
        self.state = Mutex(State(results: Array(repeating: nil, count: count), missing: count))
    }

    /// Once for each index.
    func set(_ result: Result<Receipt, StoreError>, at index: Int) {
        let waiter = self.state.withLock { state -> CheckedContinuation<Void, Never>? in
            state.results[index] = result
            state.missing -= 1
            return state.missing == 0 ? state.waiter.take() : nil
        }
        waiter?.resume()
    }

    func all() async -> [Result<Receipt, StoreError>] {
        await withCheckedContinuation { continuation in
            let mustWait = self.state.withLock { state in
                guard state.missing > 0 else { return false }
                state.waiter = continuation
                return true
            }
            if !mustWait { continuation.resume() }
        }
        return self.state.withLock { $0.results.compactMap { $0 } }
    }
}
