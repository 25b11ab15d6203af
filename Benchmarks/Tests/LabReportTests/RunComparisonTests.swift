// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Testing

@testable internal import LabReport

@Suite struct RunComparisonTests {
    private func runs(
        old: [Double], new: [Double], metric: MetricRecord = .p99
    ) throws -> (old: Run, new: Run) {
        var before = try SyntheticRun([.simple(metric: metric, contenders: [.quic])])
        var after = before
        before.add("messages", metric.key, ["quic": old])
        after.add("messages", metric.key, ["quic": new])
        return (try before.run, try after.run)
    }

    @Test func callsARegressionWhatIsWorseBeyondTheNoise() throws {
        let (old, new) = try self.runs(old: [10, 11, 12, 13], new: [20, 21, 22, 23])
        let comparison = RunComparison(old: old, new: new)
        #expect(comparison.rows.map(\.change) == [.worse])
        #expect(comparison.hasRegression)
        #expect(comparison.warnings.isEmpty)
        #expect(!RunComparison(old: new, new: old).hasRegression)
        #expect(RunComparison(old: new, new: old).rows.map(\.change) == [.better])
    }

    @Test func readsMetricsInTheirDirection() throws {
        let (old, new) = try self.runs(old: [10, 11, 12, 13], new: [20, 21, 22, 23], metric: .rate)
        #expect(RunComparison(old: old, new: new).rows.map(\.change) == [.better])
    }

    @Test(arguments: [
        ([10.0, 11, 12, 13], [10.5, 11.5, 12.5, 13.5], RunComparison.Change.withinNoise),
        ([100, 100.1, 100.2, 100.3], [104, 104.1, 104.2, 104.3], .withinNoise),
        ([10, 11, 12], [20, 21, 22], .tooFewRounds),
        ([10, 11, 12], [], .notMeasured),
    ])
    func calledNothingThatNoiseExplains(old: [Double], new: [Double], change: RunComparison.Change) throws {
        let (before, after) = try self.runs(old: old, new: new)
        let comparison = RunComparison(old: before, new: after)
        #expect(comparison.rows.map(\.change) == [change])
        #expect(!comparison.hasRegression)
    }

    @Test func callsItARegressionWhenRoundsFailThatDidNot() throws {
        var before = try SyntheticRun([.simple(contenders: [.quic])])
        var after = before
        before.add("messages", "p99", ["quic": [1, 1, 1, 1, 1]])
        for round in 1...5 {
            after.samples.append(
                LabSample(scenario: "messages", contender: "quic", round: round, load: 0, values: [:], failure: "no"))
        }
        let comparison = RunComparison(old: try before.run, new: try after.run)
        #expect(comparison.rows.map(\.change) == [.notMeasured, .worse])
        #expect(comparison.hasRegression)
        #expect(comparison.text(width: 100, color: false).contains("0 of 5"))
        #expect(comparison.text(width: 100, color: false).contains("5 of 5"))
    }

    @Test func warnsOfWhatElseDiffers() throws {
        let before = try SyntheticLab.make(rounds: 1)
        var after = try SyntheticLab.make(rounds: 1)
        after.header.seed = 8
        after.header.profile = "full"
        after.header.machine.processor = "Another"
        after.header.machine.versions["GnuTLS"] = "3.8.0"
        after.header.scenarios[0].network = "dry string"
        after.header.scenarios.remove(at: 2)
        after.end = nil
        let comparison = RunComparison(old: try before.run, new: try after.run)
        let expected = [
            "The processor differs", "The profile differs", "The seed differs", "GnuTLS differs",
            "The new run is not complete",
            "bulk-clean is in the old run only", "messages-loss is not what it was",
        ]
        for text in expected { #expect(comparison.warnings.contains { $0.hasPrefix(text) }, "\(text)") }
        #expect(comparison.warnings.count == expected.count)
    }

    @Test func showsBothRunsInTextAndOnAPage() throws {
        let (old, new) = try self.runs(old: [10, 11, 12, 13], new: [20, 21, 22, 23])
        let comparison = RunComparison(old: old, new: new)
        let text = comparison.text(width: 120, color: false)
        #expect(text.contains("1 worse."))
        #expect(text.contains("11.5 (10.0–13.0)") && text.contains("21.5 (20.0–23.0)") && text.contains("1.87"))
        let page = try ParsedMarkup(comparison.html())
        let row = ["messages", "quic", "p99, ms", "11.5 (10.0–13.0)", "21.5 (20.0–23.0)", "1.87", "worse"]
        #expect(page.rows(of: "messages") == [row])
    }

    @Test func doesNotCallARunWorseThanItself() throws {
        let run = try SyntheticLab.make().run
        let comparison = RunComparison(old: run, new: run)
        // What was measured: 8 main metrics of 3 contenders, but one of 2; 2 of another 2; and the failures of one.
        #expect(comparison.rows.count == 28)
        #expect(comparison.rows.allSatisfy { $0.change == .withinNoise || $0.change == .notMeasured })
    }
}
