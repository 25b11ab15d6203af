// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// First in, first out, in storage that grows to what was needed once and is kept.
struct Ring<Element> {
    private var storage: [Element?]
    private var head = 0
    private(set) var count = 0

    init(minimumCapacity: Int = 64) {
        self.storage = Array(repeating: nil, count: Self.powerOfTwo(from: minimumCapacity))
    }

    var isEmpty: Bool { self.count == 0 }
    var first: Element? { self.isEmpty ? nil : self.storage[self.head] }
    var last: Element? { self.isEmpty ? nil : self.storage[self.slot(self.count - 1)] }

    mutating func append(_ element: Element) {
        if self.count == self.storage.count { self.grow() }
        self.storage[self.slot(self.count)] = element
        self.count += 1
    }

    mutating func popFirst() -> Element? {
        guard !self.isEmpty else { return nil }
        defer {
            self.head = self.slot(1)
            self.count -= 1
        }
        return self.storage[self.head]
    }

    private func slot(_ offset: Int) -> Int { (self.head &+ offset) & (self.storage.count - 1) }

    private mutating func grow() {
        let old = self.storage
        self.storage = Array(repeating: nil, count: old.count * 2)
        for offset in 0..<self.count { self.storage[offset] = old[(self.head + offset) & (old.count - 1)] }
        self.head = 0
    }

    private static func powerOfTwo(from minimum: Int) -> Int {
        var capacity = 1
        while capacity < minimum { capacity *= 2 }
        return capacity
    }
}
