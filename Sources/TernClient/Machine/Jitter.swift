// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Random parts of waits, from a seed (SplitMix64), so that a run can be repeated. Not for secrets.
struct Jitter: RandomNumberGenerator, Sendable {
    private var state: UInt64

    init(seed: UInt64) {
        self.state = seed
    }

    mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = self.state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }

    /// 0 ..< 1.
    mutating func part() -> Double { Double.random(in: 0..<1, using: &self) }

    /// A wait that the server asked for: never shorter, and up to half longer, so that not all come back at once.
    mutating func lengthened(_ wait: Duration) -> Duration { wait * (1 + self.part() / 2) }
}
