// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport

/// What a run says about QUIC against TCP by one main metric of one scenario.
package struct Finding: Sendable {
    package let scenario: ScenarioResult
    package let metric: MetricRecord
    /// What both did in the same special way, such as `early` where `quic-early` and `tls-early` are compared.
    package let variant: String?
    package let quic: ContenderResult
    package let tcp: ContenderResult
    /// QUIC is the first.
    package let comparison: Comparison

    /// By which factor QUIC is ahead of TCP; below 1 it is behind.
    package struct Lead: Sendable {
        /// Of the medians that are shown, so that readers find it when they divide one by the other.
        package let factor: Double
        /// Between these it is round by round.
        package let low: Double
        package let high: Double
        package let rounds: Int
    }

    /// `nil` where there is nothing to divide, or where only one got through.
    package var lead: Lead? {
        guard !self.isOfOne, let quic = self.comparison.first?.median, let tcp = self.comparison.second?.median,
            let factor = self.ahead(quic, tcp),
            let rounds = self.scenario.roundByRound(
                self.metric.key, self.quic, self.tcp, { self.ahead($0, $1) ?? .nan })
        else { return nil }
        return Lead(factor: factor, low: rounds.low, high: rounds.high, rounds: rounds.rounds)
    }

    private func ahead(_ quic: Double, _ tcp: Double) -> Double? {
        guard quic > 0, tcp > 0 else { return nil }
        return self.metric.isBetterLower ? tcp / quic : quic / tcp
    }

    /// Such as "first byte, early".
    package var title: String { self.variant.map { "\(self.metric.title), \($0)" } ?? self.metric.title }

    /// Who is better in every single round and clearly, where the rounds are too few for a verdict.
    package var hint: ContenderKind? {
        guard self.comparison.verdict == .tooFewRounds, let lead = self.lead, lead.rounds > 1 else { return nil }
        return lead.low > 1.1 ? .quic : lead.high < 1 / 1.1 ? .tcp : nil
    }

    /// In plain words, without a claim that the verdict does not carry.
    package var text: String {
        guard !self.isOfOne, let quic = self.comparison.first, let tcp = self.comparison.second else {
            return self.textOfOne
        }
        let values =
            "\(self.title.capitalizedFirst) \(self.metric.textWithUnit(quic.median)) over QUIC, "
            + "\(self.metric.textWithUnit(tcp.median)) over TCP"
        let says =
            switch self.comparison.verdict {
            case .firstIsBetter: "\(values): \(self.claim(winner: "QUIC"))"
            case .secondIsBetter: "\(values): \(self.claim(winner: "TCP"))"
            case .withinNoise: "\(values): no difference that is larger than the noise"
            case .tooFewRounds, .failures, .notMeasured: values
            }
        let failed = [self.quic, self.tcp].filter { !$0.failures.isEmpty }.map {
            "\($0.kind.title) failed in \($0.failures.count) of \(counted($0.rounds.count, "round"))"
        }
        return ([says] + failed).joined(separator: "; ") + "."
    }

    /// Whether one of them got through and the other never did: what that one measured until it gave up says nothing.
    package var isOfOne: Bool { self.winnerOfOne != nil }

    /// The only one that got through.
    package var winnerOfOne: ContenderKind? {
        let quic = self.comparison.first != nil && !self.quic.failedAlways
        let tcp = self.comparison.second != nil && !self.tcp.failedAlways
        return quic == tcp ? nil : quic ? .quic : .tcp
    }

    private var textOfOne: String {
        func part(_ contender: ContenderResult, _ interval: MedianInterval?) -> String {
            if contender.failedAlways { return "nothing over \(contender.kind.title), which failed in every round" }
            guard let interval else { return "nothing over \(contender.kind.title)" }
            return "\(self.metric.textWithUnit(interval.median)) over \(contender.kind.title)"
        }
        let parts = [part(self.quic, self.comparison.first), part(self.tcp, self.comparison.second)]
        return "\(self.title.capitalizedFirst): \(parts.joined(separator: "; "))."
    }

    /// In factors, as the overview has them.
    private func claim(winner: String) -> String {
        guard let lead = self.lead else { return "\(winner) is better" }
        let isQUIC = self.comparison.verdict == .firstIsBetter
        let (factor, low, high) =
            isQUIC ? (lead.factor, lead.low, lead.high) : (1 / lead.factor, 1 / lead.high, 1 / lead.low)
        let text = "\(winner) is better by a factor of \(factorText(factor))"
        let (least, most) = (factorText(low), factorText(high))
        return least == most ? text + " in every round" : text + ", round by round \(least) to \(most)"
    }
}

/// Findings or remarks of one sort.
package struct FindingGroup: Sendable {
    package let title: String
    /// Whose colour it has; `other` without one.
    package let kind: ContenderKind
    package let isBad: Bool
    package let remarks: [Remark]
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
    /// Too few rounds for a verdict, but the same in every one.
    package private(set) var pointsToQUIC: [Finding] = []
    package private(set) var pointsToTCP: [Finding] = []
    /// Too few rounds.
    package private(set) var tooFew: [Finding] = []
    /// The better one failed more often.
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

    /// All that there is to say, who wins first; groups of nothing are left out.
    package func groups() -> [FindingGroup] {
        func group(
            _ title: String, _ remarks: [Remark], _ kind: ContenderKind = .other, isBad: Bool = false
        ) -> FindingGroup {
            FindingGroup(title: title, kind: kind, isBad: isBad, remarks: remarks)
        }
        func of(_ findings: [Finding]) -> [Remark] {
            findings.map { Remark(scenario: $0.scenario.record, text: $0.text + $0.scenario.mark) }
        }
        let few = "the rounds are too few for a verdict"
        let groups = [
            group("Where QUIC wins", of(self.quicWins), .quic), group("Where TCP wins", of(self.tcpWins), .tcp),
            group("Every round points to QUIC, but \(few)", of(self.pointsToQUIC), .quic),
            group("Every round points to TCP, but \(few)", of(self.pointsToTCP), .tcp),
            group("No difference larger than the noise", of(self.ties)),
            group("Only one got through", of(self.ofOne), isBad: true),
            group("Not decided: \(few)", of(self.tooFew)),
            group("Not decided: the better one failed more often", of(self.undecided), isBad: true),
            group("What Tern does where it may choose", self.auto, .auto),
            group("What failed", self.failures, isBad: true),
            group("What could not run", self.notRun),
        ]
        return groups.filter { !$0.remarks.isEmpty }
    }

    /// All that could be compared, in the order of the scenarios.
    package private(set) var all: [Finding] = []

    private mutating func compare(_ scenario: ScenarioResult) {
        for pair in scenario.pairs {
            for metric in scenario.mainMetrics { self.compare(scenario, pair, metric) }
        }
    }

    private mutating func compare(_ scenario: ScenarioResult, _ pair: ScenarioResult.Pair, _ metric: MetricRecord) {
        let comparison = scenario.comparison(of: metric, pair.quic, pair.tcp)
        let finding = Finding(
            scenario: scenario, metric: metric, variant: pair.variant, quic: pair.quic, tcp: pair.tcp,
            comparison: comparison)
        if comparison.verdict != .notMeasured || finding.isOfOne { self.all.append(finding) }
        guard !finding.isOfOne else { return self.ofOne.append(finding) }
        switch comparison.verdict {
        case .firstIsBetter: self.quicWins.append(finding)
        case .secondIsBetter: self.tcpWins.append(finding)
        case .withinNoise: self.ties.append(finding)
        case .tooFewRounds where finding.hint == .quic: self.pointsToQUIC.append(finding)
        case .tooFewRounds where finding.hint == .tcp: self.pointsToTCP.append(finding)
        case .tooFewRounds: self.tooFew.append(finding)
        case .failures: self.undecided.append(finding)
        case .notMeasured: break
        }
    }

    private static func failures(of scenario: ScenarioResult) -> [Remark] {
        scenario.contenders.compactMap { contender in
            guard let first = contender.failures.first else { return nil }
            let (failed, all) = (contender.failures.count, contender.rounds.count)
            let often = failed == all ? "in every round (\(all))" : "in \(failed) of \(counted(all, "round"))"
            return Remark(
                scenario: scenario.record,
                text: "\(contender.record.title) failed \(often), first with: \(first.reason.shortened(to: 160))")
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
        let (name, title) = (best.kind.title, metric.title.capitalizedFirst)
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
        comparison.factor.map { ", by a factor of \(factorText($0))" } ?? ""
    }
}
