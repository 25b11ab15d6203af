// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import NIOCore

/// One thing that the writer is asked to do, and who waits for it.
enum WriteItem: Sendable {
    case append(Draft, reply: AppendReply)
    case change(WriteChange)

    /// What the item takes of the queue's byte bound.
    var cost: Int {
        switch self {
        case .append(let draft, _): draft.heldBytes
        case .change: 0
        }
    }
}

extension Draft {
    /// The memory that it keeps alive: a slice keeps all of what it was cut from.
    var heldBytes: Int { self.payload.storageCapacity + self.extensions.storageCapacity }
}

/// Hears what became of a draft. Returns at once.
typealias AppendReply = @Sendable (Result<Receipt, StoreError>) -> Void

/// A change that is not a message.
struct WriteChange: Sendable {
    /// Does it inside of the transaction; the answer is run after the commit. It checks before it writes: an error without a
    /// code of SQLite means that it wrote nothing.
    var apply: @Sendable (WriteSession) throws(StoreError) -> @Sendable () -> Void
    /// Run instead, if it did not happen.
    var fail: @Sendable (StoreError) -> Void
}

/// The bounded line in front of the writer's thread.
///
/// A caller reserves a place, and is suspended while there is none, before it puts its item.
final class WriteQueue: Sendable {
    struct Bounds: Sendable {
        var items: Int
        var bytes: Int
        var batchItems: Int
        var batchBytes: Int
    }

    enum Turn: Sendable {
        case work([WriteItem])
        /// Something outside of the queue wants attention.
        case poked
        /// No item is left and none will come.
        case closed
    }

    private struct Waiter: Sendable {
        var cost: Int
        var admit: CheckedContinuation<Bool, Never>
    }

    private struct State: Sendable {
        var items: Deque<WriteItem> = []
        /// Places and bytes that are taken, by items in the queue or about to be put.
        var reservedItems = 0
        var reservedBytes = 0
        /// Places given to callers who have not put their item yet.
        var promised = 0
        var waiters: Deque<Waiter> = []
        var isPoked = false
        var isClosed = false

        func admits(_ cost: Int, within bounds: Bounds) -> Bool {
            // A single item larger than the byte bound must pass some time: when it is alone.
            self.reservedItems < bounds.items
                && (self.reservedItems == 0 || self.reservedBytes + cost <= bounds.bytes)
        }

        mutating func reserve(_ cost: Int) {
            self.reservedItems += 1
            self.reservedBytes += cost
            self.promised += 1
        }
    }

    private let bounds: Bounds
    private let monitor = Monitor(State())

    init(bounds: Bounds) {
        self.bounds = bounds
    }

    /// How many items are in line, and how many callers wait to join it.
    var depth: (items: Int, waiting: Int) {
        self.monitor.withLock { ($0.items.count, $0.waiters.count) }
    }

    /// Waits for a place in the line. Whoever was given one must put an item of that cost.
    func reserve(cost: Int) async throws(StoreError) {
        let isAdmitted = await withCheckedContinuation { (continuation: CheckedContinuation<Bool, Never>) in
            let answer: Bool? = self.monitor.withLock { state in
                if state.isClosed { return false }
                if state.waiters.isEmpty, state.admits(cost, within: self.bounds) {
                    state.reserve(cost)
                    return true
                }
                state.waiters.append(Waiter(cost: cost, admit: continuation))
                return nil
            }
            if let answer { continuation.resume(returning: answer) }
        }
        guard isAdmitted else { throw .closed }
    }

    func put(_ item: WriteItem) {
        self.monitor.update { state in
            state.promised -= 1
            state.items.append(item)
        }
    }

    /// Makes the writer look at what lies outside of the queue.
    func poke() {
        self.monitor.update { $0.isPoked = true }
    }

    /// Takes no more items; those that have a place are still served.
    func close() {
        let turnedAway = self.monitor.update { state in
            state.isClosed = true
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in turnedAway { waiter.admit.resume(returning: false) }
    }

    /// Blocks the writer's thread until there is something to do; `nil` at the deadline.
    func next(until deadline: MonotonicInstant?) -> Turn? {
        let (turn, admitted) =
            self.monitor.wait(until: deadline) { state -> (Turn, [Waiter])? in
                if !state.items.isEmpty {
                    let batch = self.takeBatch(from: &state)
                    return (.work(batch), self.admitWaiters(to: &state))
                }
                if state.isPoked {
                    state.isPoked = false
                    return (.poked, [])
                }
                return state.isClosed && state.promised == 0 ? (.closed, []) : nil
            } ?? (nil, [])
        for waiter in admitted { waiter.admit.resume(returning: true) }
        return turn
    }

    private func takeBatch(from state: inout State) -> [WriteItem] {
        var batch: [WriteItem] = []
        var bytes = 0
        while let item = state.items.first, batch.count < self.bounds.batchItems {
            guard batch.isEmpty || bytes + item.cost <= self.bounds.batchBytes else { break }
            state.items.removeFirst()
            batch.append(item)
            bytes += item.cost
            state.reservedItems -= 1
            state.reservedBytes -= item.cost
        }
        return batch
    }

    private func admitWaiters(to state: inout State) -> [Waiter] {
        var admitted: [Waiter] = []
        while let waiter = state.waiters.first, state.admits(waiter.cost, within: self.bounds) {
            state.waiters.removeFirst()
            state.reserve(waiter.cost)
            admitted.append(waiter)
        }
        return admitted
    }
}

extension StoreError {
    static var closed: StoreError { StoreError(.closed, message: "the store is closed") }
}
