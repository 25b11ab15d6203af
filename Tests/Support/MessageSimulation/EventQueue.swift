// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Virtual time: since the beginning of a run.
package typealias Moment = Duration

/// What is to happen, by its time; of two at the same time the first that was added.
struct EventQueue<Event> {
    private struct Entry {
        var at: Moment
        var order: UInt64
        var slot: Int

        func isBefore(_ other: Entry) -> Bool { (self.at, self.order) < (other.at, other.order) }
    }

    private var heap: [Entry] = []
    private var nextOrder: UInt64 = 0
    /// The events, which are large, stay where they are while their entries move.
    private var slots: [Event?] = []
    private var freeSlots: [Int] = []

    var nextTime: Moment? { self.heap.first?.at }

    mutating func add(_ event: Event, at moment: Moment) {
        let slot: Int
        if let free = self.freeSlots.popLast() {
            slot = free
            self.slots[slot] = event
        } else {
            slot = self.slots.count
            self.slots.append(event)
        }
        self.heap.append(Entry(at: moment, order: self.nextOrder, slot: slot))
        self.nextOrder += 1
        var index = self.heap.count - 1
        while index > 0 {
            let parent = (index - 1) / 2
            guard self.heap[index].isBefore(self.heap[parent]) else { return }
            self.heap.swapAt(index, parent)
            index = parent
        }
    }

    mutating func pop() -> (at: Moment, event: Event)? {
        guard let first = self.heap.first, let event = self.slots[first.slot] else { return nil }
        self.slots[first.slot] = nil
        self.freeSlots.append(first.slot)
        let last = self.heap.removeLast()
        guard !self.heap.isEmpty else { return (first.at, event) }
        self.heap[0] = last
        var index = 0
        while true {
            var least = index
            for child in [2 * index + 1, 2 * index + 2]
            where child < self.heap.count && self.heap[child].isBefore(self.heap[least]) {
                least = child
            }
            guard least != index else { break }
            self.heap.swapAt(index, least)
            index = least
        }
        return (first.at, event)
    }
}
