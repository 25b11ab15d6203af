// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport

/// What the samples of a workload say, as text.
struct Report {
    let workload: Workload
    let profile: Profile
    let samples: [SampleRecord]

    var text: String {
        var lines = [
            "## \(self.workload.name)", "", self.workload.summary(self.profile) + ".",
            "Median (minimum–maximum) of \(self.workload.rounds(of: self.profile)) rounds in turns.", "", self.table,
            "",
        ]
        lines += self.workload.ratios.compactMap(self.text(of:))
        for contender in self.workload.contenders(self.profile) {
            guard let missing = contender.missing else { continue }
            lines.append("\(contender.name) is missing from the comparison: \(missing).")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// The figures with a target, and whether they reach it.
    var figures: [FigureRecord] {
        let ratios = self.workload.ratios.compactMap { ratio -> FigureRecord? in
            guard let goal = ratio.goal, let spread = self.spread(of: ratio) else { return nil }
            return FigureRecord(figure: goal, bound: ratio.bound, spread: spread)
        }
        let goals = self.workload.goals.compactMap { goal -> FigureRecord? in
            Spread(self.values(goal.key, of: goal.of).map(\.value)).map {
                FigureRecord(figure: goal.figure, bound: goal.bound, spread: $0)
            }
        }
        return ratios + goals
    }

    private var table: String {
        let head = [self.workload.name] + self.workload.columns.map(\.title)
        let rows = self.workload.contenders(self.profile).map { contender in
            [contender.name]
                + self.workload.columns.map { column in
                    Spread(self.values(column.key, of: contender.name).map(\.value))?
                        .text(decimals: column.decimals) ?? "–"
                }
        }
        return markdownTable([head] + rows)
    }

    /// Each round is compared with itself: what disturbed the machine for longer than a round drops out.
    private func text(of ratio: Ratio) -> String? {
        guard let spread = self.spread(of: ratio) else { return nil }
        let title = self.workload.columns.first { $0.key == ratio.key }?.title ?? ratio.key
        return "\(ratio.of) : \(ratio.to), \(title), round by round: \(spread.text(decimals: 2))"
    }

    private func spread(of ratio: Ratio) -> Spread? {
        let base = Dictionary(self.values(ratio.key, of: ratio.to)) { first, _ in first }
        let ratios = self.values(ratio.key, of: ratio.of).compactMap { round, value in
            base[round].map { value / $0 }
        }
        return Spread(ratios)
    }

    private func values(_ key: String, of contender: String) -> [(key: Int, value: Double)] {
        self.samples.filter { $0.contender == contender }.compactMap { sample in
            sample.values[key].map { (sample.round, $0) }
        }
    }
}
