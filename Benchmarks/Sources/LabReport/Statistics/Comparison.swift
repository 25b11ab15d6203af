// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Which of two is better, by one metric.
package enum Verdict: String, Sendable {
    case firstIsBetter, secondIsBetter
    /// The difference may well be chance, or is too small to matter.
    case withinNoise
    case tooFewRounds
    case notMeasured
    /// The better one failed in more rounds than the other: what it did in the rest says nothing.
    case failures
}

/// Two contenders, or the same contender in two runs, compared by one metric.
package struct Comparison: Sendable {
    /// Differences of the medians below this part of the larger one are called none, however regular they are.
    package static let leastDifference = 0.02

    package let first: MedianInterval?
    package let second: MedianInterval?
    /// How likely the difference is without there being one.
    package let chance: Double?
    package let verdict: Verdict
    package let isBetterLower: Bool

    /// - Parameters:
    ///   - failures: in how many rounds each of them failed.
    ///   - leastDifference: below which part of the larger median a difference is none.
    package init(
        _ first: [Double], _ second: [Double], isBetterLower: Bool, failures: (first: Int, second: Int) = (0, 0),
        leastDifference: Double = Self.leastDifference
    ) {
        self.first = MedianInterval(first)
        self.second = MedianInterval(second)
        self.isBetterLower = isBetterLower
        guard let one = self.first, let other = self.second, let chance = RankTest.chance(first, second) else {
            self.chance = nil
            self.verdict = .notMeasured
            return
        }
        self.chance = chance
        let difference = abs(one.median - other.median)
        let isFirst = (one.median < other.median) == isBetterLower
        if min(one.rounds, other.rounds) < RankTest.leastRounds {
            self.verdict = .tooFewRounds
        } else if chance >= RankTest.level || difference == 0
            || difference < leastDifference * max(abs(one.median), abs(other.median))
        {
            self.verdict = .withinNoise
        } else if isFirst ? failures.first > failures.second : failures.second > failures.first {
            self.verdict = .failures
        } else {
            self.verdict = isFirst ? .firstIsBetter : .secondIsBetter
        }
    }

    /// The better median by the other, so that it is at least 1; `nil` where one of them is not positive.
    package var factor: Double? {
        guard let first, let second, first.median > 0, second.median > 0 else { return nil }
        let ratio = first.median / second.median
        return ratio.isFinite ? max(ratio, 1 / ratio) : nil
    }
}
