// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Testing

@testable internal import LabReport

@Suite struct TerminalTests {
    @Test(arguments: [40, 80, 200])
    func keepsToTheWidth(width: Int) throws {
        let text = try SyntheticLab.make().run.summary(width: width, color: false)
        // Figures are never cut, so a very narrow terminal may wrap the line of a bar.
        for line in text.split(separator: "\n") where width >= 80 { #expect(line.count <= width, "\(line)") }
        #expect(!text.contains("\u{1b}"))
    }

    @Test func showsFiguresPlotsAndVerdicts() throws {
        var run = try SyntheticRun([
            .simple(expectations: [
                ExpectationRecord(text: "within 15", metric: "p99", first: "quic", relation: .value, atMost: 15)
            ])
        ])
        run.add("messages", "p99", ["quic": [10, 11, 12, 13], "tls": [20, 22, 24, 26]])
        let text = try run.run.summary(width: 80, color: false)
        #expect(text.contains("11.5 (10.0–13.0)"))
        #expect(text.contains("23.0 (20.0–26.0)"))
        #expect(text.contains("✓ confirmed: within 15"))
        #expect(text.contains("Where QUIC wins"))
        #expect(text.contains("2 of 2 checks good"))
        #expect(text.contains("4 of 5 rounds"))
    }

    @Test func marksEveryResultWhereTheNetworkWasNotAccurate() throws {
        var synthetic = try SyntheticLab.make()
        synthetic.accuracy[0].isGood = false
        synthetic.accuracy[0].measured = 55
        let text = try synthetic.run.summary(width: 100, color: false)
        #expect(text.contains("! The emulated network did not do what it was told"))
        for line in text.split(separator: "\n") where line.contains("█") && line.contains("(") {
            #expect(line.contains("†"), "\(line)")
        }
    }

    @Test func marksTheResultsOfAScenarioThatTheMachineDidNotKeepUpWith() throws {
        var synthetic = try SyntheticLab.make()
        func lines() throws -> (marked: Set<String>, doubts: Int) {
            let run = try synthetic.run
            return (
                Set(run.results.filter { !$0.mark.isEmpty }.map(\.record.name)),
                run.doubts.count { $0.contains("did not keep up") }
            )
        }
        func carry(late: Int, lost: Int, in round: Int) {
            for index in synthetic.samples.indices {
                let isIt = synthetic.samples[index].scenario == "handover" && synthetic.samples[index].round == round
                synthetic.samples[index].carrying = CarryingRecord(
                    packets: 1_000, latePackets: isIt ? late : 10, worstSeconds: 0.003, lostPackets: isIt ? lost : 0)
            }
        }
        #expect(try lines() == ([], 0))
        carry(late: 10, lost: 0, in: 2)
        #expect(try lines() == ([], 0))
        // The warm-up does not count.
        carry(late: 900, lost: 9, in: 0)
        #expect(try lines() == ([], 0))
        carry(late: 11, lost: 0, in: 2)
        #expect(try lines() == (["handover"], 1))
        carry(late: 0, lost: 1, in: 2)
        #expect(try lines() == (["handover"], 1))
        let text = try synthetic.run.summary(width: 100, color: false)
        #expect(text.contains("! The machine did not keep up with the emulated network"))
        #expect(text.contains("†"))
    }

    @Test func saysWhatTheMachineLacksAndThatItWasBusy() throws {
        var synthetic = try SyntheticLab.make()
        synthetic.header.isEmulated = false
        synthetic.header.missing = ["/dev/net/tun cannot be opened."]
        synthetic.header.load = 3.5
        let text = try synthetic.run.summary(width: 100, color: false)
        #expect(text.contains("! No emulated network"))
        #expect(text.contains("! /dev/net/tun cannot be opened."))
        #expect(text.contains("! The machine was busy when the run began: its load was 3.5 on 2 cores."))
    }

    @Test func lendsTheTerminalToNoFile() throws {
        var synthetic = try SyntheticLab.make()
        synthetic.header.scenarios[0].title = "\u{1b}[31mred\u{7}\u{202e}"
        synthetic.header.scenarios[0].name = "\u{1b}c"
        synthetic.header.scenarios[0].contenders[0].name = "quic\u{9b}2J"
        synthetic.header.profile = "\u{1b}]0;title\u{7}"
        for index in synthetic.samples.indices { synthetic.samples[index].failure = "\u{1b}[2J\r\n" }
        let text = try synthetic.run.summary(width: 100, color: false)
        #expect(
            text.unicodeScalars.allSatisfy { $0 == "\n" || ($0.value >= 0x20 && !(0x7F..<0xA0).contains($0.value)) })
        #expect(!text.unicodeScalars.contains("\u{202e}"))
    }

    @Test func drawsBarsAndSparklinesThatFit() {
        #expect(TerminalPlot.bar(8, of: 8, width: 4) == "████")
        #expect(TerminalPlot.bar(3, of: 8, width: 4) == "█▌")
        #expect(TerminalPlot.bar(0.001, of: 8, width: 4) == "▏")
        #expect(TerminalPlot.bar(.infinity, of: 8, width: 4).isEmpty)
        #expect(TerminalPlot.bar(-1, of: 0, width: 4).isEmpty)
        #expect(TerminalPlot.sparkline([0, 1, 2, 4, 8], of: 8, width: 10) == "·▂▃▅█")
        #expect(TerminalPlot.sparkline([1, 1, 8, 8], of: 8, width: 2) == "▂█")
        #expect(TerminalPlot.sparkline([.infinity, .nan, 1e308], of: 8, width: 3).count == 3)
    }
}
