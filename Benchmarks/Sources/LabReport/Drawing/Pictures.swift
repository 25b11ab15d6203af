// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport

extension Run {
    /// Pictures that stand alone, each with its background and with what a reader must know, such as for a README: the overview of
    /// all scenarios, the latencies under loss, the throughput through a handover, and the first bytes. Those of which the run
    /// has nothing are left out.
    /// - Returns: names without an extension, and the SVG files' content.
    package func pictures() -> [(name: String, svg: String)] {
        let results = self.results.filter(\.hasSamples)
        var pictures: [(name: String, svg: String)] = []
        if let figure = OverviewPlot(findings: Findings(self)).figure {
            let subheading =
                "By which factor one is better; the thin lines are the spread round by round"
            pictures.append(("overview", self.picture(figure, "QUIC against TCP", subheading)))
        }
        let withLatencies = Self.preferred(results.filter { LatencyPlot(result: $0).figure != nil }, "loss")
        if let result = withLatencies, let figure = LatencyPlot(result: result).figure {
            pictures.append(("latency-loss", self.picture(figure, result)))
        }
        let overTime = results.filter { TimelinePlot(result: $0).figure != nil }
        if let result = Self.preferred(overTime, "handover"), let figure = TimelinePlot(result: result).figure {
            pictures.append(("handover", self.picture(figure, result)))
        }
        if let result = results.first(where: {
            $0.record.name.contains("connect") || $0.record.name.contains("first-byte")
        }),
            let metric = result.mainMetrics.first
        {
            pictures.append(
                ("first-byte", self.picture(BarsPlot(metric: metric, result: result).figure, result)))
        }
        return pictures
    }

    private static func preferred(_ results: [ScenarioResult], _ word: String) -> ScenarioResult? {
        results.first { $0.record.name.contains(word) } ?? results.first
    }

    private func picture(_ figure: Figure, _ result: ScenarioResult) -> String {
        self.picture(figure, result.record.title, result.record.network)
    }

    private func picture(_ figure: Figure, _ heading: String, _ subheading: String) -> String {
        let machine = self.header.machine
        var caption =
            "\(self.header.startedAt.prefix(10)) · Tern \(machine.revision.prefix(8)) · \(machine.processor), "
        caption += "\(counted(machine.cores, "core")) · \(counted(self.header.rounds, "round"))"
        if !self.isAccurate || !self.belatedSamples.isEmpty {
            caption += " · \(Self.mark) the emulated network was not accurate"
        }
        if self.isPartial { caption += " · interrupted" }
        return figure.alone(heading: heading, subheading: subheading, caption: caption)
    }
}
