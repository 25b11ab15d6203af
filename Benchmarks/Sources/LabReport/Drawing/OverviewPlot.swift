// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation

/// All scenarios at a glance: how many times better QUIC or TCP is, round by round, on one scale.
struct OverviewPlot {
    let findings: Findings

    private let width = 560.0
    private let left = 170.0
    private let top = 30.0
    private let rowHeight = 20.0
    /// Of the line with a scenario's title.
    private let titleHeight = 24.0
    /// For the figures on the right.
    private let room = 126.0

    /// `nil` where nothing could be compared.
    var figure: Figure? {
        let findings = self.findings.all
        guard !findings.isEmpty else { return nil }
        let scale = self.scale(findings)
        var (rows, bottom): ([Markup], Double) = ([], self.top)
        for (index, finding) in findings.enumerated() {
            if index == 0 || findings[index - 1].scenario.record.name != finding.scenario.record.name {
                rows += self.title(of: finding.scenario, y: bottom)
                bottom += self.titleHeight
            }
            rows += self.row(finding, y: bottom, scale)
            bottom += self.rowHeight
        }
        return Figure(
            title: "QUIC against TCP in all scenarios",
            description: findings.map { "\($0.scenario.record.name): \($0.text)" }.joined(separator: " "),
            width: self.width,
            height: bottom + 24, content: self.axis(scale, bottom: bottom) + rows)
    }

    private func scale(_ findings: [Finding]) -> Scale {
        let leads = findings.compactMap(\.lead).flatMap { [$0.low, $0.factor, $0.high] }
        return .logarithmic(leads + [0.5, 2], from: self.left, to: self.width - self.room)
    }

    private func axis(_ scale: Scale, bottom: Double) -> [Markup] {
        let one = scale.place(1)
        let ticks = Self.ticks(scale).flatMap { tick in
            let x = scale.place(tick)
            let label = tick == 1 ? "same" : "\(significant(tick < 1 ? 1 / tick : tick))×"
            return [
                PlotParts.line(x, self.top - 4, x, bottom, "grid"),
                PlotParts.text(label, x, bottom + 15, anchor: "middle", style: "small muted"),
            ]
        }
        let left = PlotText.width(of: "◀ TCP is better") < one - self.left ? "◀ TCP is better" : "◀ TCP"
        return ticks + [
            PlotParts.text(left, one - 10, 14, anchor: "end", style: "strong f-tcp"),
            PlotParts.text("QUIC is better ▶", one + 10, 14, style: "strong f-quic"),
            PlotParts.line(one, self.top - 4, one, bottom, "axis"),
        ]
    }

    /// The same factors on both sides.
    private static func ticks(_ scale: Scale) -> [Double] {
        let decades = log10(scale.high / scale.low)
        let factors: [Double] = decades > 5 ? [1] : decades > 2.2 ? [1, 3] : [1, 2, 5]
        let right = (0...15).flatMap { exponent in factors.map { $0 * pow(10, Double(exponent)) } }
        let all = right.dropFirst().map { 1 / $0 } + right
        return all.filter { $0 >= scale.low * 0.999 && $0 <= scale.high * 1.001 }
    }

    private func title(of scenario: ScenarioResult, y: Double) -> [Markup] {
        let title = PlotText.shortened(scenario.record.title, to: self.width)
        let text = PlotParts.text(title, 0, y + self.titleHeight - 7, style: "strong")
        // Above it the axis goes through nothing.
        return y > self.top ? [PlotParts.line(0, y + 3, self.width, y + 3, "grid"), text] : [text]
    }

    private func row(_ finding: Finding, y: Double, _ scale: Scale) -> [Markup] {
        let middle = y + self.rowHeight / 2
        let title = PlotText.shortened(finding.title, to: self.left - 10, size: 11)
        return [PlotParts.text(title, self.left - 8, middle + 4, anchor: "end", style: "small muted")]
            + self.bar(finding, middle: middle, scale)
    }

    private func bar(_ finding: Finding, middle: Double, _ scale: Scale) -> [Markup] {
        let right = self.width
        if let winner = finding.winnerOfOne {
            return [
                PlotParts.text(
                    "only over \(winner.title)\(finding.scenario.mark)", right, middle + 4, anchor: "end",
                    style: "strong \(winner.fill)")
            ]
        }
        guard let lead = finding.lead else {
            return [PlotParts.text("no ratio", right, middle + 4, anchor: "end", style: "small muted")]
        }
        let (one, end) = (scale.place(1), scale.place(lead.factor))
        let (style, label): (String, String)
        switch finding.comparison.verdict {
        case .firstIsBetter: (style, label) = ("f-quic", Self.factor(lead.factor))
        case .secondIsBetter: (style, label) = ("f-tcp", Self.factor(lead.factor))
        case .withinNoise: (style, label) = ("hollow f-other s-other", "within noise")
        case .tooFewRounds:
            let kind = finding.hint ?? .other
            (style, label) = ("hollow \(kind.fill) \(kind.stroke)", "\(Self.factor(lead.factor)), few rounds")
        case .failures, .notMeasured: (style, label) = ("hollow f-other s-other", "failures")
        }
        let isVerdict = style.hasPrefix("f-")
        let (low, high) = (scale.place(lead.low), scale.place(lead.high))
        return [
            tag(
                "rect",
                [
                    "class": style, "x": length(min(one, end)), "y": length(middle - 6),
                    "width": length(max(1.5, abs(end - one))), "height": "12",
                ], [tag("title", [:], "\(finding.scenario.record.name): \(finding.text)")]),
            tag(
                "path",
                ["class": "whisker", "d": "M\(length(low)) \(length(middle - 4))v8m0-4H\(length(high))m0-4v8"]),
            PlotParts.text(
                label + finding.scenario.mark, right, middle + 4, anchor: "end",
                style: isVerdict ? "strong" : "small muted"),
        ]
    }

    private static func factor(_ lead: Double) -> String {
        let factor = factorText(max(lead, 1 / lead))
        return factor == "1.00" ? "1.00×" : "\(factor)× \(lead < 1 ? "TCP" : "QUIC")"
    }
}
