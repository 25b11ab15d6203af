// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Testing

@testable internal import LabReport

@Suite struct ResultTests {
    @Test func neverCountsTheWarmUp() throws {
        var run = try SyntheticRun([.simple()])
        run.add("messages", "p99", ["quic": [1, 2, 3, 4]])
        run.samples.append(
            LabSample(scenario: "messages", contender: "quic", round: 0, load: 0, values: ["p99": 1_000]))
        run.samples.append(
            LabSample(scenario: "messages", contender: "quic", round: -1, load: 0, values: ["p99": 1_000]))
        let result = try #require(try run.run.results.first?.contender("quic"))
        #expect(result.values("p99") == [1, 2, 3, 4])
    }

    @Test func takesARoundThatIsThereTwiceAsItWasLast() throws {
        var run = try SyntheticRun([.simple()])
        run.add("messages", "p99", ["quic": [1, 2]])
        run.samples.append(LabSample(scenario: "messages", contender: "quic", round: 1, load: 0, values: ["p99": 9]))
        #expect(try run.run.results.first?.contender("quic")?.values("p99") == [9, 2])
    }

    static let fifth = ExpectationRecord(
        text: "at most a fifth", metric: "p99", first: "quic", second: "tls", relation: .ratio, atMost: 0.2)

    @Test(arguments: [
        ([10.0, 11, 12, 13], ExpectationResult.Verdict.confirmed), ([30.0, 31, 32, 33], .refuted),
        ([10.0, 11, 12, 33], .undecided), ([10.0, 11, 12], .undecided), ([], .notMeasured),
    ])
    func comparesExpectationsRoundByRound(quic: [Double], verdict: ExpectationResult.Verdict) throws {
        var run = try SyntheticRun([.simple(expectations: [Self.fifth])])
        run.add("messages", "p99", ["quic": quic, "tls": [100, 100, 100, 100]])
        let result = try #require(try run.run.results.first?.expectations.first)
        #expect(result.verdict == verdict)
        #expect((result.reason == nil) == (verdict == .confirmed || verdict == .refuted))
    }

    @Test func pairsTheRoundsThatBothHave() throws {
        var run = try SyntheticRun([.simple(expectations: [Self.fifth])])
        run.add("messages", "p99", ["quic": [10, 20, 30, 40, 50], "tls": [100, 200, 300, 400, 500]])
        run.samples.removeAll { $0.contender == "tls" && $0.round == 3 }
        let interval = try #require(try run.run.results.first?.expectations.first?.interval)
        #expect(interval.rounds == 4)
        #expect((interval.low, interval.high) == (0.1, 0.1))
    }

    @Test func doesNotConfirmWhatFailed() throws {
        var run = try SyntheticRun([.simple(expectations: [Self.fifth])])
        run.add("messages", "p99", ["quic": [10, 11, 12, 13], "tls": [100, 100, 100, 100]])
        run.samples.append(
            LabSample(scenario: "messages", contender: "quic", round: 5, load: 0, values: [:], failure: "gone"))
        let result = try #require(try run.run.results.first?.expectations.first)
        #expect(result.verdict == .undecided)
        #expect(result.reason == "quic failed in 1 round")
    }

    @Test func saysWhyAnExpectationWasNotMeasured() throws {
        let missing = ContenderRecord(name: "tls", title: "TLS", kind: "tcp", missing: "no TCP here")
        var run = try SyntheticRun([.simple(contenders: [.quic, missing], expectations: [Self.fifth])])
        run.add("messages", "p99", ["quic": [10, 11, 12, 13]])
        let result = try #require(try run.run.results.first?.expectations.first)
        #expect(result.verdict == .notMeasured)
        #expect(result.reason == "tls could not run: no TCP here")
    }

    @Test func sortsWhatItFindsByWhoWins() throws {
        let findings = Findings(try SyntheticLab.make().run)
        func names(_ findings: [Finding]) -> [String] { findings.map { "\($0.scenario.record.name) \($0.metric.key)" } }
        #expect(names(findings.quicWins) == ["messages-loss p99", "handover gap", "handover bytes", "connect cold"])
        #expect(names(findings.tcpWins) == ["bulk-clean rate", "bulk-clean cpu"])
        #expect(names(findings.ties) == ["connect resumed"])
        #expect(names(findings.ofOne) == ["udp-blocked first"])
        #expect(findings.undecided.isEmpty)
        #expect(findings.failures.map(\.text).first?.contains("failed in every round (5)") == true)
        #expect(findings.notRun.map(\.text) == ["iperf3 could not run: iperf3 is not installed"])
    }

    @Test func saysByHowMuchInTheMetricsOwnDirection() throws {
        var run = try SyntheticRun([.simple("low"), .simple("high", metric: .rate)])
        run.add("low", "p99", ["quic": [10, 10, 10, 10], "tls": [40, 40, 40, 40]])
        run.add("high", "rate", ["quic": [80, 80, 80, 80], "tls": [100, 100, 100, 100]])
        let findings = Findings(try run.run)
        #expect(
            findings.quicWins.map(\.text) == [
                "p99 10.0\u{a0}ms over QUIC, 40.0\u{a0}ms over TCP: QUIC is better by a factor of 4.0 in every round."
            ])
        #expect(
            findings.tcpWins.map(\.text) == [
                "Throughput 80.0\u{a0}MB/s over QUIC, 100.0\u{a0}MB/s over TCP: TCP is better by a factor of 1.25 in every round."
            ])
    }

    @Test func saysTheSameFactorInWordsAndInTheOverview() throws {
        var run = try SyntheticRun([.simple()])
        // Round by round 4.8, 3.0, 2.7, 2.5: their median is 2.85; the medians that are shown are 12 and 35.
        run.add("messages", "p99", ["quic": [10, 11, 13, 14], "tls": [48, 33, 35, 35]])
        let findings = Findings(try run.run)
        #expect(
            findings.quicWins.map(\.text) == [
                "p99 12.0\u{a0}ms over QUIC, 35.0\u{a0}ms over TCP: QUIC is better by a factor of 2.9, "
                    + "round by round 2.5 to 4.8."
            ])
        let picture = try #require(try run.run.pictures().first { $0.name == "overview" })
        #expect(try ParsedMarkup(picture.svg).text.contains("2.9× QUIC"))
    }

    @Test func measuresNobodyAgainstWhoNeverGotThrough() throws {
        var run = try SyntheticRun([.simple()])
        run.add("messages", "p99", ["quic": [12_800, 12_801, 12_802, 12_803], "tls": [40, 41, 42, 43]])
        for index in run.samples.indices where run.samples[index].contender == "quic" {
            run.samples[index].failure = "nothing came back"
        }
        let findings = Findings(try run.run)
        #expect(
            findings.ofOne.map(\.text) == [
                "p99: nothing over QUIC, which failed in every round; 41.5\u{a0}ms over TCP."
            ])
        #expect(findings.tcpWins.isEmpty && findings.undecided.isEmpty)
        let picture = try #require(try run.run.pictures().first { $0.name == "overview" })
        let text = try ParsedMarkup(picture.svg).text
        #expect(text.contains("only over TCP") && !text.contains("308"))
    }

    @Test func writesAddressesAsPeopleDo() throws {
        var run = try SyntheticRun([.simple()])
        run.add("messages", "p99", ["quic": [1]])
        run.samples[0].events = [
            ("path-changed: the path is now [IPv4]0.0.0.0/0.0.0.0:60904 to [IPv4]10.77.0.1/10.77.0.1:41617"),
            ("moved to [IPv4]10.77.2.2:60904"), ("moved to [IPv6]::1/::1:80"), ("from [IPv6]:::7"), ("a-b"),
        ].map { LabEvent(at: 1, source: "transport", text: $0) }
        #expect(
            try run.run.samples[0].eventsInOrder.map(\.text) == [
                "the path is now port 60904 to 10.77.0.1:41617", "moved to 10.77.2.2:60904", "moved to ::1:80",
                "from port 7", "a-b",
            ])
    }

    @Test func claimsNothingFromTooFewRounds() throws {
        let findings = Findings(try SyntheticLab.make(rounds: 3).run)
        #expect(findings.quicWins.isEmpty && findings.tcpWins.isEmpty && findings.ties.isEmpty && findings.auto.isEmpty)
        #expect(findings.undecided.isEmpty && !findings.pointsToQUIC.isEmpty && !findings.pointsToTCP.isEmpty)
        #expect(findings.all.allSatisfy { !$0.text.contains("is better") })
    }

    @Test func namesTheFailuresBesideTheFigures() throws {
        var run = try SyntheticRun([.simple()])
        run.add("messages", "p99", ["quic": [10, 11, 12, 13], "tls": [40, 44, 48, 52]])
        run.samples[7].failure = "3 of 100 messages were not answered"
        #expect(Findings(try run.run).quicWins.first?.text.hasSuffix("; TCP failed in 1 of 4 rounds.") == true)
        run.samples[0].failure = "as above"
        run.samples[1].failure = "as above"
        let findings = Findings(try run.run)
        #expect(findings.quicWins.isEmpty)
        #expect(
            findings.undecided.first?.text.hasSuffix("; QUIC failed in 2 of 4 rounds; TCP failed in 1 of 4 rounds.")
                == true)
    }

    @Test func hintsOnlyAtWhatEveryRoundShows() throws {
        var run = try SyntheticRun([.simple("one"), .simple("other")])
        run.add("one", "p99", ["quic": [10, 11], "tls": [20, 22]])
        run.add("other", "p99", ["quic": [10, 11], "tls": [20, 9]])
        let findings = Findings(try run.run)
        #expect(findings.pointsToQUIC.map(\.scenario.record.name) == ["one"])
        #expect(findings.tooFew.map(\.scenario.record.name) == ["other"])
        #expect(findings.pointsToTCP.isEmpty)
    }

    @Test func comparesThoseWhoDifferInTheSameWay() throws {
        let contenders = [
            ContenderRecord.quic, .tls, ContenderRecord(name: "quic-early", title: "QUIC, early", kind: "quic"),
            ContenderRecord(name: "quic-odd", title: "QUIC, odd", kind: "quic"),
            ContenderRecord(name: "tls-early", title: "TLS, early", kind: "tcp"),
        ]
        var run = try SyntheticRun([.simple(contenders: contenders)])
        for (index, contender) in contenders.enumerated() {
            run.add("messages", "p99", [contender.name: [10, 11, 12, 13].map { $0 * Double(index + 1) }])
        }
        let findings = Findings(try run.run).all
        #expect(findings.map(\.title) == ["p99", "p99, early"])
        #expect(findings.map(\.tcp.record.name) == ["tls", "tls-early"])
    }

    @Test func comparesWhatRanWhereTernDidNot() throws {
        let foreign = ContenderRecord(name: "nginx-curl", title: "nginx and curl", kind: "tcp")
        let missing = ContenderRecord(name: "tls", title: "TLS", kind: "tcp", missing: "not here")
        var run = try SyntheticRun([.simple(contenders: [.quic, missing, foreign])])
        run.add("messages", "p99", ["quic": [1, 1, 1, 1], "nginx-curl": [2, 2, 2, 2]])
        #expect(Findings(try run.run).quicWins.first?.tcp.record.name == "nginx-curl")
    }
}
