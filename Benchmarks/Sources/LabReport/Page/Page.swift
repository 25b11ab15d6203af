// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport

extension Run {
    /// The report: one file that needs nothing else, neither a network nor a program in the browser. It is XML as well as HTML.
    package func html() -> String {
        Page(run: self).source
    }

    /// How to do the same again, as one would type it.
    package var command: String {
        (["tern-lab"] + self.header.arguments.map(\.quotedForShell)).joined(separator: " ")
    }
}

struct Page {
    let run: Run
    let results: [ScenarioResult]
    let findings: Findings

    init(run: Run) {
        self.run = run
        self.results = run.results
        self.findings = Findings(run)
    }

    var source: String {
        let shown = self.results.filter(\.hasSamples)
        let scenarios = shown.map { ScenarioSection(result: $0, run: self.run, id: self.id(of: $0.record)).markup }
        let main = tag("main", [:], [self.words] + self.expectations + scenarios + [self.machine, self.method])
        let footer = tag("footer", [:], [tag("p", [:], "Made by tern-lab from the raw samples of the run.")])
        return Self.document(
            title: "QUIC and TCP compared, \(self.run.header.startedAt)",
            [self.header, self.contents(shown), main, footer])
    }

    static func document(title: String, _ body: [Markup]) -> String {
        let head = tag(
            "head", [:],
            [
                tag("meta", ["charset": "utf-8"]),
                tag("meta", ["name": "viewport", "content": "width=device-width, initial-scale=1"]),
                // Whatever a run's file says, the page loads nothing and runs nothing.
                tag(
                    "meta",
                    [
                        "http-equiv": "Content-Security-Policy",
                        "content": "default-src 'none'; style-src 'unsafe-inline'",
                    ]),
                tag("title", [:], title),
                tag("style", [:], PageStyle.source),
            ])
        return "<!DOCTYPE html>\n" + tag("html", ["lang": "en"], [head, tag("body", [:], body)]).source + "\n"
    }

    func id(of scenario: ScenarioRecord) -> String {
        "s\(self.results.firstIndex { $0.record.name == scenario.name } ?? 0)"
    }

    private var header: Markup {
        let header = self.run.header
        let facts: [(String, [Markup])] = [
            ("Machine", [.text(self.run.machineLine)]), ("Versions", [.text(self.run.versionsLine)]),
            (
                "Run",
                [
                    .text(
                        "\(header.startedAt), profile \(header.profile), \(counted(header.rounds, "round")), seed \(header.seed)"
                    )
                ]
            ),
            ("Accuracy", [.text(self.accuracyLine)]), ("The same again", [tag("code", [:], self.run.command)]),
        ]
        let doubts =
            header.missing
            + (header.isEmulated ? [] : ["There was no emulated network: only what the loopback shows was measured."])
        return tag(
            "header", [:],
            [
                tag("h1", [:], "QUIC and TCP compared"),
                tag("p", ["class": "lead"], "The same work over QUIC and over TCP with TLS, on one machine, in turns."),
            ] + (self.run.doubts + doubts).map { tag("p", ["class": "doubt", "role": "note"], $0) } + [
                tag("dl", [:], facts.flatMap { [tag("dt", [:], $0.0), tag("dd", [:], $0.1)] })
            ])
    }

    private var accuracyLine: String {
        let checks = self.run.accuracy
        guard self.run.header.isEmulated else { return "no emulated network to check" }
        guard !checks.isEmpty else { return "not checked" }
        let good = checks.filter(\.isGood).count
        let worst = checks.map { $0.expected == 0 ? 0 : abs($0.measured / $0.expected - 1) }.max() ?? 0
        return "\(good) of \(counted(checks.count, "check")) of the emulated network good; "
            + "the largest deviation is \(significant(worst * 100)) %"
    }

    private func contents(_ shown: [ScenarioResult]) -> Markup {
        func item(_ id: String, _ text: String) -> Markup { tag("li", [:], [tag("a", ["href": "#\(id)"], text)]) }
        let items =
            [item("words", "Who wins")] + (self.expectations.isEmpty ? [] : [item("expectations", "Expectations")])
            + shown.map { item(self.id(of: $0.record), $0.record.name) }
            + [item("machine", "Machine"), item("method", "Method")]
        return tag("nav", ["aria-label": "Contents"], [tag("ul", [:], items)])
    }

    /// Who wins, in words that the verdicts carry.
    private var words: Markup {
        let machine = self.run.header.machine
        var content = [
            tag("h2", [:], "Where QUIC wins, and where TCP does"),
            tag(
                "p", [:],
                "On this machine (\(machine.processor), \(counted(machine.cores, "core"))), between Tern over QUIC and Tern over TLS "
                    + "where both ran. A difference that chance explains is not called one."),
        ]
        if let figure = OverviewPlot(findings: self.findings).figure {
            content.append(
                tag(
                    "figure", [:],
                    [
                        figure.inline(id: "overview"),
                        tag(
                            "figcaption", [:],
                            "By which factor one is better than the other, of the medians; the thin lines are the spread round by round. "
                                + "Pale bars carry no verdict. Where UDP is blocked, who insists on QUIC waits or never gets "
                                + "through; Tern's own choice changes to TCP."
                        ),
                    ]))
        }
        content.append(tag("div", ["class": "wins"], self.groups))
        return tag("section", ["id": "words"], content)
    }

    private var groups: [Markup] {
        let groups = self.findings.groups()
        return groups.isEmpty ? [tag("p", [:], "Nothing was compared.")] : groups.map(self.markup)
    }

    private func markup(_ group: FindingGroup) -> Markup {
        var perScenario: [(scenario: ScenarioRecord, texts: [String])] = []
        for remark in group.remarks {
            if perScenario.last?.scenario.name == remark.scenario.name {
                perScenario[perScenario.count - 1].texts.append(remark.text)
            } else {
                perScenario.append((remark.scenario, [remark.text]))
            }
        }
        let items = perScenario.map { scenario, texts in
            let link = tag("a", ["href": "#\(self.id(of: scenario))"], scenario.title)
            return tag("li", [:], [link] + texts.map { tag("div", [:], $0) })
        }
        let style = group.isBad ? "failed" : group.kind.rawValue
        return tag("div", ["class": "group \(style)"], [tag("h3", [:], group.title), tag("ul", [:], items)])
    }

    private var expectations: [Markup] {
        let all = self.results.flatMap { result in result.expectations.map { (result, $0) } }
        guard !all.isEmpty else { return [] }
        let rows = all.map { result, expectation in
            [
                tag("a", ["href": "#\(self.id(of: result.record))"], result.record.name),
                .text(expectation.record.text),
                verdict(expectation, mark: result.mark), .text(expectation.measured),
            ]
        }
        return [
            tag(
                "section", ["id": "expectations"],
                [
                    tag("h2", [:], "What was expected"),
                    table(["Scenario", "Expectation", "Verdict", "Measured"], rows, style: "words"),
                ])
        ]
    }

    private var machine: Markup {
        let machine = self.run.header.machine
        var rows: [[Markup]] = [
            ["Processor", .text("\(machine.processor), \(counted(machine.cores, "core"))")],
            ["Memory", .text("\(machine.memoryMiB) MiB")], ["Kernel", .text(machine.kernel)],
            ["System", .text(machine.system)], ["Load before", .text(significant(self.run.header.load))],
            ["Load after", .text(self.run.end.map { significant($0.load) } ?? "unknown: interrupted")],
            ["Ended", .text(self.run.end?.finishedAt ?? "interrupted")],
            ["Revision", .text(machine.revision + (machine.hasChanges ? ", with changes" : ""))],
        ]
        rows += machine.versions.sorted { $0.key < $1.key }.map { [.text($0.key), .text($0.value)] }
        let checks = self.run.accuracy.map { check -> [Markup] in
            [
                .text(check.check), .text(check.moment), .text("\(significant(check.expected)) \(check.unit)"),
                .text("\(significant(check.measured)) \(check.unit)"),
                .text("±\(significant(check.tolerance * 100)) %"),
                tag("span", ["class": "verdict \(check.isGood ? "good" : "bad")"], check.isGood ? "good" : "off"),
            ]
        }
        var content = [
            tag("h2", [:], "The machine and its emulated network"), table(["What", "Value"], rows, style: "words"),
        ]
        if !checks.isEmpty {
            content.append(tag("h3", [:], "Accuracy of the emulated network"))
            content.append(table(["Check", "When", "Expected", "Measured", "Tolerance", "Verdict"], checks))
        }
        return tag("section", ["id": "machine"], content)
    }

    private var method: Markup {
        tag(
            "section", ["id": "method"],
            [tag("h2", [:], "How this was measured")] + Method.sentences.map { tag("p", [:], $0) })
    }
}

extension String {
    /// As a shell must be given it to see these very characters.
    fileprivate var quotedForShell: String {
        let plain = self.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "-_./=:,@+".contains($0)) }
        return plain && !self.isEmpty ? self : "'" + self.replacing("'", with: "'\\''") + "'"
    }
}

/// A table whose first column names its rows.
func table(_ head: [String], _ rows: [[Markup]], caption: String? = nil, style: String = "") -> Markup {
    let header = tag("thead", [:], [tag("tr", [:], head.map { tag("th", ["scope": "col"], $0) })])
    let body = rows.map { row in
        tag(
            "tr", [:],
            row.enumerated().map { index, cell in
                // Where there is no room for columns, each cell says which one it is of.
                index == 0
                    ? tag("th", ["scope": "row"], [cell])
                    : tag("td", ["data-column": index < head.count ? head[index] : ""], [cell])
            })
    }
    let captions = caption.map { [tag("caption", [:], $0)] } ?? []
    return tag(
        "div",
        ["class": "scroll", "tabindex": "0", "role": "region", "aria-label": caption ?? head.joined(separator: ", ")],
        [tag("table", ["class": style], captions + [header, tag("tbody", [:], body)])])
}

func verdict(_ expectation: ExpectationResult, mark: String) -> Markup {
    let sign =
        switch expectation.verdict {
        case .confirmed: "✓"
        case .refuted: "✗"
        case .undecided: "?"
        case .notMeasured: "–"
        }
    let style = expectation.verdict == .notMeasured ? "muted" : expectation.verdict.rawValue
    return tag("span", ["class": "verdict \(style)"], "\(sign) \(expectation.verdict.rawValue)\(mark)")
}
