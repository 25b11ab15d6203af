// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport

/// A scenario on the page: what it does, what was expected, bars, distributions, what happened over time, and the tables.
struct ScenarioSection {
    let result: ScenarioResult
    let run: Run
    let id: String

    var markup: Markup {
        let record = self.result.record
        let content =
            [
                tag("h2", [:], record.title), tag("p", [:], record.summary),
                tag("p", ["class": "network"], "\(record.name) · \(record.network)"),
            ] + self.expectations + self.bars + [self.values] + self.failures + self.latencies + self.timeline
        return tag("section", ["id": self.id], content)
    }

    private var able: [ContenderResult] { self.result.contenders.filter { !$0.rounds.isEmpty } }

    private func name(_ contender: ContenderResult) -> Markup {
        tag(
            "span", ["title": contender.record.title],
            [tag("span", ["class": "swatch \(contender.kind.rawValue)"]), .text(contender.record.label)])
    }

    private var expectations: [Markup] {
        let all = self.result.expectations
        guard !all.isEmpty else { return [] }
        let rows = all.map { [Markup.text($0.record.text), verdict($0, mark: self.result.mark), .text($0.measured)] }
        return [table(["Expectation", "Verdict", "Measured"], rows, style: "words")]
    }

    private var bars: [Markup] {
        let figures = self.result.mainMetrics.enumerated().map { index, metric in
            let figure = BarsPlot(metric: metric, result: self.result).figure
            return tag("figure", [:], [figure.inline(id: "\(self.id)-b\(index)")])
        }
        return figures.isEmpty ? [] : [tag("div", ["class": "pair"], figures)]
    }

    /// Every metric of every contender, and for the main ones whether the difference to the first contender counts.
    private var values: Markup {
        let metrics = self.result.record.metrics
        let contenders = self.result.contenders
        var caption = "Median of the rounds, and the interval that holds the true one with at least 85 %."
        if let first = self.able.first { caption += " Below: against \(first.record.label), by the medians." }
        // The fewer are the columns: a table that is wider than the page is cut off.
        guard metrics.count <= contenders.count + 2 else {
            let rows = metrics.map { metric in
                [.text(metric.heading)] + contenders.map { self.cell(metric, $0) }
            }
            let rounds = [Markup.text("Rounds")] + contenders.map { .text(self.rounds($0)) }
            return table(["Metric"] + contenders.map(\.record.label), rows + [rounds], caption: caption)
        }
        let rows = contenders.map { contender in
            [self.name(contender)] + metrics.map { self.cell($0, contender) } + [.text(self.rounds(contender))]
        }
        return table(["Contender"] + metrics.map(\.heading) + ["Rounds"], rows, caption: caption)
    }

    private func cell(_ metric: MetricRecord, _ contender: ContenderResult) -> Markup {
        guard let spread = contender.spread(metric.key) else { return "–" }
        var parts = [Markup.text(metric.text(spread.median) + self.result.mark)]
        if let interval = metric.spreadText(spread) { parts.append(tag("span", ["class": "spread"], " \(interval)")) }
        if metric.isMain, let first = self.able.first, first.record.name != contender.record.name {
            parts.append(tag("span", ["class": "against"], " \(self.against(first, contender, metric))"))
        }
        return tag("span", [:], parts)
    }

    private func against(_ first: ContenderResult, _ contender: ContenderResult, _ metric: MetricRecord) -> String {
        let comparison = self.result.comparison(of: metric, contender, first)
        guard let one = comparison.first, let other = comparison.second else { return "–" }
        let ratio = other.median == 0 ? "" : "\(significant(one.median / other.median))×, "
        switch comparison.verdict {
        case .firstIsBetter: return ratio + "better"
        case .secondIsBetter: return ratio + "worse"
        case .withinNoise: return ratio + "within noise"
        case .tooFewRounds: return ratio + "too few rounds"
        case .failures: return ratio + "no verdict: failures"
        case .notMeasured: return "–"
        }
    }

    private func rounds(_ contender: ContenderResult) -> String {
        if contender.record.missing != nil { return "could not run" }
        let measured = contender.rounds.count
        let text =
            measured < self.result.expectedRounds ? "\(measured) of \(self.result.expectedRounds)" : "\(measured)"
        return contender.failures.isEmpty ? text : "\(text), \(contender.failures.count) failed"
    }

    private var failures: [Markup] {
        let rows = self.result.contenders.flatMap { contender in
            contender.failures.prefix(20).map { failure -> [Markup] in
                [self.name(contender), .text("\(failure.round)"), .text(failure.reason.shortened(to: 600))]
            }
        }
        let missing = self.result.contenders.compactMap { contender in
            contender.record.missing.map {
                tag("p", ["class": "muted"], "\(contender.record.title) could not run: \($0)")
            }
        }
        guard !rows.isEmpty else { return missing }
        return missing + [tag("h3", [:], "What failed"), table(["Contender", "Round", "Why"], rows, style: "words")]
    }

    private var latencies: [Markup] {
        guard let figure = LatencyPlot(result: self.result).figure else { return [] }
        let rows = self.able.filter { !$0.latencies.isEmpty }.map { contender in
            [self.name(contender), .text("\(contender.latencies.count)")]
                + LatencyDistribution.shown.map {
                    .text(contender.latencies.text(at: $0.quantile, mark: self.result.mark))
                }
        }
        let head = ["Contender", "Times"] + LatencyDistribution.shown.map(\.title)
        return [
            tag("h3", [:], "Single measurements of all rounds"),
            tag(
                "div", ["class": "beside"],
                [
                    tag("figure", [:], [figure.inline(id: "\(self.id)-l")]),
                    table(head, rows, caption: "Milliseconds that this part of the measurements took at most"),
                ]),
        ]
    }

    private var whichRound: String {
        guard self.able.contains(where: { $0.rounds.count > 1 }) else { return "The only round." }
        let by = self.result.mainMetrics.first.map { " by its figure for \($0.title)" } ?? ""
        return "Of each contender, the round in the middle\(by); the others are pale."
    }

    private var timeline: [Markup] {
        guard let figure = TimelinePlot(result: self.result).figure else { return [] }
        let key = self.result.mainMetrics.first?.key
        let typical = self.able.compactMap { contender in contender.typicalRound(by: key).map { (contender, $0) } }
        let rows = typical.compactMap { contender, sample in
            sample.timeline.map { timeline -> [Markup] in
                [
                    self.name(contender), .text("\(sample.round)"), .text(timeline.text(timeline.values.reduce(0, +))),
                    .text("\(significant(timeline.step * Double(timeline.values.count))) s"),
                    .text("\(significant(timeline.longestPause)) s"),
                ]
            }
        }
        let events = typical.flatMap { contender, sample in
            sample.eventsInOrder.prefix(100).map { event -> [Markup] in
                [
                    self.name(contender), .text("\(fixed(event.at, 3)) s"),
                    .text(TimelinePlot.titles[event.source] ?? event.source), .text(event.text),
                ]
            }
        }
        var content = [
            tag("h3", [:], "Over time"),
            tag(
                "figure", [:],
                [
                    figure.inline(id: "\(self.id)-t"),
                    tag(
                        "figcaption", [:],
                        self.whichRound
                    ),
                ]),
            table(["Contender", "Round", "In all", "Time", "Longest pause"], rows),
        ]
        if !events.isEmpty {
            let summary = tag("summary", [:], "The \(counted(events.count, "event")) as a table")
            let rows = table(["Contender", "At", "Source", "Event"], events, style: "words")
            content.append(tag("details", [:], [summary, rows]))
        }
        return content
    }
}

extension Timeline {
    /// The longest time without anything, in seconds.
    fileprivate var longestPause: Double {
        var (longest, current) = (0, 0)
        for value in self.values {
            current = value > 0 ? 0 : current + 1
            longest = max(longest, current)
        }
        return Double(longest) * self.step
    }

    fileprivate func text(_ total: Double) -> String {
        guard self.unit == "bytes" else { return "\(significant(total)) \(self.unit)" }
        return total >= 1e6 ? "\(significant(total / 1e6)) MB" : "\(significant(total / 1e3)) kB"
    }
}
