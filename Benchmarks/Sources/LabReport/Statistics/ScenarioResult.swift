// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// What a run says about one scenario.
package struct ScenarioResult: Sendable {
    package let record: ScenarioRecord
    /// In the scenario's order, those who could not run included.
    package let contenders: [ContenderResult]
    package let expectedRounds: Int
    /// Goes behind every result.
    let mark: String

    package init(_ record: ScenarioRecord, of run: Run) {
        let samples = Dictionary(grouping: run.samples.filter { $0.scenario == record.name }, by: \.contender)
        self.record = record
        self.expectedRounds = max(0, run.header.rounds)
        self.mark = run.mark(of: record.name)
        var names: Set<String> = []
        self.contenders = record.contenders.filter { names.insert($0.name).inserted }.map {
            ContenderResult($0, samples: samples[$0.name] ?? [])
        }
    }

    package var mainMetrics: [MetricRecord] { self.record.metrics.filter(\.isMain) }
    package var hasSamples: Bool { self.contenders.contains { !$0.rounds.isEmpty } }

    package func contender(_ name: String) -> ContenderResult? {
        self.contenders.first { $0.record.name == name }
    }

    /// Who stands for a kind where QUIC and TCP are compared: Tern where it ran, otherwise the first of the kind that did.
    package func representative(of kind: ContenderKind) -> ContenderResult? {
        let own = ["quic", "tls", "auto"]
        let able = self.contenders.filter { $0.kind == kind && !$0.rounds.isEmpty }
        return able.first { own.contains($0.record.name) } ?? able.first
    }

    /// A contender over QUIC and the one over TCP that did the same.
    package struct Pair: Sendable {
        package let variant: String?
        package let quic: ContenderResult
        package let tcp: ContenderResult
    }

    /// The representatives, and those whose names say that they differ from them in the same way.
    package var pairs: [Pair] {
        guard let quic = self.representative(of: .quic), let tcp = self.representative(of: .tcp) else { return [] }
        let variants = self.contenders.compactMap { contender -> Pair? in
            guard contender.kind == .quic, contender.record.name.hasPrefix("quic-"), !contender.rounds.isEmpty else {
                return nil
            }
            let variant = String(contender.record.name.dropFirst(5))
            guard let other = self.contender("tls-\(variant)"), other.kind == .tcp, !other.rounds.isEmpty else {
                return nil
            }
            return Pair(variant: variant, quic: contender, tcp: other)
        }
        return [Pair(variant: nil, quic: quic, tcp: tcp)] + variants
    }

    package func comparison(
        of metric: MetricRecord, _ first: ContenderResult, _ second: ContenderResult
    ) -> Comparison {
        Comparison(
            first.values(metric.key), second.values(metric.key), isBetterLower: metric.isBetterLower,
            failures: (first.failures.count, second.failures.count))
    }

    /// Each round is compared with itself: what disturbed the machine for longer than a round drops out.
    package func roundByRound(
        _ key: String, _ first: ContenderResult, _ second: ContenderResult, _ combine: (Double, Double) -> Double
    ) -> MedianInterval? {
        let values = first.rounds.compactMap { round, sample -> Double? in
            guard let one = sample.values[key], let other = second.rounds[round]?.values[key] else { return nil }
            return combine(one, other)
        }
        return MedianInterval(values)
    }

    package var expectations: [ExpectationResult] { self.record.expectations.map { ExpectationResult($0, in: self) } }
}

/// What is on the wire.
package enum ContenderKind: String, Sendable, CaseIterable {
    case quic, tcp, auto
    /// A kind that this program does not know.
    case other

    package var title: String {
        switch self {
        case .quic: "QUIC"
        case .tcp: "TCP"
        case .auto: "auto"
        case .other: "other"
        }
    }
}

/// What one contender of a scenario did in all rounds.
package struct ContenderResult: Sendable {
    package struct Failure: Sendable {
        package let round: Int
        package let reason: String
    }

    package let record: ContenderRecord
    /// By number, without the warm-up. A round that is in the file twice counts as it was last.
    package let rounds: [Int: LabSample]
    /// In the order of the rounds.
    package let failures: [Failure]
    package let latencies: LatencyDistribution

    init(_ record: ContenderRecord, samples: [LabSample]) {
        self.record = record
        let counted = samples.filter { $0.round >= 1 }
        let rounds = Dictionary(counted.map { ($0.round, $0) }) { _, last in last }
        let ordered = rounds.sorted { $0.key < $1.key }.map(\.value)
        self.rounds = rounds
        self.failures = ordered.compactMap { sample in
            sample.failure.map { Failure(round: sample.round, reason: $0) }
        }
        self.latencies = LatencyDistribution(ordered.compactMap(\.latenciesMicroseconds))
    }

    package var failedAlways: Bool { !self.rounds.isEmpty && self.failures.count == self.rounds.count }

    package var kind: ContenderKind { ContenderKind(rawValue: self.record.kind) ?? .other }

    /// In the order of the rounds.
    package func values(_ key: String) -> [Double] {
        self.rounds.sorted { $0.key < $1.key }.compactMap { $0.value.values[key] }
    }

    package func spread(_ key: String) -> MedianInterval? { MedianInterval(self.values(key)) }

    /// The round whose value is the median, among those with something over time: one that is shown for all.
    package func typicalRound(by key: String?) -> LabSample? {
        let able = self.rounds.values.filter { ($0.timeline?.values.isEmpty ?? true) == false }
        let ordered = able.sorted { first, second in
            let one = key.flatMap { first.values[$0] } ?? .infinity
            let other = key.flatMap { second.values[$0] } ?? .infinity
            return (one, first.round) < (other, second.round)
        }
        return ordered.isEmpty ? nil : ordered[(ordered.count - 1) / 2]
    }
}

extension Run {
    package var results: [ScenarioResult] {
        var names: Set<String> = []
        return self.header.scenarios.filter { names.insert($0.name).inserted }.map { ScenarioResult($0, of: self) }
    }
}
