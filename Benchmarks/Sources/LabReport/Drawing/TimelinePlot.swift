// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport

/// What arrived over time, each contender in a panel of its own below the same clock, with what happened meanwhile.
struct TimelinePlot {
    let result: ScenarioResult

    /// What sources of events are called.
    static let titles = ["network": "the network", "transport": "the connection", "application": "the application"]

    private let width = 560.0
    private let left = 48.0
    private let panelHeight = 96.0
    private let laneHeight = 15.0
    private let panelGap = 16.0
    private let headHeight = 22.0

    private struct Panel {
        var contender: ContenderResult
        var sample: LabSample
        /// Per second, in the plot's unit.
        var rates: [Double]
        var step: Double
        var others: [(rates: [Double], step: Double)]
    }

    private struct Unit {
        var title: String
        var size: Double
    }

    /// `nil` where nothing was recorded over time.
    var figure: Figure? {
        let all = self.typicalSamples
        let rates = all.flatMap { Self.ratesOf($0.1)?.rates ?? [] }
        guard let largest = TimelineHeight.of(rates) else { return nil }
        let unit = Self.unit(of: all.first?.1.timeline?.unit ?? "", largest: largest)
        let panels = all.compactMap { self.panel($0.0, $0.1, unit) }
        let seconds = Self.seconds(of: panels)
        let time = Scale(kind: .linear, low: 0, high: seconds, from: self.left, to: self.width - 14)
        var content = self.sourceLegend(panels)
        var y = content.isEmpty ? 0 : 24.0
        for panel in panels {
            let drawn = self.draw(panel, y: y, time: time, largest: largest / unit.size, unit: unit)
            content += drawn.content
            y = drawn.bottom + self.panelGap
        }
        y -= self.panelGap
        content.append(
            PlotParts.text("seconds", (self.left + time.to) / 2, y + 31, anchor: "middle", style: "small muted"))
        content += self.timeLabels(time, y: y)
        return Figure(
            title: "\(self.result.record.title): over time", description: self.description(panels, unit),
            width: self.width,
            height: y + 38, content: content)
    }

    private var typicalSamples: [(ContenderResult, LabSample)] {
        let key = self.result.mainMetrics.first?.key
        return self.result.contenders.compactMap { contender in
            contender.typicalRound(by: key).flatMap { Self.ratesOf($0) == nil ? nil : (contender, $0) }
        }
    }

    /// Per second; neighbours are put together where there are more than a plot can show.
    private static func ratesOf(_ sample: LabSample) -> (rates: [Double], step: Double)? {
        guard let timeline = sample.timeline, timeline.step > 1e-6, timeline.step < 1e6, !timeline.values.isEmpty else {
            return nil
        }
        let together = (timeline.values.count + 359) / 360
        let rates = stride(from: 0, to: timeline.values.count, by: together).map { start in
            let stretch = timeline.values[start..<min(start + together, timeline.values.count)]
            return stretch.reduce(0, +) / Double(stretch.count) / timeline.step
        }
        return (rates, timeline.step * Double(together))
    }

    private static func unit(of counted: String, largest: Double) -> Unit {
        guard counted == "bytes" else {
            return Unit(title: "\(counted.harmless.shortened(to: 20)) per second", size: 1)
        }
        return largest >= 1e6
            ? Unit(title: "MB/s", size: 1e6)
            : largest >= 1e3 ? Unit(title: "kB/s", size: 1e3) : Unit(title: "bytes/s", size: 1)
    }

    private func panel(_ contender: ContenderResult, _ sample: LabSample, _ unit: Unit) -> Panel? {
        guard let (rates, step) = Self.ratesOf(sample) else { return nil }
        let others = contender.rounds.values.filter { $0.round != sample.round }.sorted { $0.round < $1.round }.prefix(
            8)
        return Panel(
            contender: contender, sample: sample, rates: rates.map { $0 / unit.size }, step: step,
            others: others.compactMap { other in
                Self.ratesOf(other).map { ($0.rates.map { $0 / unit.size }, $0.step) }
            })
    }

    /// Until the last arrival, or longer where something happened after it, such as attempts that failed.
    private static func seconds(of panels: [Panel]) -> Double {
        let arrivals = panels.map { $0.step * Double($0.rates.count) }.max() ?? 1
        let events = panels.flatMap { $0.sample.eventsMeanwhile.map(\.at) }.filter { $0 < 4 * arrivals }
        return max(arrivals, (events.max() ?? 0) * 1.02)
    }

    private func description(_ panels: [Panel], _ unit: Unit) -> String {
        panels.map { panel in
            let mean = panel.rates.reduce(0, +) / Double(panel.rates.count)
            let events = panel.sample.eventsMeanwhile.prefix(8).map { "\($0.text) at \(significant($0.at)) s" }
            let text = "\(panel.contender.record.title): \(significant(mean)) \(unit.title) on average"
            return events.isEmpty ? text : "\(text); \(events.joined(separator: ", "))"
        }.joined(separator: ". ")
    }

    private func draw(
        _ panel: Panel, y: Double, time: Scale, largest: Double, unit: Unit
    ) -> (content: [Markup], bottom: Double) {
        let lanes = EventLanes(panel.sample.eventsMeanwhile.filter { $0.at <= time.high }, right: self.width) {
            time.place($0)
        }
        let top = y + self.headHeight + self.laneHeight * Double(lanes.lanes) + 4
        let bottom = top + self.panelHeight
        let values = Scale.linear([largest], from: bottom, to: top, ticks: 3)
        let name = PlotText.shortened(panel.contender.record.title, to: 380)
        var content = [
            PlotParts.text(name, 0, y + 14, style: "strong"),
            PlotParts.text(
                "\(unit.title), round \(panel.sample.round) of \(panel.contender.rounds.count)\(Self.cut(panel, above: values.high))",
                self.width - 14,
                y + 14, anchor: "end",
                style: "small muted"),
        ]
        content += self.grid(values, time, top: top, bottom: bottom)
        for other in panel.others {
            content.append(
                PlotParts.path(
                    Self.points(other.rates, other.step, time, values), "faint \(panel.contender.kind.stroke)"))
        }
        let points = Self.points(panel.rates, panel.step, time, values)
        if let first = points.first, let last = points.last {
            let closed = [(first.x, bottom)] + points + [(last.x, bottom)]
            content.append(PlotParts.path(closed, "area \(panel.contender.kind.fill)"))
        }
        content.append(PlotParts.path(points, "curve \(panel.contender.kind.stroke)"))
        content += lanes.labels.flatMap { self.draw($0, top: top, bottom: bottom) }
        return (content, bottom)
    }

    /// What is said of a peak that the scale cuts off.
    private static func cut(_ panel: Panel, above high: Double) -> String {
        guard let peak = panel.rates.max(), peak > high else { return "" }
        return "; a peak of \(significant(peak)) is cut off"
    }

    private static func points(
        _ rates: [Double], _ step: Double, _ time: Scale, _ values: Scale
    ) -> [(x: Double, y: Double)] {
        rates.enumerated().flatMap { index, rate in
            let y = values.place(rate)
            return [(time.place(Double(index) * step), y), (time.place(Double(index + 1) * step), y)]
        }
    }

    private func grid(_ values: Scale, _ time: Scale, top: Double, bottom: Double) -> [Markup] {
        let ticks = values.ticks(3)
        let across = zip(ticks, values.labels(ticks)).flatMap { tick, label in
            let y = values.place(tick)
            return [
                PlotParts.line(self.left, y, time.to, y, "grid"),
                PlotParts.text(label, self.left - 6, y + 4, anchor: "end", style: "small muted"),
            ]
        }
        let down = self.niceTicks(time).map { tick in
            PlotParts.line(time.place(tick), top, time.place(tick), bottom, "grid")
        }
        return across + down + [PlotParts.line(self.left, bottom, time.to, bottom, "axis")]
    }

    private func niceTicks(_ time: Scale) -> [Double] { time.ticks(8) }

    private func timeLabels(_ time: Scale, y: Double) -> [Markup] {
        let ticks = self.niceTicks(time)
        return zip(ticks, time.labels(ticks)).map { tick, label in
            PlotParts.text(label, time.place(tick), y + 15, anchor: "middle", style: "small muted")
        }
    }

    private func draw(_ label: EventLanes.Label, top: Double, bottom: Double) -> [Markup] {
        let source = Self.known(label.event.source)
        let tip = "\(significant(label.event.at)) s, \(label.event.source): \(label.event.text)"
        let from = label.lane.map { top - 8 - self.laneHeight * Double($0) } ?? top
        let line = tag(
            "line",
            [
                "class": "event e-\(source)", "x1": length(label.x), "y1": length(from), "x2": length(label.x),
                "y2": length(bottom),
            ], [tag("title", [:], tip)])
        guard label.lane != nil else { return [line] }
        let x = label.x + (label.isLeft ? -EventLanes.gap : EventLanes.gap)
        let text = tag(
            "text",
            [
                "class": "small m-\(source)", "x": length(x), "y": length(from + 4),
                "text-anchor": label.isLeft ? "end" : "start",
            ], label.text)
        return [line, Self.marker(source, label.x, from), text]
    }

    private static func known(_ source: String) -> String {
        ["network", "transport", "application"].contains(source) ? source : "application"
    }

    /// A shape for each source, so that colour is not all that tells them apart.
    private static func marker(_ source: String, _ x: Double, _ y: Double) -> Markup {
        let (x1, y1) = (length(x), length(y))
        let shape =
            switch source {
            case "network": "M\(length(x - 5)) \(length(y - 4))h10L\(x1) \(length(y + 5))z"
            case "transport":
                "M\(x1) \(length(y - 5))L\(length(x + 5)) \(y1)L\(x1) \(length(y + 5))L\(length(x - 5)) \(y1)z"
            default: "M\(length(x - 4)) \(y1)a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z"
            }
        return tag("path", ["class": "m-\(source)", "d": shape])
    }

    private func sourceLegend(_ panels: [Panel]) -> [Markup] {
        let present = Set(panels.flatMap(\.sample.eventsMeanwhile).map { Self.known($0.source) })
        var x = self.left
        return ["network", "transport", "application"].filter(present.contains).flatMap { source -> [Markup] in
            let title = Self.titles[source] ?? source
            defer { x += PlotText.width(of: title, size: 11) + 30 }
            return [Self.marker(source, x + 5, 9), PlotParts.text(title, x + 16, 13, style: "small muted")]
        }
    }
}

/// How high a plot over time must be. When everything that was held up arrives at once, that moment would make all others
/// flat: such a peak is cut off, and said.
enum TimelineHeight {
    /// `nil` where nothing arrived.
    static func of(_ rates: [Double]) -> Double? {
        let sorted = rates.filter { $0 > 0 && $0.isFinite }.sorted()
        guard let largest = sorted.last else { return nil }
        let usual = sorted[min(sorted.count - 1, sorted.count * 95 / 100)]
        return largest > 6 * usual ? 3 * usual : largest
    }
}
