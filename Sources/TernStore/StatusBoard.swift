// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Synchronization

/// Where the writer posts the status of the store and everybody reads it.
final class StatusBoard: Sendable {
    private struct State {
        var status = StoreStatus.writable
        var readers: [UInt64: AsyncStream<StoreStatus>.Continuation] = [:]
        var nextReader: UInt64 = 0
    }

    private let state = Mutex(State())

    var status: StoreStatus { self.state.withLock { $0.status } }

    func post(_ status: StoreStatus) {
        let readers = self.state.withLock { state -> [AsyncStream<StoreStatus>.Continuation] in
            guard state.status != .closed, state.status != status else { return [] }
            state.status = status
            return Array(state.readers.values)
        }
        // Not under the lock: who cancels a reader holds what waking it takes, and waits for the lock.
        for reader in readers { reader.yield(status) }
    }

    func close() {
        let readers = self.state.withLock { state in
            state.status = .closed
            defer { state.readers = [:] }
            return state.readers.values
        }
        for reader in readers {
            reader.yield(.closed)
            reader.finish()
        }
    }

    func updates() -> AsyncStream<StoreStatus> {
        // A slow reader misses what is past, never what is.
        let (stream, continuation) = AsyncStream.makeStream(of: StoreStatus.self, bufferingPolicy: .bufferingNewest(8))
        let reader = self.state.withLock { state -> UInt64? in
            continuation.yield(state.status)
            guard state.status != .closed else { return nil }
            state.nextReader += 1
            state.readers[state.nextReader] = continuation
            return state.nextReader
        }
        guard let reader else {
            continuation.finish()
            return stream
        }
        continuation.onTermination = { [weak self] _ in
            self?.state.withLock { _ = $0.readers.removeValue(forKey: reader) }
        }
        return stream
    }
}
