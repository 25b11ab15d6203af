// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation

extension RunComparison {
    /// Such as "3 better, 1 worse, 12 within noise".
    package var conclusion: String {
        let order: [Change] = [.worse, .better, .withinNoise, .failures, .tooFewRounds, .notMeasured]
        let parts = order.compactMap { change -> String? in
            let count = self.rows.count { $0.change == change }
            return count == 0 ? nil : "\(count) \(change.rawValue)"
        }
        return parts.isEmpty ? "The runs have nothing in common." : parts.joined(separator: ", ") + "."
    }

    /// For a terminal: a table for each scenario, with what changed first in words.
    package func text(width: Int, color: Bool) -> String {
        let style = TerminalStyle(width: width, color: color)
        var lines = [style.paint("\(self.title(of: self.old)) → \(self.title(of: self.new))".harmless, .bold)]
        for warning in self.warnings { lines += style.wrapped(warning, lead: "! ", look: .warning) }
        lines += [style.paint(self.conclusion, self.hasRegression ? .bad : .good)]
        var names: [String] = []
        for row in self.rows where !names.contains(row.scenario) { names.append(row.scenario) }
        for name in names {
            let ofScenario = self.rows.filter { $0.scenario == name }
            let longest = ofScenario.map(\.contender.name.count).max() ?? 0
            let rows = ofScenario.map { row in
                let figures = self.figures(row)
                let name = row.contender.name.padding(toLength: longest + 2, withPad: " ", startingAt: 0) + figures[3]
                return (cells: [name, row.change.rawValue] + figures.prefix(3), look: Self.look(row.change))
            }
            lines += ["", style.rule(name)] + style.table(["", "", "new : old", "old", "new"], rows)
        }
        lines += [""] + style.wrapped(Self.method, look: .dim)
        return lines.joined(separator: "\n") + "\n"
    }

    /// A page of its own.
    package func html() -> String {
        let head = ["Scenario", "Contender", "Metric", "Old", "New", "New : old", "Verdict"]
        let rows = self.rows.map { row -> [Markup] in
            let figures = self.figures(row)
            let style = row.change == .worse ? "bad" : row.change == .better ? "good" : "muted"
            return [
                .text(row.scenario),
                tag(
                    "span", [:],
                    [
                        tag(
                            "span",
                            ["class": "swatch \((ContenderKind(rawValue: row.contender.kind) ?? .other).rawValue)"]),
                        .text(row.contender.name),
                    ]),
                .text(figures[3]), .text(figures[1]), .text(figures[2]), .text(figures[0]),
                tag("span", ["class": "verdict \(style)"], row.change.rawValue),
            ]
        }
        let header = tag(
            "header", [:],
            [
                tag("h1", [:], "Two runs compared"),
                tag("p", ["class": "lead"], "\(self.title(of: self.old)) → \(self.title(of: self.new))"),
            ] + self.warnings.map { tag("p", ["class": "doubt", "role": "note"], $0) })
        let main = tag(
            "main", [:],
            [
                tag(
                    "section", [:],
                    [
                        tag("h2", [:], self.conclusion), table(head, rows, style: "changes"),
                        tag("p", ["class": "muted"], Self.method),
                    ])
            ])
        return Page.document(title: "Two lab runs compared", [header, main])
    }

    private static let method =
        "Medians of the rounds with the interval that holds the true one with at least 85 %. A change counts when it is at least "
        + "5 % and Mann and Whitney's exact test on the rounds gives chance less than 5 %; what changed on the machine between "
        + "the runs is in it."

    private func title(of run: Run) -> String {
        let machine = run.header.machine
        return "\(run.header.startedAt) (\(machine.revision.prefix(8))\(machine.hasChanges ? " with changes" : ""))"
    }

    /// The ratio, the old and the new figure, and what they are of.
    private func figures(_ row: Row) -> [String] {
        if let failures = row.failures { return ["–", failures.old, failures.new, row.metric.title] }
        func text(_ interval: MedianInterval?, _ run: Run) -> String {
            interval.map { row.metric.text($0) + run.mark(of: row.scenario) } ?? "–"
        }
        return [
            row.ratio.map { fixed($0, 2) } ?? "–", text(row.comparison.first, self.old),
            text(row.comparison.second, self.new),
            row.metric.heading,
        ]
    }

    private static func look(_ change: Change) -> TerminalStyle.Look? {
        switch change {
        case .better: .good
        case .worse: .bad
        case .withinNoise, .tooFewRounds, .notMeasured, .failures: nil
        }
    }
}
