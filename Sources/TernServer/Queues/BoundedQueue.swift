// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import Synchronization

/// A queue between tasks with a bound on its cost: producers wait while it is full, the one consumer takes many at
/// once.
final class BoundedQueue<Element: Sendable>: Sendable {
    private struct State {
        var elements: Deque<Element> = []
        var cost = 0
        var isFinished = false
        var consumer: CheckedContinuation<Void, Never>?
        var producers: [Int: CheckedContinuation<Void, Never>] = [:]
        var nextProducer = 0
    }

    private let state = Mutex(State())
    private let capacity: Int
    /// What an element costs besides what its producer says: its place in the queue and what it owns on the heap. Without
    /// it many elements of a few bytes take many times the capacity.
    private static var overhead: Int { MemoryLayout<Element>.stride + 128 }

    /// - Parameter capacity: producers wait while the cost of what is queued is this or more.
    init(capacity: Int) {
        self.capacity = capacity
    }

    /// Waits for room, then queues the element. The room is exceeded by at most one element per producer.
    ///
    /// - Returns: `false` when the queue was finished; the element is dropped.
    @discardableResult
    func push(_ element: Element, cost: Int) async -> Bool {
        await self.untilBelowCapacity()
        return self.pushNow(element, cost: cost)
    }

    /// Queues the element whatever the room.
    @discardableResult
    func pushNow(_ element: Element, cost: Int) -> Bool {
        let (isTaken, consumer) = self.state.withLock { state -> (Bool, CheckedContinuation<Void, Never>?) in
            guard !state.isFinished else { return (false, nil) }
            state.elements.append(element)
            state.cost += cost + Self.overhead
            return (true, state.consumer.take())
        }
        consumer?.resume()
        return isTaken
    }

    /// Everything that is queued, after waiting for something; `nil` when the queue was finished and is empty. One
    /// task calls it.
    func takeAll() async -> Deque<Element>? {
        while true {
            let (elements, producers, isFinished) = self.state.withLock { state in
                defer {
                    state.elements = []
                    state.cost = 0
                    state.producers = [:]
                }
                return (state.elements, state.producers, state.isFinished)
            }
            for producer in producers.values { producer.resume() }
            if !elements.isEmpty { return elements }
            if isFinished { return nil }
            await self.untilSomething()
        }
    }

    /// No more elements come; those that are queued can still be taken. Idempotent.
    func finish() {
        let (consumer, producers) = self.state.withLock { state in
            defer {
                state.isFinished = true
                state.producers = [:]
            }
            return (state.consumer.take(), state.producers)
        }
        consumer?.resume()
        for producer in producers.values { producer.resume() }
    }

    private func untilSomething() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let mustWait = self.state.withLock { state in
                    guard state.elements.isEmpty, !state.isFinished else { return false }
                    state.consumer = continuation
                    return true
                }
                if !mustWait { continuation.resume() }
            }
        } onCancel: {
            // Who is cancelled wants to end: nothing more will be taken.
            self.finish()
        }
    }

    private func untilBelowCapacity() async {
        let ticket = self.state.withLock { state in
            state.nextProducer += 1
            return state.nextProducer
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let mustWait = self.state.withLock { state in
                    guard state.cost >= self.capacity, !state.isFinished, !Task.isCancelled else { return false }
                    state.producers[ticket] = continuation
                    return true
                }
                if !mustWait { continuation.resume() }
            }
        } onCancel: {
            let producer = self.state.withLock { $0.producers.removeValue(forKey: ticket) }
            producer?.resume()
        }
    }
}
