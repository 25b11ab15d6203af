// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

extension Array where Element: Comparable {
    /// Of sorted elements: the one that the part `quantile` of all does not exceed (nearest rank). `nil` without any.
    package func nearestRank(_ quantile: Double) -> Element? {
        // Products such as 0.07 × 100 are a hair above the whole number that they mean.
        let rank = Int((quantile * Double(self.count) - 1e-9).rounded(.up))
        return self.isEmpty ? nil : self[Swift.min(Swift.max(rank, 1), self.count) - 1]
    }
}

extension [Double] {
    /// Of sorted elements: the middle one, or the mean of the two in the middle. `nil` without any.
    package var middle: Double? {
        guard !self.isEmpty else { return nil }
        let half = self.count / 2
        return self.count.isMultiple(of: 2) ? (self[half - 1] + self[half]) / 2 : self[half]
    }
}

/// Measured times, of which the percentiles are wanted.
package struct Latencies: Sendable {
    private var nanoseconds: [Int64] = []
    private var isSorted = false

    package init(capacity: Int) {
        self.nanoseconds.reserveCapacity(capacity)
    }

    package var count: Int { self.nanoseconds.count }

    package mutating func append(_ duration: Duration) {
        self.nanoseconds.append(Int64(duration / .nanoseconds(1)))
        self.isSorted = false
    }

    package mutating func append(contentsOf other: Latencies) {
        self.nanoseconds += other.nanoseconds
        self.isSorted = false
    }

    /// The time that the part `quantile` of all times does not exceed (nearest rank); 1 is the longest. 0 when nothing was
    /// measured.
    package mutating func microseconds(at quantile: Double) -> Double {
        if !self.isSorted {
            self.nanoseconds.sort()
            self.isSorted = true
        }
        return Double(self.nanoseconds.nearestRank(quantile) ?? 0) / 1e3
    }

    package var summary: [String: Double] {
        var sorted = self
        return [
            "p50Microseconds": sorted.microseconds(at: 0.5), "p90Microseconds": sorted.microseconds(at: 0.9),
            "p99Microseconds": sorted.microseconds(at: 0.99), "p999Microseconds": sorted.microseconds(at: 0.999),
            "minimumMicroseconds": sorted.microseconds(at: 0), "maximumMicroseconds": sorted.microseconds(at: 1),
        ]
    }
}

/// The middle and the ends of a few samples.
package struct Spread {
    package let median: Double
    package let minimum: Double
    package let maximum: Double

    /// `nil` without samples.
    package init?(_ samples: [Double]) {
        let sorted = samples.sorted()
        guard let first = sorted.first, let last = sorted.last, let middle = sorted.middle else { return nil }
        self.median = middle
        (self.minimum, self.maximum) = (first, last)
    }

    package func text(decimals: Int) -> String {
        let (median, minimum, maximum) = (
            fixed(self.median, decimals), fixed(self.minimum, decimals), fixed(self.maximum, decimals)
        )
        return "\(median) (\(minimum)–\(maximum))"
    }
}
