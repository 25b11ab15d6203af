// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Measured times, of which the percentiles are wanted.
struct Latencies: Sendable {
    private var nanoseconds: [Int64] = []
    private var isSorted = false

    init(capacity: Int) {
        self.nanoseconds.reserveCapacity(capacity)
    }

    var count: Int { self.nanoseconds.count }

    mutating func append(_ duration: Duration) {
        self.nanoseconds.append(Int64(duration / .nanoseconds(1)))
        self.isSorted = false
    }

    mutating func append(contentsOf other: Latencies) {
        self.nanoseconds += other.nanoseconds
        self.isSorted = false
    }

    /// The time that the part `quantile` of all times does not exceed (nearest rank); 1 is the longest. 0 when nothing was
    /// measured.
    mutating func microseconds(at quantile: Double) -> Double {
        guard !self.nanoseconds.isEmpty else { return 0 }
        if !self.isSorted {
            self.nanoseconds.sort()
            self.isSorted = true
        }
        let rank = (quantile * Double(self.nanoseconds.count)).rounded(.up)
        return Double(self.nanoseconds[min(max(Int(rank), 1), self.nanoseconds.count) - 1]) / 1e3
    }

    var summary: [String: Double] {
        var sorted = self
        return [
            "p50Microseconds": sorted.microseconds(at: 0.5), "p90Microseconds": sorted.microseconds(at: 0.9),
            "p99Microseconds": sorted.microseconds(at: 0.99), "p999Microseconds": sorted.microseconds(at: 0.999),
            "minimumMicroseconds": sorted.microseconds(at: 0), "maximumMicroseconds": sorted.microseconds(at: 1),
        ]
    }
}

/// The middle and the ends of a few samples.
struct Spread {
    let median: Double
    let minimum: Double
    let maximum: Double

    /// `nil` without samples.
    init?(_ samples: [Double]) {
        let sorted = samples.sorted()
        guard let first = sorted.first, let last = sorted.last else { return nil }
        let middle = sorted.count / 2
        self.median = sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
        (self.minimum, self.maximum) = (first, last)
    }

    func text(decimals: Int) -> String {
        let (median, minimum, maximum) = (
            fixed(self.median, decimals), fixed(self.minimum, decimals), fixed(self.maximum, decimals)
        )
        return "\(median) (\(minimum)–\(maximum))"
    }
}
