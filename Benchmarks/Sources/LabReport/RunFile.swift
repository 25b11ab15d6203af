// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import BenchSupport

/// What a line of a run's file holds. The file is JSON lines, each with its kind in `record`; the first is a ``RunHeader``, the
/// last a ``RunEnd``. A file without an end is of a run that was interrupted.
package enum RunFormat {
    /// Grows when a reader of older files would misread newer ones.
    package static let version = 1
}

/// The first line: under which circumstances everything below was measured, and how to do the same again.
package struct RunHeader: Codable, Sendable {
    package var record = "lab"
    package var format = RunFormat.version
    /// ISO 8601, UTC.
    package var startedAt: String
    package var arguments: [String]
    package var profile: String
    package var seed: UInt64
    package var rounds: Int
    /// Whether there was an emulated network; otherwise only scenarios on the loopback ran.
    package var isEmulated: Bool
    /// The machine's load average of the last minute when the run began.
    package var load: Double
    package var machine: Machine
    /// What the machine lacks, in sentences.
    package var missing: [String]
    /// The scenarios of this run, in their order.
    package var scenarios: [ScenarioRecord]

    package init(
        startedAt: String, arguments: [String], profile: String, seed: UInt64, rounds: Int, isEmulated: Bool,
        load: Double, machine: Machine, missing: [String], scenarios: [ScenarioRecord]
    ) {
        self.startedAt = startedAt
        self.arguments = arguments
        self.profile = profile
        self.seed = seed
        self.rounds = rounds
        self.isEmulated = isEmulated
        self.load = load
        self.machine = machine
        self.missing = missing
        self.scenarios = scenarios
    }
}

/// A scenario with what it compares, part of the header, so that a report needs nothing but the file.
package struct ScenarioRecord: Codable, Sendable {
    /// Such as `messages-loss`; unique in a file.
    package var name: String
    /// Such as "200 small messages per second over 20 streams, 1 % loss, 40 ms round trip".
    package var title: String
    /// What is done and measured, in plain words; a few sentences.
    package var summary: String
    /// What the network is like, in words: "20 Mbit/s, 40 ms, 1 % loss".
    package var network: String
    package var metrics: [MetricRecord]
    /// Names of those who are compared, in the order in which they are shown.
    package var contenders: [ContenderRecord]
    package var expectations: [ExpectationRecord]

    package init(
        name: String, title: String, summary: String, network: String, metrics: [MetricRecord],
        contenders: [ContenderRecord], expectations: [ExpectationRecord]
    ) {
        self.name = name
        self.title = title
        self.summary = summary
        self.network = network
        self.metrics = metrics
        self.contenders = contenders
        self.expectations = expectations
    }
}

package struct ContenderRecord: Codable, Sendable {
    /// Such as `quic`, `tls`, `auto`, `gtls`, `nginx-curl`, `iperf3`.
    package var name: String
    /// Such as "Tern over QUIC".
    package var title: String
    /// `quic` or `tcp`: what is on the wire, for colours and for the page that says who wins; `auto` where either may be.
    package var kind: String
    /// Why it cannot run on this machine.
    package var missing: String?

    package init(name: String, title: String, kind: String, missing: String? = nil) {
        self.name = name
        self.title = title
        self.kind = kind
        self.missing = missing
    }
}

package struct MetricRecord: Codable, Sendable {
    /// The key in a sample's values.
    package var key: String
    package var title: String
    /// `ms`, `s`, `MB/s`, `bytes`, `%`, `count`, `µs`.
    package var unit: String
    package var isBetterLower: Bool
    package var decimals: Int
    /// Whether it stands in the bars and in the summary; the others are in the tables only.
    package var isMain: Bool

    package init(key: String, title: String, unit: String, isBetterLower: Bool, decimals: Int, isMain: Bool) {
        self.key = key
        self.title = title
        self.unit = unit
        self.isBetterLower = isBetterLower
        self.decimals = decimals
        self.isMain = isMain
    }
}

/// What is expected of a scenario: a ratio or a difference of two contenders' medians of one metric, taken round by round.
package struct ExpectationRecord: Codable, Sendable {
    package enum Relation: String, Codable, Sendable {
        /// The first's value divided by the second's.
        case ratio
        /// The first's value less the second's.
        case difference
        /// The first's value alone.
        case value
    }

    package var text: String
    package var metric: String
    package var first: String
    package var second: String?
    package var relation: Relation
    package var atMost: Double?
    package var atLeast: Double?

    package init(
        text: String, metric: String, first: String, second: String? = nil, relation: Relation, atMost: Double? = nil,
        atLeast: Double? = nil
    ) {
        self.text = text
        self.metric = metric
        self.first = first
        self.second = second
        self.relation = relation
        self.atMost = atMost
        self.atLeast = atLeast
    }
}

/// How well the emulated network does what it is told, measured before the scenarios and after them.
package struct AccuracyRecord: Codable, Sendable {
    package var record = "accuracy"
    /// `before` or `after`.
    package var moment: String
    /// Such as "round trip of 40 ms", "5 MB at 20 Mbit/s".
    package var check: String
    package var unit: String
    package var expected: Double
    package var measured: Double
    /// How far off it may be, as a part of `expected`.
    package var tolerance: Double
    package var isGood: Bool

    package init(
        moment: String, check: String, unit: String, expected: Double, measured: Double, tolerance: Double, isGood: Bool
    ) {
        self.moment = moment
        self.check = check
        self.unit = unit
        self.expected = expected
        self.measured = measured
        self.tolerance = tolerance
        self.isGood = isGood
    }
}

/// One contender in one round.
package struct LabSample: Codable, Sendable {
    package var record = "sample"
    package var scenario: String
    package var contender: String
    /// From 1; 0 is the warm-up, which no figure counts.
    package var round: Int
    /// The machine's load average of the last minute, before the measurement.
    package var load: Double
    package var values: [String: Double]
    /// Why there are no values, or only some: the contender failed in this round.
    package var failure: String?
    /// Single measurements: every message's time, in microseconds, in the order of sending.
    package var latenciesMicroseconds: [Int]?
    /// What arrived over time.
    package var timeline: Timeline?
    /// What happened meanwhile, in order.
    package var events: [LabEvent]?
    /// How the machine carried the packets of the emulated network; `nil` on the loopback, and in files of before.
    package var carrying: CarryingRecord?

    package init(
        scenario: String, contender: String, round: Int, load: Double, values: [String: Double], failure: String? = nil,
        latenciesMicroseconds: [Int]? = nil, timeline: Timeline? = nil, events: [LabEvent]? = nil,
        carrying: CarryingRecord? = nil
    ) {
        self.scenario = scenario
        self.contender = contender
        self.round = round
        self.load = load
        self.values = values
        self.failure = failure
        self.latenciesMicroseconds = latenciesMicroseconds
        self.timeline = timeline
        self.events = events
        self.carrying = carrying
    }
}

/// Whether the machine delivered an emulated network's packets when they were due.
package struct CarryingRecord: Codable, Sendable {
    /// Those that were delivered.
    package var packets: Int
    /// Those of them that were delivered more than a millisecond late.
    package var latePackets: Int
    package var worstSeconds: Double
    /// Those for which the machine had no room: no condition of the network says that they are lost.
    package var lostPackets: Int

    package init(packets: Int, latePackets: Int, worstSeconds: Double, lostPackets: Int) {
        self.packets = packets
        self.latePackets = latePackets
        self.worstSeconds = worstSeconds
        self.lostPackets = lostPackets
    }
}

package struct Timeline: Codable, Sendable {
    /// Seconds per value.
    package var step: Double
    /// `bytes` or `messages`: what is counted per step.
    package var unit: String
    package var values: [Double]

    package init(step: Double, unit: String, values: [Double]) {
        self.step = step
        self.unit = unit
        self.values = values
    }
}

package struct LabEvent: Codable, Sendable {
    /// Seconds after the start of the measurement.
    package var at: Double
    /// `network`: the script; `transport`: an event of the connection; `application`: such as a reconnect.
    package var source: String
    package var text: String

    package init(at: Double, source: String, text: String) {
        self.at = at
        self.source = source
        self.text = text
    }
}

/// The last line.
package struct RunEnd: Codable, Sendable {
    package var record = "end"
    package var finishedAt: String
    package var load: Double

    package init(finishedAt: String, load: Double) {
        self.finishedAt = finishedAt
        self.load = load
    }
}
