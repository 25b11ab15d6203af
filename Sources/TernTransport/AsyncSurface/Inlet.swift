// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import DequeModule
internal import Synchronization

/// A bounded queue from an event loop to one consuming task. What bounds it is the element's own credit (stream windows,
/// stream limits) or `capacity`, above which the oldest element is dropped.
package final class Inlet<Element: Sendable>: Sendable {
    private enum Phase {
        case open
        /// What is queued is still delivered, then `nil`, or the error.
        case ended(TransportError?)
    }

    private struct State {
        var elements: Deque<Element> = []
        var phase: Phase = .open
        var waiter: Waiter?
        var lastTicket: UInt64 = 0
        var dropped: UInt64 = 0

        /// What there is to say without waiting.
        mutating func answer() -> Result<Element?, any Error>? {
            if let element = self.elements.popFirst() { return .success(element) }
            if case .ended(let error) = self.phase { return error.map { .failure($0) } ?? .success(nil) }
            return nil
        }
    }

    /// A call that waits. Its ticket tells it from the others: who is cancelled takes back its own.
    private struct Waiter {
        let ticket: UInt64
        let continuation: CheckedContinuation<Element?, any Error>
    }

    private let state = Mutex(State())
    private let capacity: Int
    private let keep: @Sendable (Element, inout Deque<Element>) -> Void

    /// - Parameters:
    ///   - capacity: how many elements wait at most.
    ///   - keep: how an element that nobody waits for joins those that wait. It runs under a lock.
    package init(
        capacity: Int = .max,
        keep: @escaping @Sendable (Element, inout Deque<Element>) -> Void = { $1.append($0) }
    ) {
        self.capacity = capacity
        self.keep = keep
    }

    package var isOpen: Bool {
        self.state.withLock { if case .open = $0.phase { true } else { false } }
    }

    package var count: Int { self.state.withLock { $0.elements.count } }
    package var dropped: UInt64 { self.state.withLock { $0.dropped } }

    /// Hands over an element; returns `false` when nobody can take it any more.
    @discardableResult
    package func push(_ element: Element) -> Bool {
        var waiter: Waiter?
        let isTaken = self.state.withLock { state in
            guard case .open = state.phase else { return false }
            waiter = state.waiter.take()
            if waiter == nil {
                if state.elements.count >= self.capacity {
                    state.elements.removeFirst()
                    state.dropped += 1
                }
                self.keep(element, &state.elements)
            }
            return true
        }
        waiter?.continuation.resume(returning: element)
        return isTaken
    }

    /// No more elements come; those that wait are still delivered.
    package func end(_ error: TransportError? = nil) {
        let waiter = self.state.withLock { state -> Waiter? in
            guard case .open = state.phase else { return nil }
            state.phase = .ended(error)
            return state.waiter.take()
        }
        waiter?.continuation.resume(with: error.map { .failure($0) } ?? .success(nil))
    }

    /// Ends at once and returns the elements that nobody will see.
    package func abort(_ error: TransportError?) -> Deque<Element> {
        let (waiter, rest) = self.state.withLock { state -> (Waiter?, Deque<Element>) in
            if case .open = state.phase { state.phase = .ended(error) }
            let rest = state.elements
            state.elements = []
            return (state.waiter.take(), rest)
        }
        waiter?.continuation.resume(with: error.map { .failure($0) } ?? .success(nil))
        return rest
    }

    /// The next element, or `nil` at the end.
    ///
    /// - Throws: a ``TransportError``, or `CancellationError`.
    package func next() async throws -> Element? {
        let (answer, ticket) = self.state.withLock { state -> (Result<Element?, any Error>?, UInt64) in
            if let answer = state.answer() { return (answer, 0) }
            state.lastTicket += 1
            return (nil, state.lastTicket)
        }
        if let answer { return try answer.get() }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let answer = self.state.withLock { state -> Result<Element?, any Error>? in
                    if let answer = state.answer() { return answer }
                    if Task.isCancelled { return .failure(CancellationError()) }
                    if state.waiter != nil {
                        return .failure(TransportError(.misuse, message: "two tasks iterate at once"))
                    }
                    state.waiter = Waiter(ticket: ticket, continuation: continuation)
                    return nil
                }
                if let answer { continuation.resume(with: answer) }
            }
        } onCancel: {
            let waiter = self.state.withLock { $0.waiter?.ticket == ticket ? $0.waiter.take() : nil }
            waiter?.continuation.resume(throwing: CancellationError())
        }
    }
}
