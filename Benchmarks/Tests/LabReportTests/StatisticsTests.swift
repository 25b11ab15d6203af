// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Testing

@testable internal import LabReport

@Suite struct StatisticsTests {
    // The counts are those of the published tables: with n and n rounds, a complete separation has 2 of all orders.
    @Test(arguments: [(3, 20), (4, 70), (5, 252), (8, 12_870)])
    func countsTheOrdersOfACompleteSeparation(rounds: Int, orders: Int) throws {
        let low = (0..<rounds).map(Double.init)
        let high = low.map { $0 + 100 }
        let found = try #require(RankTest.chance(low, high))
        #expect(abs(found - 2 / Double(orders)) < 1e-12)
        #expect(RankTest.chance(high, low) == found)
    }

    @Test func agreesWithAKnownExample() throws {
        // U = 5 with 5 and 5 rounds: 19 of 252 orders on each side.
        let chance = try #require(RankTest.chance([1, 2, 3, 6, 8], [4, 5, 7, 9, 10]))
        #expect(abs(chance - 38.0 / 252) < 1e-12)
    }

    @Test func tellsNothingFromEqualRounds() {
        #expect(RankTest.chance([1, 1, 1, 1], [1, 1, 1, 1]) == 1)
        #expect(RankTest.chance([], [1]) == nil)
    }

    @Test func countsTiesAsHalfAnOrder() throws {
        // Of the 6 ways to choose 2 of the ranks 1, 2.5, 2.5, 4 for the first, 2 are as far from the middle as (1, 2.5).
        let chance = try #require(RankTest.chance([1, 2], [2, 3]))
        #expect(abs(chance - 4.0 / 6) < 1e-12)
    }

    @Test func staysQuickAndRightWithManyRounds() throws {
        let even = (0..<200).map { Double($0 * 2) }
        let odd = (0..<200).map { Double($0 * 2 + 1) }
        #expect(try #require(RankTest.chance(even, odd)) > 0.5)
        #expect(try #require(RankTest.chance(even, odd.map { $0 + 1_000 })) < 1e-9)
    }

    @Test func callsNoMoreDifferencesThanItsLevelAllows() throws {
        var generator = SeededGenerator(seed: 11)
        var called = 0
        for _ in 0..<2_000 {
            let rounds = (0..<12).map { _ in Double.random(in: 0..<1, using: &generator) }
            let comparison = Comparison(Array(rounds[..<6]), Array(rounds[6...]), isBetterLower: true)
            if comparison.verdict != .withinNoise { called += 1 }
        }
        #expect(called < 2_000 * 6 / 100)
        #expect(called > 0)
    }

    // 1 − 2 · 2⁻ⁿ · Σ C(n, i): with 4 to 6 rounds the ends, from 7 on (87.5 %) the second and the last but one.
    @Test(arguments: [(1, 0), (3, 0), (4, 0), (5, 0), (6, 0), (7, 1), (8, 1), (9, 1), (10, 2), (11, 2), (20, 6)])
    func leavesOutsOnlyWhatTheConfidenceAllows(rounds: Int, outside: Int) throws {
        let values = (0..<rounds).map(Double.init).reversed()
        let interval = try #require(MedianInterval(Array(values)))
        #expect(interval.low == Double(outside))
        #expect(interval.high == Double(rounds - 1 - outside))
        #expect(interval.median == Double(rounds - 1) / 2)
        #expect(interval.hasEnoughRounds == (rounds >= 4))
    }

    @Test func holdsTheMedianAsOftenAsItSays() throws {
        var generator = SeededGenerator(seed: 3)
        for rounds in [4, 7, 10] {
            var held = 0
            for _ in 0..<1_000 {
                let values = (0..<rounds).map { _ in Double.random(in: 0..<1, using: &generator) }
                let interval = try #require(MedianInterval(values))
                if interval.low <= 0.5, interval.high >= 0.5 { held += 1 }
            }
            #expect(held >= 830)
        }
    }

    @Test func leavesOutWhatIsNoNumber() throws {
        let interval = try #require(MedianInterval([.nan, 2, .infinity, 1]))
        #expect(interval.median == 2)
        #expect(MedianInterval([.nan]) == nil)
    }

    @Test func takesPercentilesOfAllRoundsTogether() {
        let distribution = LatencyDistribution([
            Array(1...600).map { $0 * 1_000 }, Array(601...1_000).map { $0 * 1_000 },
        ])
        #expect(distribution.milliseconds(at: 0.5) == 500)
        #expect(distribution.milliseconds(at: 0.99) == 990)
        #expect(distribution.milliseconds(at: 0.999) == 999)
        #expect(distribution.milliseconds(at: 0.9999) == nil)
        #expect(distribution.longestMilliseconds == 1_000)
        #expect(LatencyDistribution([[-5, 3]]).milliseconds(at: 0) == 0)
        #expect(LatencyDistribution([]).milliseconds(at: 0.5) == nil)
    }

    @Test func drawsACurveThatRisesFromTheShortestToTheLongest() throws {
        let curve = LatencyDistribution([(0..<2_000).map { $0 * 10 }]).curve()
        #expect(curve.first?.slowerPart == 1)
        #expect(try #require(curve.last).milliseconds == 19.99)
        #expect(
            zip(curve, curve.dropFirst()).allSatisfy {
                $0.milliseconds <= $1.milliseconds && $0.slowerPart > $1.slowerPart
            })
        #expect(curve.count < 150)
    }
}

@Suite struct VerdictTests {
    @Test func isOfTheBetterOneWhereNoiseDoesNotReach() {
        let low = [10.0, 11, 12, 13]
        let high = [20.0, 21, 22, 23]
        #expect(Comparison(low, high, isBetterLower: true).verdict == .firstIsBetter)
        #expect(Comparison(low, high, isBetterLower: false).verdict == .secondIsBetter)
        #expect(Comparison(low, [11.5, 10.5, 12.5, 13.5], isBetterLower: true).verdict == .withinNoise)
    }

    @Test func takesFourRoundsOnEachSide() {
        let low = [10.0, 11, 12]
        let high = [20.0, 21, 22, 23]
        #expect(Comparison(low, high, isBetterLower: true).verdict == .tooFewRounds)
        #expect(Comparison([], high, isBetterLower: true).verdict == .notMeasured)
    }

    @Test func ignoresWhatIsTooSmallToMatter() {
        let low = [100.0, 100.1, 100.2, 100.3]
        let high = [101.0, 101.1, 101.2, 101.3]
        let comparison = Comparison(low, high, isBetterLower: true)
        #expect(comparison.chance.map { $0 < RankTest.level } == true)
        #expect(comparison.verdict == .withinNoise)
    }

    @Test func neverPraisesWhoFailedMore() {
        let low = [10.0, 11, 12, 13]
        let high = [20.0, 21, 22, 23]
        #expect(Comparison(low, high, isBetterLower: true, failures: (2, 1)).verdict == .failures)
        #expect(Comparison(low, high, isBetterLower: true, failures: (1, 1)).verdict == .firstIsBetter)
        #expect(Comparison(low, high, isBetterLower: true, failures: (0, 3)).verdict == .firstIsBetter)
    }

    @Test func hasNoFactorWhereAValueIsNotPositive() {
        #expect(Comparison([0, 0, 0, 0], [1, 1, 1, 1], isBetterLower: true).factor == nil)
        #expect(Comparison([2, 2, 2, 2], [1, 1, 1, 1], isBetterLower: true).factor == 2)
    }
}
