// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Numbers that look random and are the same for the same seed on every machine (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    /// - Parameter stream: gives each user of one seed numbers of its own, so that what one draws does not shift the
    ///   others'.
    init(seed: UInt64, stream: UInt64) {
        self.state = Self.mixed(seed &+ 0x9e37_79b9_7f4a_7c15 &* (stream &+ 1))
    }

    mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        return Self.mixed(self.state)
    }

    /// From 0, and less than 1.
    mutating func fraction() -> Double {
        Double(self.next() >> 11) * 0x1p-53
    }

    private static func mixed(_ value: UInt64) -> UInt64 {
        var mixed = value
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
