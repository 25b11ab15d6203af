// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Synchronization
public import TernMessages

/// A message on its way. Keep it to learn what became of the message; drop it if that does not matter.
public final class SendReceipt: Sendable {
    private struct State {
        var result: Result<SentMessage, ClientError>?
        var waiters: [UInt64: CheckedContinuation<SentMessage, any Error>] = [:]
        var lastWaiter: UInt64 = 0
    }

    /// By which the server knows the message, however often it is sent.
    public let id: ClientMessageID
    private let state = Mutex(State())

    init(id: ClientMessageID) {
        self.id = id
    }

    /// Waits until the message is stored.
    ///
    /// - Throws: ``ClientError/Code/refused`` when the server does not take it, ``ClientError/Code/closed`` when the client ended
    ///   before its acknowledgement came: then it may be stored or not; or `CancellationError`, which ends the wait and not the
    ///   message.
    public func acknowledgement() async throws -> SentMessage {
        let number = self.state.withLock { state in
            state.lastWaiter += 1
            return state.lastWaiter
        }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let known = self.state.withLock { state -> Result<SentMessage, any Error>? in
                    if let result = state.result { return result.mapError { $0 as any Error } }
                    if Task.isCancelled { return .failure(CancellationError()) }
                    state.waiters[number] = continuation
                    return nil
                }
                if let known { continuation.resume(with: known) }
            }
        } onCancel: {
            self.state.withLock { $0.waiters.removeValue(forKey: number) }?.resume(throwing: CancellationError())
        }
    }

    func complete(_ result: Result<SentMessage, ClientError>) {
        let waiters = self.state.withLock { state -> [CheckedContinuation<SentMessage, any Error>] in
            guard state.result == nil else { return [] }
            state.result = result
            defer { state.waiters = [:] }
            return Array(state.waiters.values)
        }
        for waiter in waiters { waiter.resume(with: result.mapError { $0 as any Error }) }
    }
}
