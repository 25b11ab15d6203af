// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation

/// How long what part of a scenario's single measurements took: the part that takes longer is on a logarithmic scale, so that the
/// rare long ones, which users notice, have as much room as the rest.
struct LatencyPlot {
    let result: ScenarioResult

    private let width = 520.0
    private let plotHeight = 208.0
    private let left = 56.0

    private var contenders: [ContenderResult] { self.result.contenders.filter { !$0.latencies.isEmpty } }

    /// `nil` without single measurements.
    var figure: Figure? {
        let contenders = self.contenders
        guard !contenders.isEmpty else { return nil }
        let curves = contenders.map { $0.latencies.curve() }
        let least = max(1e-7, curves.flatMap { $0 }.map(\.slowerPart).min() ?? 1e-3)
        let right = self.width - 14
        let legend = PlotParts.legend(contenders, left: self.left, right: right, y: 13)
        let top = legend.bottom + 31
        let bottom = top + self.plotHeight
        let values = Scale.fitting(curves.flatMap { $0.map(\.milliseconds) }, from: bottom, to: top)
        let parts = Scale(kind: .logarithmic, low: 1, high: min(0.1, least) * 0.9, from: self.left, to: right)
        var content = legend.content
        content += PlotParts.valueAxis(values, left: self.left, right: right, title: "ms\(Self.note(values))")
        content += self.partAxis(parts, least: least, top: top, bottom: bottom)
        for (index, curve) in curves.enumerated() {
            let points = curve.map { (Self.place($0.slowerPart, on: parts), values.place($0.milliseconds)) }
            let style = "curve \(contenders[index].kind.curve) dash\(min(contenders.placesInKind[index], 3))"
            content.append(PlotParts.path(points, style))
        }
        return Figure(
            title: "\(self.result.record.title): latencies", description: self.description, width: self.width,
            height: bottom + 40, content: content)
    }

    private var description: String {
        self.contenders.map { contender in
            let parts = LatencyDistribution.shown.map { "\($0.title) \(contender.latencies.text(at: $0.quantile))" }
            return "\(contender.record.title), ms: \(parts.joined(separator: ", "))"
        }.joined(separator: "; ")
    }

    private static func note(_ scale: Scale) -> String { scale.kind == .logarithmic ? ", logarithmic" : "" }

    /// The scale runs from 1 down, which ``Scale`` does not.
    private static func place(_ part: Double, on scale: Scale) -> Double {
        let distance = log(1 / max(part, scale.high)) / log(1 / scale.high)
        return scale.from + min(max(distance, 0), 1) * (scale.to - scale.from)
    }

    private func partAxis(_ scale: Scale, least: Double, top: Double, bottom: Double) -> [Markup] {
        let ticks: [(part: Double, label: String)] = [
            (1, "0 %"), (0.5, "50 %"), (0.1, "90 %"), (0.01, "99 %"), (1e-3, "99.9 %"), (1e-4, "99.99 %"),
            (1e-5, "99.999 %"), (1e-6, "99.9999 %"),
        ]
        let marks = ticks.filter { $0.part >= least * 0.95 || $0.part >= 0.1 }.flatMap { tick in
            let x = Self.place(tick.part, on: scale)
            return [
                PlotParts.line(x, top, x, bottom, "grid"),
                PlotParts.text(tick.label, x, bottom + 15, anchor: "middle", style: "small muted"),
            ]
        }
        let title = PlotParts.text(
            "part of the measurements that took no longer", (self.left + scale.to) / 2, bottom + 33, anchor: "middle",
            style: "small muted")
        return marks + [PlotParts.line(self.left, bottom, scale.to, bottom, "axis"), title]
    }
}
