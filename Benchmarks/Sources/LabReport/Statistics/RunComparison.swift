// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport

/// What changed between two runs: each contender of each scenario with itself, by the main metrics and by how often it failed.
///
/// The test is that of two contenders (``RankTest``), but a difference must be larger, because two runs are not interleaved:
/// whatever changed on the machine in between is in it.
package struct RunComparison: Sendable {
    /// Below which part of the larger median a difference is called none.
    package static let leastDifference = 0.05

    package enum Change: String, Sendable {
        case better, worse
        case withinNoise = "within noise"
        case tooFewRounds = "too few rounds"
        case notMeasured = "not measured"
        case failures = "no verdict: failures"
    }

    package struct Row: Sendable {
        package let scenario: String
        package let contender: ContenderRecord
        package let metric: MetricRecord
        /// The old run is the first.
        package let comparison: Comparison
        package fileprivate(set) var change: Change
        /// How many rounds failed, such as "2 of 5", where these are compared and not a metric.
        package fileprivate(set) var failures: (old: String, new: String)?

        /// The new median by the old one; `nil` where there is none.
        package var ratio: Double? {
            guard let old = self.comparison.first?.median, let new = self.comparison.second?.median, old != 0 else {
                return nil
            }
            return new / old
        }
    }

    package let old: Run
    package let new: Run
    package let rows: [Row]
    /// Why the runs may differ for reasons other than the code, in sentences.
    package let warnings: [String]

    package var hasRegression: Bool { self.rows.contains { $0.change == .worse } }

    package init(old: Run, new: Run) {
        self.old = old
        self.new = new
        let before = Dictionary(old.results.map { ($0.record.name, $0) }) { first, _ in first }
        self.rows = new.results.flatMap { result in
            before[result.record.name].map { Self.rows($0, result) } ?? []
        }
        self.warnings = Self.warnings(old, new)
    }

    private static func rows(_ old: ScenarioResult, _ new: ScenarioResult) -> [Row] {
        new.contenders.flatMap { contender -> [Row] in
            guard let before = old.contender(contender.record.name) else { return [] }
            let metrics = new.mainMetrics.filter { metric in
                old.record.metrics.contains { $0.key == metric.key && $0.unit == metric.unit }
            }
            let rows = metrics.compactMap { metric -> Row? in
                let comparison = Comparison(
                    before.values(metric.key), contender.values(metric.key), isBetterLower: metric.isBetterLower,
                    failures: (before.failures.count, contender.failures.count), leastDifference: Self.leastDifference)
                // Who had no figure then and has none now did not change.
                guard comparison.first != nil || comparison.second != nil else { return nil }
                return self.row(new, contender, metric, comparison)
            }
            return rows + self.failures(before, contender, in: new)
        }
    }

    /// How often each failed is compared like any other figure: a round counts 1 that failed and 0 that did not.
    private static func failures(_ old: ContenderResult, _ new: ContenderResult, in scenario: ScenarioResult) -> [Row] {
        guard !old.failures.isEmpty || !new.failures.isEmpty else { return [] }
        func rounds(_ contender: ContenderResult) -> [Double] {
            contender.rounds.values.map { $0.failure == nil ? 0 : 1 }
        }
        let metric = MetricRecord(
            key: "", title: "Failed rounds", unit: "count", isBetterLower: true, decimals: 1, isMain: false)
        let comparison = Comparison(rounds(old), rounds(new), isBetterLower: true)
        var row = self.row(scenario, new, metric, comparison)
        row.failures = (Self.failedRounds(of: old), Self.failedRounds(of: new))
        // Most rounds are 0 or most are 1, so their medians say nothing; the shares do.
        let shares = (Self.share(of: old), Self.share(of: new))
        if let chance = comparison.chance, comparison.verdict != .tooFewRounds {
            row.change =
                chance >= RankTest.level || shares.0 == shares.1 ? .withinNoise : shares.0 < shares.1 ? .worse : .better
        }
        return [row]
    }

    private static func failedRounds(of contender: ContenderResult) -> String {
        "\(contender.failures.count) of \(contender.rounds.count)"
    }

    private static func share(of contender: ContenderResult) -> Double {
        Double(contender.failures.count) / Double(max(1, contender.rounds.count))
    }

    private static func row(
        _ scenario: ScenarioResult, _ contender: ContenderResult, _ metric: MetricRecord, _ comparison: Comparison
    ) -> Row {
        let change: Change =
            switch comparison.verdict {
            case .firstIsBetter: .worse
            case .secondIsBetter: .better
            case .withinNoise: .withinNoise
            case .tooFewRounds: .tooFewRounds
            case .notMeasured: .notMeasured
            case .failures: .failures
            }
        return Row(
            scenario: scenario.record.name, contender: contender.record, metric: metric, comparison: comparison,
            change: change, failures: nil)
    }

    private static func warnings(_ old: Run, _ new: Run) -> [String] {
        var warnings: [String] = []
        func differ(_ what: String, _ one: String, _ other: String) {
            if one != other { warnings.append("\(what) differs: \(one) before, \(other) now.") }
        }
        let (before, now) = (old.header, new.header)
        differ("The processor", before.machine.processor, now.machine.processor)
        differ("The count of cores", "\(before.machine.cores)", "\(now.machine.cores)")
        differ("The memory", "\(before.machine.memoryMiB) MiB", "\(now.machine.memoryMiB) MiB")
        differ("The kernel", before.machine.kernel, now.machine.kernel)
        differ("The system", before.machine.system, now.machine.system)
        differ("The profile", before.profile, now.profile)
        differ("The seed", "\(before.seed)", "\(now.seed)")
        differ("The network", before.isEmulated ? "emulated" : "loopback", now.isEmulated ? "emulated" : "loopback")
        for name in Set(before.machine.versions.keys).union(now.machine.versions.keys).sorted() {
            differ("\(name)", before.machine.versions[name] ?? "none", now.machine.versions[name] ?? "none")
        }
        for (run, name) in [(old, "The old run"), (new, "The new run")] {
            if run.isPartial { warnings.append("\(name) is not complete.") }
            if !run.isAccurate || !run.belatedSamples.isEmpty {
                warnings.append("\(name)'s emulated network was not accurate.")
            }
        }
        return warnings + self.differentScenarios(before.scenarios, now.scenarios)
    }

    private static func differentScenarios(_ old: [ScenarioRecord], _ new: [ScenarioRecord]) -> [String] {
        let before = Dictionary(old.map { ($0.name, $0) }) { first, _ in first }
        let names = Set(new.map(\.name))
        let gone = old.filter { !names.contains($0.name) }.map { "\($0.name) is in the old run only." }
        return gone
            + new.compactMap { scenario in
                guard let same = before[scenario.name] else { return "\(scenario.name) is in the new run only." }
                guard same.network == scenario.network, same.title == scenario.title else {
                    return "\(scenario.name) is not what it was: \(same.title), \(same.network) before."
                }
                let units = same.metrics.filter { metric in
                    scenario.metrics.contains { $0.key == metric.key && $0.unit != metric.unit }
                }
                return units.isEmpty
                    ? nil
                    : "\(scenario.name) measures \(units.map(\.title).joined(separator: ", ")) in another unit now."
            }
    }
}
