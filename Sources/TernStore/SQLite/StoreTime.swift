// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// The store's own time, by which keys are remembered and forgotten: it never goes back, and no correction of the machine's clock
/// makes it jump.
///
/// It follows the steady clock. While it is behind the wall clock, because the store was closed or the machine slept, it gains
/// on it, but runs at most one ``gain``th faster than the steady clock: however wrong the wall clock becomes, a key lives for its
/// window. It begins where the wall clock is when the store is made, and has nothing to do with it otherwise.
package struct StoreTime: Sendable, Equatable {
    static let gain: UInt64 = 8
    /// So long may pass before the time is written down again: see ``StoreRun``.
    static let noteEvery: UInt64 = 600_000
    /// Room for sums, and for SQLite's signed integers.
    private static let largest: UInt64 = 1 << 56

    /// In milliseconds.
    package private(set) var milliseconds: UInt64
    private var steady: UInt64
    /// Steady milliseconds that passed while the time was behind, and were not used for a step.
    private var credit: UInt64 = 0

    /// - Parameter steady: milliseconds of a clock that nobody sets.
    package init(milliseconds: UInt64, steady: UInt64) {
        self.milliseconds = min(milliseconds, Self.largest)
        self.steady = steady
    }

    package mutating func advance(steady: UInt64, wall: UInt64) {
        guard steady > self.steady else { return }
        let passed = min(steady - self.steady, Self.largest)
        self.steady = steady
        self.milliseconds = min(self.milliseconds + passed, Self.largest)
        let wall = min(wall, Self.largest)
        guard wall > self.milliseconds else {
            self.credit = 0
            return
        }
        self.credit += passed
        let step = min(wall - self.milliseconds, self.credit / Self.gain)
        self.milliseconds += step
        self.credit -= step * Self.gain
    }

    /// Keys that are older than this have been known for at least `window` of the steady clock.
    package func edge(of window: UInt64) -> UInt64 {
        let window = min(window, Self.largest)
        let longest = window + window / Self.gain + 1
        return self.milliseconds > longest ? self.milliseconds - longest : 0
    }
}
