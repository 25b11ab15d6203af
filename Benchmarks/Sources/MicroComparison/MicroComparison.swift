// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport

/// What a change did to the micro benchmarks.
///
/// Both sides had their turns alternately. There is a verdict only where every round of one side is better than every round of
/// the other, and the medians are further apart than what is not worth a word: 5 % of a time, half a percent of a count. Of times
/// nothing is said before the fourth round: of three, or two, all of one side are better by chance too often.
package struct MicroComparison: Sendable {
    package enum Verdict: String, Sendable {
        case better, worse
        case same = "–"
        case added = "new"
        case removed = "gone"
    }

    package struct Row: Sendable {
        package var benchmark: String
        package var metric: String
        /// Empty where this side has no such benchmark.
        package var base: [Double]
        package var change: [Double]
        package var verdict: Verdict
    }

    package let rows: [Row]

    package init(base: MicroResults, change: MicroResults) {
        let names = Set(base.values.keys).union(change.values.keys).sorted()
        self.rows = names.flatMap { name in
            Self.metrics.compactMap { metric in
                Self.row(
                    name, metric, base.values[name]?[metric.key] ?? [], change.values[name]?[metric.key] ?? [])
            }
        }
    }

    package var hasRegression: Bool { self.rows.contains { $0.verdict == .worse } }

    /// A table, and a last line that says what to think of it.
    package var text: String {
        guard !self.rows.isEmpty else { return "Nothing was measured.\n" }
        let cells = self.rows.map { row in
            let unit = Self.metrics.first { $0.title == row.metric }
            return [
                row.benchmark, row.metric, Self.cell(row.base, unit), Self.cell(row.change, unit), row.difference,
                row.verdict.rawValue,
            ]
        }
        let head = ["benchmark", "metric", "base", "change", "difference", "verdict"]
        return markdownTable([head] + cells) + "\n\n" + self.summary + "\n"
    }

    private var summary: String {
        let (worse, better) = (self.rows.count { $0.verdict == .worse }, self.rows.count { $0.verdict == .better })
        let rounds = self.rows.map { max($0.base.count, $0.change.count) }.max() ?? 0
        let doubt =
            rounds < Self.roundsForTimes
            ? " Of times nothing is said after fewer than \(Self.roundsForTimes) rounds." : ""
        if worse == 0, better == 0 { return "No difference beyond the noise.\(doubt)" }
        return "Worse: \(worse). Better: \(better). The rest is the same, or within the noise.\(doubt)"
    }
}

extension MicroComparison.Row {
    fileprivate var difference: String {
        guard let before = self.base.sorted().middle, let after = self.change.sorted().middle else { return "" }
        if before == after { return "0 %" }
        guard before > 0 else { return "+\(fixed(after, 0))" }
        let percent = (after / before - 1) * 100
        return "\(percent < 0 ? "−" : "+")\(fixed(abs(percent), 1)) %"
    }
}

extension MicroComparison {
    /// Smaller is better in all of them. Throughput is the time again.
    fileprivate struct Metric {
        var key: String
        var title: String
        /// Differences up to this part of the base are not worth a verdict.
        var negligible: Double
        var isTime = false
    }

    fileprivate static let metrics = [
        Metric(key: "wallClock", title: "time", negligible: 0.05, isTime: true),
        Metric(key: "instructions", title: "instructions", negligible: 0.005),
        Metric(key: "allocations", title: "allocations", negligible: 0.005),
    ]

    private static let roundsForTimes = 4

    private static func row(_ name: String, _ metric: Metric, _ base: [Double], _ change: [Double]) -> Row? {
        let verdict: Verdict
        switch (base.sorted().middle, change.sorted().middle) {
        case (nil, nil): return nil
        case (nil, _): verdict = .added
        case (_, nil): verdict = .removed
        case (let before?, let after?):
            let hasEnough = !metric.isTime || min(base.count, change.count) >= Self.roundsForTimes
            let isApart = hasEnough && abs(after - before) > before * metric.negligible
            if isApart, (change.min() ?? 0) > (base.max() ?? 0) {
                verdict = .worse
            } else if isApart, (change.max() ?? 0) < (base.min() ?? 0) {
                verdict = .better
            } else {
                verdict = .same
            }
        }
        return Row(benchmark: name, metric: metric.title, base: base, change: change, verdict: verdict)
    }

    private static func cell(_ values: [Double], _ metric: Metric?) -> String {
        guard let middle = values.sorted().middle, let low = values.min(), let high = values.max() else { return "" }
        let (scale, unit) = metric?.isTime == true ? (1e-3, " µs") : (1, "")
        let texts = [middle, low, high].map { fixed($0 * scale, metric?.isTime == true ? 1 : 0) }
        return low == high ? texts[0] + unit : "\(texts[0])\(unit) (\(texts[1])–\(texts[2]))"
    }
}
