// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport

/// The median of a few rounds, and between which two of them the true median lies with a confidence of at least 85 %.
///
/// The ends are order statistics (the interval of the sign test), so nothing is assumed about how the rounds are distributed: the
/// true median is below the smallest of n rounds with a chance of one in 2^n. From 4 rounds on there is such an interval.
package struct MedianInterval: Sendable {
    package static let confidence = 0.85
    /// With fewer rounds even their ends hold the median with less than ``confidence``.
    package static let leastRounds = 4

    package let median: Double
    package let low: Double
    package let high: Double
    package let rounds: Int

    package var hasEnoughRounds: Bool { self.rounds >= Self.leastRounds }

    /// `nil` without rounds. What is not a number is left out.
    package init?(_ values: [Double]) {
        let sorted = values.filter { !$0.isNaN }.sorted()
        guard let middle = sorted.middle else { return nil }
        self.median = middle
        let outside = Self.valuesOutside(sorted.count)
        self.low = sorted[outside]
        self.high = sorted[sorted.count - 1 - outside]
        self.rounds = sorted.count
    }

    /// How many values on each side may be left out of the interval.
    private static func valuesOutside(_ count: Int) -> Int {
        // The chance that at most `outside` of `count` fair coins show heads.
        var ways = 1.0
        var below = 1.0
        var outside = 0
        let all = Double(sign: .plus, exponent: min(count, 1_000), significand: 1)
        while outside + 1 < (count + 1) / 2 {
            ways *= Double(count - outside) / Double(outside + 1)
            guard 1 - 2 * (below + ways) / all >= Self.confidence else { break }
            below += ways
            outside += 1
        }
        return outside
    }
}

/// Latencies of all rounds together.
package struct LatencyDistribution: Sendable {
    /// Ascending.
    private let microseconds: [Int]

    package init(_ samples: [[Int]]) {
        self.microseconds = samples.flatMap { $0 }.map { max(0, $0) }.sorted()
    }

    package var count: Int { self.microseconds.count }
    package var isEmpty: Bool { self.microseconds.isEmpty }
    package var longestMilliseconds: Double? { self.microseconds.last.map { Double($0) / 1e3 } }

    /// The time that the part `quantile` of all does not exceed (nearest rank). `nil` where there are too few to say: one in a
    /// thousand is known from a thousand on.
    package func milliseconds(at quantile: Double) -> Double? {
        guard !self.isEmpty, Double(self.count) * (1 - quantile) >= 1 - 1e-9 || quantile == 0 else { return nil }
        return self.microseconds.nearestRank(quantile).map { Double($0) / 1e3 }
    }

    /// Points of the distribution, evenly spaced on a logarithmic scale of the part that takes longer, and the longest.
    package func curve() -> [(slowerPart: Double, milliseconds: Double)] {
        guard let longest = self.longestMilliseconds else { return [] }
        let smallest = 1 / Double(self.count)
        var points: [(slowerPart: Double, milliseconds: Double)] = []
        var part = 1.0
        while part > smallest {
            let value = self.milliseconds(at: 1 - part) ?? longest
            points.append((part, value))
            part *= 0.917  // 80 steps for three decades
        }
        points.append((smallest, longest))
        return points
    }
}
