// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport

/// What became of an expectation.
package struct ExpectationResult: Sendable {
    package enum Verdict: String, Sendable {
        case confirmed, refuted, undecided
        case notMeasured = "not measured"
    }

    package let record: ExpectationRecord
    package let verdict: Verdict
    /// The value, ratio or difference, round by round.
    package let interval: MedianInterval?
    /// Why it is not decided, in a sentence's part.
    package let reason: String?

    init(_ record: ExpectationRecord, in scenario: ScenarioResult) {
        self.record = record
        self.interval = Self.interval(of: record, in: scenario)
        let first = scenario.contender(record.first)
        let second = record.second.flatMap(scenario.contender)
        guard let interval = self.interval else {
            self.verdict = .notMeasured
            self.reason = Self.gap(first) ?? Self.gap(second) ?? "there are no rounds with both"
            return
        }
        let (least, most) = (record.atLeast ?? -.infinity, record.atMost ?? .infinity)
        let isInside = interval.low >= least && interval.high <= most
        let isOutside = interval.low > most || interval.high < least
        let failures = first?.failures.count ?? 0
        if !interval.hasEnoughRounds {
            (self.verdict, self.reason) = (.undecided, "too few rounds: \(interval.rounds)")
        } else if isInside, failures > 0 {
            (self.verdict, self.reason) = (.undecided, "\(record.first) failed in \(counted(failures, "round"))")
        } else if isInside {
            (self.verdict, self.reason) = (.confirmed, nil)
        } else if isOutside {
            (self.verdict, self.reason) = (.refuted, nil)
        } else {
            (self.verdict, self.reason) = (.undecided, "the spread straddles the bound")
        }
    }

    /// Such as "ratio at most 0.2".
    package var bound: String {
        let of =
            switch self.record.relation {
            case .ratio: "ratio"
            case .difference: "difference"
            case .value: "value"
            }
        let bounds = [
            self.record.atLeast.map { "at least \(significant($0))" },
            self.record.atMost.map { "at most \(significant($0))" },
        ]
        return ([of] + [bounds.compactMap { $0 }.joined(separator: ", ")]).joined(separator: " ")
    }

    private static func interval(of record: ExpectationRecord, in scenario: ScenarioResult) -> MedianInterval? {
        guard let first = scenario.contender(record.first) else { return nil }
        if record.relation == .value { return first.spread(record.metric) }
        guard let second = record.second.flatMap(scenario.contender) else { return nil }
        return scenario.roundByRound(record.metric, first, second) { one, other in
            record.relation == .ratio ? one / other : one - other
        }
    }

    private static func gap(_ contender: ContenderResult?) -> String? {
        guard let contender else { return nil }
        let name = contender.record.name
        if let missing = contender.record.missing { return "\(name) could not run: \(missing)" }
        if !contender.failures.isEmpty, contender.failures.count == contender.rounds.count {
            return "\(name) failed in every round"
        }
        return contender.rounds.isEmpty ? "\(name) was not measured" : nil
    }
}
