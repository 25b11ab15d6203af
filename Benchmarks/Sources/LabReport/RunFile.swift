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
package struct RunHeader: Codable {
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
}

/// A scenario with what it compares, part of the header, so that a report needs nothing but the file.
package struct ScenarioRecord: Codable {
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
}

package struct ContenderRecord: Codable {
    /// Such as `quic`, `tls`, `auto`, `gtls`, `nginx-curl`, `iperf3`.
    package var name: String
    /// Such as "Tern over QUIC".
    package var title: String
    /// `quic` or `tcp`: what is on the wire, for colours and for the page that says who wins; `auto` where either may be.
    package var kind: String
    /// Why it cannot run on this machine.
    package var missing: String?
}

package struct MetricRecord: Codable {
    /// The key in a sample's values.
    package var key: String
    package var title: String
    /// `ms`, `s`, `MB/s`, `bytes`, `%`, `count`, `µs`.
    package var unit: String
    package var isBetterLower: Bool
    package var decimals: Int
    /// Whether it stands in the bars and in the summary; the others are in the tables only.
    package var isMain: Bool
}

/// What is expected of a scenario: a ratio or a difference of two contenders' medians of one metric, taken round by round.
package struct ExpectationRecord: Codable {
    package enum Relation: String, Codable {
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
}

/// How well the emulated network does what it is told, measured before the scenarios and after them.
package struct AccuracyRecord: Codable {
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
}

/// One contender in one round.
package struct LabSample: Codable {
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
}

package struct Timeline: Codable {
    /// Seconds per value.
    package var step: Double
    /// `bytes` or `messages`: what is counted per step.
    package var unit: String
    package var values: [Double]
}

package struct LabEvent: Codable {
    /// Seconds after the start of the measurement.
    package var at: Double
    /// `network`: the script; `transport`: an event of the connection; `application`: such as a reconnect.
    package var source: String
    package var text: String
}

/// The last line.
package struct RunEnd: Codable {
    package var record = "end"
    package var finishedAt: String
    package var load: Double
}
