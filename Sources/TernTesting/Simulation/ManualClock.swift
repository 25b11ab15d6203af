// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// A clock that stands still until it is told to move: the `now` of protocol code that takes time as an argument.
///
/// A value of its owner; not shared between threads.
public struct ManualClock: Sendable {
    public private(set) var now: NIODeadline

    /// - Parameter now: one second after the zero of `NIODeadline`, so that subtracting a little is safe.
    public init(now: NIODeadline = .uptimeNanoseconds(1_000_000_000)) {
        self.now = now
    }

    public mutating func advance(by amount: TimeAmount) {
        self.advance(to: self.now + amount)
    }

    /// Does nothing when `instant` has passed: a clock never runs backwards.
    public mutating func advance(to instant: NIODeadline) {
        self.now = max(self.now, instant)
    }
}

/// Random numbers that are the same for the same seed, on every machine (SplitMix64). Not for secrets.
public struct SeededRandom: RandomNumberGenerator, Sendable {
    private var state: UInt64

    public init(seed: UInt64) {
        self.state = seed
    }

    public mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = self.state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }

    /// True with this probability, 0 to 1.
    public mutating func chance(_ probability: Double) -> Bool {
        Double(self.next() >> 11) * 0x1p-53 < probability
    }

    /// 0 up to and including `amount`.
    public mutating func amount(upTo amount: TimeAmount) -> TimeAmount {
        .nanoseconds(Int64(self.next() >> 1) % (max(amount.nanoseconds, 0) + 1))
    }
}
