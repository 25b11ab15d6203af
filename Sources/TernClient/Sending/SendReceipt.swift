// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Synchronization
public import TernMessages

/// A message on its way. Keep it to learn what became of the message; drop it if that does not matter.
public final class SendReceipt: Sendable {
    private struct State {
        var result: Result<SentMessage, ClientError>?
        var waiters: [CheckedContinuation<SentMessage, any Error>] = []
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
    ///   before its acknowledgement came: then it may be stored or not.
    public func acknowledgement() async throws -> SentMessage {
        try await withCheckedThrowingContinuation { continuation in
            let result = self.state.withLock { state -> Result<SentMessage, ClientError>? in
                if state.result == nil { state.waiters.append(continuation) }
                return state.result
            }
            if let result { continuation.resume(with: result.mapError { $0 as any Error }) }
        }
    }

    func complete(_ result: Result<SentMessage, ClientError>) {
        let waiters = self.state.withLock { state -> [CheckedContinuation<SentMessage, any Error>] in
            guard state.result == nil else { return [] }
            state.result = result
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume(with: result.mapError { $0 as any Error }) }
    }
}
