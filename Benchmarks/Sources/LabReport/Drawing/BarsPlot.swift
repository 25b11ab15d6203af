// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport

/// One metric of a scenario: a bar for each contender, with the interval and every round.
struct BarsPlot {
    let metric: MetricRecord
    let result: ScenarioResult

    private let width = 500.0
    private let top = 26.0
    private let rowHeight = 34.0

    var figure: Figure {
        let contenders = self.result.contenders
        let bottom = self.top + self.rowHeight * Double(contenders.count)
        let title = self.metric.heading
        let better = self.metric.isBetterLower ? "less is better" : "more is better"
        var content = [
            PlotParts.text(PlotText.shortened(title, to: 380), 0, 13, style: "strong"),
            PlotParts.text(better, self.width, 13, anchor: "end", style: "small muted"),
        ]
        content += self.axis(bottom: bottom)
        for (index, (contender, place)) in zip(contenders, contenders.placesInKind).enumerated() {
            content += self.row(contender, place: place, y: self.top + self.rowHeight * Double(index))
        }
        return Figure(
            title: "\(self.result.record.title): \(title)", description: self.description, width: self.width,
            height: bottom + 24, content: content)
    }

    private var description: String {
        self.result.contenders.map { contender in
            let text = contender.spread(self.metric.key).map { self.metric.text($0) } ?? "no value"
            return "\(contender.record.title): \(text)"
        }.joined(separator: "; ")
    }

    private var left: Double {
        let longest = self.result.contenders.map { PlotText.width(of: $0.record.label) }.max() ?? 0
        return min(170, longest + 14)
    }

    private func label(_ contender: ContenderResult) -> String {
        contender.spread(self.metric.key).map { self.metric.text($0.median) + self.result.mark } ?? ""
    }

    /// What a bar is worth of which rounds failed.
    private func note(_ contender: ContenderResult) -> String {
        contender.failures.isEmpty || contender.spread(self.metric.key) == nil
            ? "" : "\(contender.failures.count) of \(contender.rounds.count) failed"
    }

    private var scale: Scale {
        let labels =
            self.result.contenders.map {
                PlotText.width(of: self.label($0), size: 13) + PlotText.width(of: self.note($0), size: 11)
            }.max() ?? 0
        let values = self.result.contenders.flatMap { $0.values(self.metric.key) }
        return .linear(values, from: self.left, to: self.width - labels - 16)
    }

    private func axis(bottom: Double) -> [Markup] {
        let ticks = self.scale.ticks()
        return zip(ticks, self.scale.labels(ticks)).flatMap { tick, label in
            let x = self.scale.place(tick)
            return [
                PlotParts.line(x, self.top - 2, x, bottom, "grid"),
                PlotParts.text(label, x, bottom + 15, anchor: "middle", style: "small muted"),
            ]
        } + [PlotParts.line(self.scale.place(0), self.top - 2, self.scale.place(0), bottom, "axis")]
    }

    private func row(_ contender: ContenderResult, place: Int, y: Double) -> [Markup] {
        let middle = y + self.rowHeight / 2
        let name = PlotText.shortened(contender.record.label, to: self.left - 8)
        let parts = [PlotParts.text(name, self.left - 8, middle + 4, anchor: "end")]
        guard let spread = contender.spread(self.metric.key) else {
            return parts + [PlotParts.text(self.absence(contender), self.left + 8, middle + 4, style: "small muted")]
        }
        let scale = self.scale
        let (zero, end) = (scale.place(0), scale.place(spread.median))
        let shade = ["", "second", "third"][min(place, 2)]
        let tip = "\(contender.record.title): \(self.metric.text(spread)) \(self.metric.unit)\(self.result.mark)"
        let bar = tag(
            "rect",
            [
                "class": "\(contender.kind.fill) \(shade)", "x": length(min(zero, end)), "y": length(middle - 9),
                "width": length(max(1, abs(end - zero))), "height": "18",
            ], [tag("title", [:], tip)])
        let rounds = contender.values(self.metric.key).map { value in
            tag("circle", ["class": "round", "cx": length(scale.place(value)), "cy": length(middle), "r": "2"])
        }
        let (low, high) = (scale.place(spread.low), scale.place(spread.high))
        let largest = contender.values(self.metric.key).max() ?? spread.high
        let whisker = tag(
            "path",
            [
                "class": "whisker",
                "d": "M\(length(low)) \(length(middle - 5))v10m0-5H\(length(high))m0-5v10",
            ])
        let labelStart = max(scale.place(largest), end) + 8
        let noteStart = labelStart + PlotText.width(of: self.label(contender), size: 13) + 6
        return parts + [bar] + rounds + [
            whisker, PlotParts.text(self.label(contender), labelStart, middle + 4, style: "strong"),
            PlotParts.text(self.note(contender), noteStart, middle + 4, style: "small muted"),
        ]
    }

    private func absence(_ contender: ContenderResult) -> String {
        let room = self.width - self.left - 8
        if let missing = contender.record.missing {
            return PlotText.shortened("could not run: \(missing)", to: room, size: 11)
        }
        guard let failure = contender.failures.first else { return "not measured" }
        let often = "failed in \(contender.failures.count) of \(counted(contender.rounds.count, "round"))"
        return PlotText.shortened("\(often): \(failure.reason)", to: room, size: 11)
    }
}
