// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport

extension Run {
    /// What the run says, for a terminal.
    /// - Parameters:
    ///   - width: of the terminal, in characters.
    ///   - color: whether it may be written to with colours.
    package func summary(width: Int, color: Bool) -> String {
        TerminalSummary(run: self, style: TerminalStyle(width: width, color: color)).text
    }

    /// The machine in a line.
    var machineLine: String {
        let machine = self.header.machine
        let memory = "\(machine.memoryMiB) MiB"
        return [machine.processor, counted(machine.cores, "core"), memory, machine.kernel, machine.system]
            .joined(separator: " · ")
    }

    var versionsLine: String {
        let machine = self.header.machine
        let versions = machine.versions.filter { !$0.value.isEmpty && $0.value != "unknown" }
        let revision = machine.revision.prefix(12) + (machine.hasChanges ? " with changes" : "")
        return (["Tern \(revision)"] + versions.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" })
            .joined(separator: " · ")
    }
}

private struct TerminalSummary {
    let run: Run
    let style: TerminalStyle

    var text: String {
        let results = self.run.results
        var lines = self.head
        for result in results where result.hasSamples { lines += [""] + self.scenario(result) }
        lines += [""] + self.findings
        lines += [""] + self.style.wrapped(Method.brief, look: .dim)
        return lines.joined(separator: "\n") + "\n"
    }

    private var head: [String] {
        let header = self.run.header
        var lines = [
            self.style.paint(
                "Lab run of \(header.startedAt.harmless) · profile \(header.profile.harmless) · "
                    + "\(counted(header.rounds, "round")) · seed \(header.seed)", .bold)
        ]
        lines += self.style.wrapped(self.run.machineLine) + self.style.wrapped(self.run.versionsLine, look: .dim)
        if !self.run.accuracy.isEmpty {
            let good = self.run.accuracy.filter(\.isGood).count
            let text = "Accuracy of the emulated network: \(good) of \(counted(self.run.accuracy.count, "check")) good"
            lines += self.style.wrapped(text, look: self.run.isAccurate ? .good : .bad)
        }
        if !header.isEmulated {
            lines += self.marked("No emulated network: only what the loopback shows was measured.")
        }
        for text in header.missing + self.run.doubts { lines += self.marked(text) }
        return lines
    }

    private func marked(_ text: String) -> [String] { self.style.wrapped(text, lead: "! ", look: .warning) }

    private func scenario(_ result: ScenarioResult) -> [String] {
        let record = result.record
        var lines = [self.style.rule(record.name)]
        lines +=
            self.style.wrapped(record.title, lead: "  ") + self.style.wrapped(record.network, lead: "  ", look: .dim)
        for metric in result.mainMetrics { lines += self.bars(metric, result) }
        lines += self.otherMetrics(result) + self.latencies(result) + self.timelines(result)
        for expectation in result.expectations { lines += self.expectation(expectation, result.mark) }
        return lines
    }

    private func bars(_ metric: MetricRecord, _ result: ScenarioResult) -> [String] {
        let rows = result.contenders.map { ($0, $0.spread(metric.key)) }
        guard let largest = rows.compactMap({ $0.1?.median }).max() else { return [] }
        let names = rows.map { $0.0.record.name.harmless.count }.max() ?? 0
        let texts = rows.map { $0.1.map { metric.text($0) + result.mark } ?? "–" }
        // Longer bars say no more.
        let room = max(8, min(48, self.style.width - names - (texts.map(\.count).max() ?? 0) - 8))
        let better = metric.isBetterLower ? "less is better" : "more is better"
        var lines = ["  " + metric.heading.harmless + self.style.paint("  (\(better))", .dim)]
        for (row, text) in zip(rows, texts) {
            let (contender, spread) = row
            let name = contender.record.name.harmless
            let bar = spread.map { TerminalPlot.bar($0.median, of: largest, width: room) } ?? ""
            let padded = String(repeating: " ", count: names - name.count) + name
            let note = self.note(contender, result)
            lines.append(
                "    \(padded)  " + self.style.paint(bar, TerminalStyle.Look(contender.kind)) + (bar.isEmpty ? "" : " ")
                    + text + self.style.paint(note, .warning))
        }
        return lines
    }

    /// What a reader must know of a contender before its figures.
    private func note(_ contender: ContenderResult, _ result: ScenarioResult) -> String {
        if let missing = contender.record.missing { return "  missing: \(missing.harmless)" }
        let rounds = contender.rounds.count
        var notes: [String] = []
        if !contender.failures.isEmpty { notes.append("failed in \(contender.failures.count) of \(rounds)") }
        if rounds < result.expectedRounds { notes.append("\(rounds) of \(result.expectedRounds) rounds") }
        return notes.isEmpty ? "" : "  " + notes.joined(separator: ", ")
    }

    private func otherMetrics(_ result: ScenarioResult) -> [String] {
        let able = result.contenders.filter { !$0.rounds.isEmpty }
        let metrics = result.record.metrics.filter { metric in
            !metric.isMain && able.contains { !$0.values(metric.key).isEmpty }
        }
        guard !metrics.isEmpty else { return [] }
        let rows = able.map { contender in
            let cells = metrics.map { metric in contender.spread(metric.key).map { metric.text($0) } ?? "–" }
            return ([contender.record.name] + cells, TerminalStyle.Look(contender.kind))
        }
        return [""] + self.style.table([""] + metrics.map(\.heading), rows, indent: 4)
    }

    private func latencies(_ result: ScenarioResult) -> [String] {
        let able = result.contenders.filter { !$0.latencies.isEmpty }
        guard !able.isEmpty else { return [] }
        let rows = able.map { contender in
            let cells = LatencyDistribution.shown.map { contender.latencies.text(at: $0.quantile) }
            return (
                [contender.record.name, "\(contender.latencies.count)"] + cells, TerminalStyle.Look(contender.kind)
            )
        }
        return [""]
            + self.style.table(["ms of all rounds", "times"] + LatencyDistribution.shown.map(\.title), rows, indent: 4)
    }

    private func timelines(_ result: ScenarioResult) -> [String] {
        let key = result.mainMetrics.first?.key
        let typical = result.contenders.compactMap { contender in
            contender.typicalRound(by: key).map { (contender, $0) }
        }
        let longest = typical.compactMap { $0.1.timeline.map { $0.step * Double($0.values.count) } }.max() ?? 1
        let largest = TimelineHeight.of(typical.flatMap { $0.1.timeline?.values ?? [] }) ?? 0
        guard largest > 0 else { return [] }
        let names = typical.map { $0.0.record.name.harmless.count }.max() ?? 0
        var lines = ["", "    " + self.style.paint("over time, the round in the middle", .dim)]
        for (contender, sample) in typical {
            guard let timeline = sample.timeline else { continue }
            let name = contender.record.name.harmless
            let seconds = timeline.step * Double(timeline.values.count)
            let tail = " \(significant(seconds)) s"
            // As long as its time, so that those below each other have one clock.
            let part = longest > 0 && seconds > 0 && seconds <= longest ? seconds / longest : 1
            let room = Int((Double(min(72, self.style.width - names - tail.count - 6)) * part).rounded(.up))
            let line = TerminalPlot.sparkline(timeline.values, of: largest, width: room)
            let padded = String(repeating: " ", count: names - name.count) + name
            lines.append("    \(padded)  " + self.style.paint(line, TerminalStyle.Look(contender.kind)) + tail)
            let events = sample.eventsMeanwhile.prefix(6).map { "\(significant($0.at)) s \($0.text)" }
            guard !events.isEmpty else { continue }
            let more = sample.eventsMeanwhile.count > 6 ? " …" : ""
            let lead = String(repeating: " ", count: names + 6)
            lines += self.style.wrapped(events.joined(separator: "; ") + more, lead: lead, look: .dim)
        }
        return lines
    }

    private func expectation(_ result: ExpectationResult, _ mark: String) -> [String] {
        let (sign, look): (String, TerminalStyle.Look) =
            switch result.verdict {
            case .confirmed: ("✓", .good)
            case .refuted: ("✗", .bad)
            case .undecided: ("?", .warning)
            case .notMeasured: ("–", .dim)
            }
        let text = "\(sign) \(result.verdict.rawValue): \(result.record.text) (\(result.measured))\(mark)"
        return self.style.wrapped(text, lead: "  ", look: look)
    }

    private var findings: [String] {
        let groups = Findings(self.run).groups().flatMap { group in
            [self.style.paint(group.title, .bold)]
                + group.remarks.flatMap { self.style.wrapped("\($0.scenario.name): \($0.text)", lead: "  · ") }
        }
        return [self.style.rule("QUIC or TCP")] + (groups.isEmpty ? ["Nothing was compared."] : groups)
    }
}
