// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

extension OneWay {
    /// The earliest first, and of those the one that was sent first.
    struct Heap {
        private var packets: [UnderWay] = []

        var first: UnderWay? { self.packets.first }

        mutating func insert(_ packet: UnderWay) {
            self.packets.append(packet)
            var place = self.packets.count - 1
            while place > 0 {
                let parent = (place - 1) / 2
                guard Self.precedes(self.packets[place], self.packets[parent]) else { return }
                self.packets.swapAt(place, parent)
                place = parent
            }
        }

        mutating func popFirst() -> UnderWay? {
            guard let first = self.packets.first, let last = self.packets.popLast() else { return nil }
            guard !self.packets.isEmpty else { return first }
            self.packets[0] = last
            var place = 0
            while true {
                var earliest = place
                for child in [2 * place + 1, 2 * place + 2] where child < self.packets.count {
                    if Self.precedes(self.packets[child], self.packets[earliest]) { earliest = child }
                }
                guard earliest != place else { return first }
                self.packets.swapAt(place, earliest)
                place = earliest
            }
        }

        private static func precedes(_ left: UnderWay, _ right: UnderWay) -> Bool {
            (left.due, left.number) < (right.due, right.number)
        }
    }
}
