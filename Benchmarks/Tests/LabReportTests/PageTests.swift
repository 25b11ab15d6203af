// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation
internal import Testing

@testable internal import LabReport

@Suite struct PageTests {
    @Test func isWellFormedAndNeedsNothingElse() throws {
        let source = try SyntheticLab.make().run.html()
        let page = try ParsedMarkup(source)
        #expect(!source.contains("http:") && !source.contains("https:"))
        #expect(!source.contains("url(") && !source.contains("@import"))
        #expect(["script", "link", "img", "iframe", "object", "base"].allSatisfy { page.count($0) == 0 })
        #expect(Set(page.ids).count == page.ids.count)
        for element in page.elements {
            if let target = element.attributes["href"] {
                #expect(target.hasPrefix("#") && page.ids.contains(String(target.dropFirst())), "\(target)")
            }
            #expect(element.attributes["src"] == nil)
        }
    }

    @Test func describesEveryPlotForThoseWhoDoNotSeeIt() throws {
        let page = try ParsedMarkup(try SyntheticLab.make().run.html())
        let plots = page.elements.filter { $0.name == "svg" }
        // The overview, 8 metrics, latencies of one scenario, two scenarios over time.
        #expect(plots.count == 12)
        for plot in plots {
            #expect(plot.attributes["role"] == "img")
            let labels = plot.attributes["aria-labelledby"]?.split(separator: " ").map(String.init) ?? []
            #expect(labels.count == 2 && labels.allSatisfy(page.ids.contains))
        }
        #expect(page.count("desc") == plots.count)
    }

    @Test func hasTheFiguresInItsTables() throws {
        var run = try SyntheticRun([.simple(), .simple("bulk", metric: .rate)])
        run.add("messages", "p99", ["quic": [10, 11, 12, 13, 14], "tls": [40, 44, 48, 52, 56]])
        run.add("bulk", "rate", ["quic": [10, 11, 12, 13, 14], "tls": [11, 12, 10, 14, 13]])
        let page = try ParsedMarkup(try run.run.html())
        #expect(
            page.rows(of: "QUIC") == [["QUIC", "12.0 (10.0–14.0)", "5"], ["QUIC", "12.0 (10.0–14.0)", "5"]])
        #expect(
            page.rows(of: "TCP") == [
                ["TCP", "48.0 (40.0–56.0) 4×, worse", "5"], ["TCP", "12.0 (10.0–14.0) 1×, within noise", "5"],
            ])
    }

    @Test func hasThePercentilesOfAllRoundsInATable() throws {
        var run = try SyntheticRun([.simple(contenders: [.quic])])
        for round in 1...2 {
            run.samples.append(
                LabSample(
                    scenario: "messages", contender: "quic", round: round, load: 0, values: ["p99": 1],
                    latenciesMicroseconds: (1...500).map { $0 * 1_000 + (round - 1) * 500_000 }))
        }
        let page = try ParsedMarkup(try run.run.html())
        let percentiles = ["QUIC", "1000", "500.0", "900.0", "990.0", "999.0", "1000.0"]
        #expect(page.rows(of: "QUIC").contains(percentiles))
    }

    @Test func saysNothingThatTheVerdictsDoNotCarry() throws {
        let text = try ParsedMarkup(try SyntheticLab.make(rounds: 3).run.html()).text
        #expect(!text.contains("better by a factor"))
        #expect(!text.contains("Where TCP wins"))
        #expect(text.contains("Every round points to QUIC, but the rounds are too few for a verdict"))
    }

    @Test func saysWhatFailedAndWhatCouldNotRun() throws {
        let text = try ParsedMarkup(try SyntheticLab.make().run.html()).text
        #expect(text.contains("Tern over QUIC failed in every round (5), first with: handshake timed out after 10 s"))
        #expect(text.contains("iperf3 could not run: iperf3 is not installed"))
        #expect(text.contains("nothing over QUIC, which failed in every round; 124\u{a0}ms over TCP."))
    }

    @Test func marksAPartialRunAndAnInaccurateNetwork() throws {
        var synthetic = try SyntheticLab.make()
        synthetic.end = nil
        synthetic.accuracy[1].isGood = false
        let page = try ParsedMarkup(try synthetic.run.html())
        let doubts = page.elements.filter { $0.attributes["class"] == "doubt" }
        #expect(doubts.count == 2)
        #expect(page.text.contains("The run was interrupted"))
        for row in page.rows(of: "QUIC") + page.rows(of: "TCP") where row.contains(where: { $0.contains("(") }) {
            #expect(row.allSatisfy { !$0.contains(" (") || $0.contains("†") }, "\(row)")
        }
    }

    @Test func repeatsTheCommandAsAShellReadsIt() throws {
        var synthetic = try SyntheticLab.make(rounds: 1)
        synthetic.header.arguments = ["run", "--only", "it's; rm -rf /", "", "$HOME"]
        #expect(try synthetic.run.command == #"tern-lab run --only 'it'\''s; rm -rf /' '' '$HOME'"#)
    }

    static let hostile = [
        "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "</style></svg>]]>&amp;&lt;",
        "'><svg onload=x>",
        "\u{0}\u{8}\u{1b}[2J\u{fffe}\u{202e}", "https://example.org/", "javascript:alert(1)", "--><!--",
    ]

    @Test(arguments: Self.hostile)
    func escapesWhateverAFileSays(text: String) throws {
        let run = try Self.hostile(text).run
        for source in [run.html(), RunComparison(old: run, new: run).html()] {
            let page = try ParsedMarkup(source)
            #expect(["script", "img", "iframe", "a:href"].allSatisfy { page.count($0) == 0 })
            #expect(page.elements.allSatisfy { $0.attributes.keys.allSatisfy { !$0.hasPrefix("on") && $0 != "src" } })
            #expect(page.elements.allSatisfy { $0.attributes["href"]?.hasPrefix("#") ?? true })
            #expect(page.count("html") == 1 && page.count("body") == 1 && page.count("style") == 1)
        }
        for picture in run.pictures() { _ = try ParsedMarkup(picture.svg) }
    }

    /// A lab whose every string is this one.
    private static func hostile(_ text: String) throws -> SyntheticRun {
        var run = try SyntheticLab.make(rounds: 4)
        run.header.startedAt = text
        run.header.profile = text
        run.header.arguments = [text]
        run.header.missing = [text]
        run.header.machine.processor = text
        run.header.machine.revision = text
        run.header.machine.versions = [text: text]
        for index in run.accuracy.indices {
            run.accuracy[index].check = text
            run.accuracy[index].unit = text
            run.accuracy[index].isGood = false
        }
        for index in run.header.scenarios.indices {
            let name = "\(index)\(text)"
            for sample in run.samples.indices where run.samples[sample].scenario == run.header.scenarios[index].name {
                run.samples[sample].scenario = name
                run.samples[sample].events?.append(LabEvent(at: 1, source: text, text: text))
                run.samples[sample].timeline?.unit = text
                if run.samples[sample].failure != nil { run.samples[sample].failure = text }
            }
            run.header.scenarios[index].name = name
            run.header.scenarios[index].title = text
            run.header.scenarios[index].summary = text
            run.header.scenarios[index].network = text
            for metric in run.header.scenarios[index].metrics.indices {
                run.header.scenarios[index].metrics[metric].title = text
                run.header.scenarios[index].metrics[metric].unit = text
            }
            for contender in run.header.scenarios[index].contenders.indices {
                run.header.scenarios[index].contenders[contender].title = text
                if contender == 3 { run.header.scenarios[index].contenders[contender].missing = text }
            }
            for expectation in run.header.scenarios[index].expectations.indices {
                run.header.scenarios[index].expectations[expectation].text = text
            }
        }
        return run
    }

    @Test(arguments: [Int.min, .max]) func survivesNumbersThatMakeNoSense(rounds: Int) throws {
        var run = try SyntheticLab.make(rounds: 4)
        run.header.machine.cores = 0
        run.header.machine.memoryMiB = .min
        run.header.rounds = rounds
        run.header.scenarios[0].metrics[0].decimals = .max
        run.header.scenarios[0].metrics[1].decimals = .min
        run.accuracy[0].expected = 0
        let numbers = [1e308, -1e308, 0, -0.0, 1e-300, 1e15, .greatestFiniteMagnitude]
        for (index, number) in zip(run.samples.indices, (0..<1_000).map { numbers[$0 % numbers.count] }) {
            run.samples[index].load = number
            for key in run.samples[index].values.keys { run.samples[index].values[key] = number }
            run.samples[index].latenciesMicroseconds = [.max, .min, 0, index]
            run.samples[index].timeline?.values = numbers
            run.samples[index].timeline?.step = numbers[index % numbers.count]
            run.samples[index].events = numbers.map { LabEvent(at: $0, source: "network", text: "something") }
        }
        run.samples[3].round = .max
        run.samples[4].round = .min
        let read = try run.run
        _ = read.summary(width: 0, color: true)
        _ = try ParsedMarkup(read.html())
        for picture in read.pictures() { _ = try ParsedMarkup(picture.svg) }
        _ = try ParsedMarkup(RunComparison(old: read, new: read).html())
    }

    @Test func showsARunOfNothing() throws {
        let run = try SyntheticRun([]).run
        _ = try ParsedMarkup(run.html())
        #expect(run.pictures().isEmpty)
        #expect(!run.summary(width: 80, color: false).isEmpty)
        var unmeasured = try SyntheticLab.make(rounds: 1)
        unmeasured.samples = []
        let text = try ParsedMarkup(unmeasured.run.html()).text
        #expect(text.contains("not measured in this run"))
    }
}
