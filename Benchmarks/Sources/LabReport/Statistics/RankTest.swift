// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation

/// The exact two-sided test of Mann and Whitney on the rounds of two contenders, or of two runs.
///
/// Why this one: rounds are few and have outliers, so neither a normal distribution nor a mean may be assumed; with the rounds'
/// ranks alone the chance of an order can be counted instead of estimated, also with ties, and nothing is drawn at random.
package enum RankTest {
    /// Chances below this are called a difference. Of a hundred comparisons without any difference up to five are below it.
    package static let level = 0.05
    /// With fewer rounds on either side not even a complete separation is rarer than ``level``: with 3 and 3 it is one in ten.
    package static let leastRounds = 4

    /// With more rounds the sums are as good as normally distributed, and counting them takes long.
    private static let mostCountedRounds = 40

    /// How likely it is that rounds without any difference are apart at least as far as these; `nil` when a side is empty.
    package static func chance(_ first: [Double], _ second: [Double]) -> Double? {
        guard !first.isEmpty, !second.isEmpty else { return nil }
        let ranks = Self.doubledRanks(of: first + second)
        let sum = ranks[..<first.count].reduce(0, +)
        let middle = first.count * (ranks.count + 1)
        let distance = abs(sum - middle)
        guard max(first.count, second.count) <= Self.mostCountedRounds else {
            let variance = Double(first.count) * Double(second.count) * Double(ranks.count + 1) / 3
            return erfc(Double(max(0, distance - 1)) / (2 * variance).squareRoot())
        }
        let counts = Self.countsOfSums(ranks, choosing: first.count)
        let all = counts.reduce(0, +)
        let tail = counts.indices.reduce(0.0) { abs($1 - middle) >= distance ? $0 + counts[$1] : $0 }
        return tail / all
    }

    /// Each value's rank from 1, doubled so that those of equal values, which share their ranks' mean, are whole.
    private static func doubledRanks(of values: [Double]) -> [Int] {
        let order = values.indices.sorted { values[$0] < values[$1] }
        var ranks = [Int](repeating: 0, count: values.count)
        var start = 0
        while start < order.count {
            var end = start
            while end + 1 < order.count, values[order[end + 1]] == values[order[start]] { end += 1 }
            for position in start...end { ranks[order[position]] = start + end + 2 }
            start = end + 1
        }
        return ranks
    }

    /// For every sum, in how many ways `count` of the ranks make it.
    private static func countsOfSums(_ ranks: [Int], choosing count: Int) -> [Double] {
        let largest = ranks.reduce(0, +)
        let none = [Double](repeating: 0, count: largest + 1)
        var ways = [[Double]](repeating: none, count: count + 1)
        ways[0][0] = 1
        for rank in ranks {
            for chosen in stride(from: count, to: 0, by: -1) {
                for sum in stride(from: largest, through: rank, by: -1) {
                    ways[chosen][sum] += ways[chosen - 1][sum - rank]
                }
            }
        }
        return ways[count]
    }
}
