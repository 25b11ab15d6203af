// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport

/// What a run says about QUIC against TCP by one main metric of one scenario.
package struct Finding: Sendable {
    package let scenario: ScenarioResult
    package let metric: MetricRecord
    package let quic: ContenderResult
    package let tcp: ContenderResult
    /// QUIC is the first.
    package let comparison: Comparison

    /// TCP's value by QUIC's round by round, or the other way round where more is better: above 1 QUIC is ahead.
    package var lead: MedianInterval? {
        self.scenario.roundByRound(self.metric.key, self.quic, self.tcp) { quic, tcp in
            guard quic > 0, tcp > 0 else { return .nan }
            return self.metric.isBetterLower ? tcp / quic : quic / tcp
        }
    }

    /// In plain words, without a claim that the verdict does not carry.
    package var text: String {
        guard let quic = self.comparison.first, let tcp = self.comparison.second else { return self.textOfOne }
        let values =
            "\(self.metric.title) \(self.metric.textWithUnit(quic.median)) over QUIC, "
            + "\(self.metric.textWithUnit(tcp.median)) over TCP"
        switch self.comparison.verdict {
        case .firstIsBetter: return "\(values): \(self.claim(winner: "QUIC"))."
        case .secondIsBetter: return "\(values): \(self.claim(winner: "TCP"))."
        case .withinNoise: return "\(values): no difference that is larger than the noise."
        case .tooFewRounds:
            return "\(values): too few rounds for a verdict (\(min(quic.rounds, tcp.rounds)); "
                + "it takes \(RankTest.leastRounds))."
        case .failures: return "\(values) in the rounds that did not fail; too many did for a verdict."
        case .notMeasured: return self.textOfOne
        }
    }

    /// Whether one of them has a figure and the other has none, because it never got through.
    package var isOfOne: Bool {
        (self.comparison.first == nil) != (self.comparison.second == nil)
    }

    private var textOfOne: String {
        func part(_ contender: ContenderResult, _ interval: MedianInterval?) -> String {
            if let interval { return "\(self.metric.textWithUnit(interval.median)) over \(contender.kind.title)" }
            let why = contender.failures.count == contender.rounds.count ? ", which failed in every round" : ""
            return "nothing over \(contender.kind.title)\(why)"
        }
        let parts = [part(self.quic, self.comparison.first), part(self.tcp, self.comparison.second)]
        return "\(self.metric.title): \(parts.joined(separator: "; "))."
    }

    private func claim(winner: String) -> String {
        guard let advantage = advantage(self.comparison) else { return "\(winner) is better" }
        let text = "\(winner)'s is \(advantage)"
        let isQUIC = self.comparison.verdict == .firstIsBetter
        guard let lead = self.lead, (lead.median > 1) == isQUIC else { return text }
        let (low, high) = isQUIC ? (lead.low, lead.high) : (1 / lead.high, 1 / lead.low)
        let isPart = low > 1 && high < 1.5
        func part(_ factor: Double) -> String {
            guard isPart else { return fixed(factor, high >= 100 ? 0 : high >= 10 ? 1 : 2) }
            return fixed((self.metric.isBetterLower ? 1 - 1 / factor : factor - 1) * 100, 0)
        }
        guard part(low) != part(high) else { return text + " in every round" }
        return text + ", round by round \(part(low)) to \(part(high))\u{a0}\(isPart ? "%" : "times")"
    }
}

/// A sentence about a scenario, with the scenario's name.
package struct Remark: Sendable {
    package let scenario: ScenarioRecord
    package let text: String
}

/// What a run says, sorted by who wins.
package struct Findings: Sendable {
    package private(set) var quicWins: [Finding] = []
    package private(set) var tcpWins: [Finding] = []
    package private(set) var ties: [Finding] = []
    /// Only one of them has a figure.
    package private(set) var ofOne: [Finding] = []
    /// Too few rounds, or failures.
    package private(set) var undecided: [Finding] = []
    package private(set) var failures: [Remark] = []
    package private(set) var auto: [Remark] = []
    package private(set) var notRun: [Remark] = []

    package init(_ run: Run) {
        for scenario in run.results {
            self.compare(scenario)
            self.failures += Self.failures(of: scenario)
            self.auto += Self.auto(in: scenario)
            self.notRun += Self.notRun(of: scenario)
        }
    }

    /// All that could be compared, in the order of the scenarios.
    package private(set) var all: [Finding] = []

    private mutating func compare(_ scenario: ScenarioResult) {
        guard let quic = scenario.representative(of: .quic), let tcp = scenario.representative(of: .tcp) else { return }
        for metric in scenario.mainMetrics {
            let comparison = scenario.comparison(of: metric, quic, tcp)
            let finding = Finding(scenario: scenario, metric: metric, quic: quic, tcp: tcp, comparison: comparison)
            if comparison.verdict != .notMeasured { self.all.append(finding) }
            switch comparison.verdict {
            case .firstIsBetter: self.quicWins.append(finding)
            case .secondIsBetter: self.tcpWins.append(finding)
            case .withinNoise: self.ties.append(finding)
            case .tooFewRounds, .failures: self.undecided.append(finding)
            case .notMeasured where finding.isOfOne: self.ofOne.append(finding)
            case .notMeasured: break
            }
        }
    }

    private static func failures(of scenario: ScenarioResult) -> [Remark] {
        scenario.contenders.compactMap { contender in
            guard let first = contender.failures.first else { return nil }
            let (failed, all) = (contender.failures.count, contender.rounds.count)
            let often = failed == all ? "in every round (\(all))" : "in \(failed) of \(counted(all, "round"))"
            return Remark(
                scenario: scenario.record,
                text: "\(contender.record.title) failed \(often), first with: \(first.reason)")
        }
    }

    private static func notRun(of scenario: ScenarioResult) -> [Remark] {
        if !scenario.hasSamples, scenario.contenders.allSatisfy({ $0.record.missing == nil }) {
            return [Remark(scenario: scenario.record, text: "not measured in this run.")]
        }
        return scenario.contenders.compactMap { contender in
            contender.record.missing.map {
                Remark(scenario: scenario.record, text: "\(contender.record.title) could not run: \($0)")
            }
        }
    }

    /// Whether the contender that may choose its carrier does as well as the better one.
    private static func auto(in scenario: ScenarioResult) -> [Remark] {
        guard let auto = scenario.representative(of: .auto), let quic = scenario.representative(of: .quic),
            let tcp = scenario.representative(of: .tcp), let metric = scenario.mainMetrics.first
        else { return [] }
        let isQUICBetter: Bool
        switch scenario.comparison(of: metric, quic, tcp).verdict {
        case .firstIsBetter: isQUICBetter = true
        case .secondIsBetter: isQUICBetter = false
        default: return []
        }
        let best = isQUICBetter ? quic : tcp
        let comparison = scenario.comparison(of: metric, auto, best)
        let (name, title) = (best.kind.title, metric.title)
        let text: String
        switch comparison.verdict {
        case .withinNoise: text = "\(title) is that of the better carrier, \(name), within the noise."
        case .firstIsBetter: text = "\(title) is even better than that of \(name)\(Self.by(comparison))."
        case .secondIsBetter: text = "\(title) is behind that of the better carrier, \(name)\(Self.by(comparison))."
        case .tooFewRounds, .notMeasured, .failures: return []
        }
        return [Remark(scenario: scenario.record, text: text)]
    }

    private static func by(_ comparison: Comparison) -> String {
        guard let factor = comparison.factor else { return "" }
        return factor >= 1.5 ? ", by a factor of \(fixed(factor, 1))" : ", by \(fixed((factor - 1) * 100, 0))\u{a0}%"
    }
}
