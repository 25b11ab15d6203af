// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation

@testable internal import LabReport

/// Numbers that are the same in every test run (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { self.state = seed }

    mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = self.state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }

    /// `middle`, up to `part` of it more or less.
    mutating func around(_ middle: Double, _ part: Double = 0.05) -> Double {
        middle * (1 + Double.random(in: -part...part, using: &self))
    }
}

/// The file of a run that nobody ran.
struct SyntheticRun {
    var header: RunHeader
    var accuracy: [AccuracyRecord] = []
    var samples: [LabSample] = []
    var end: RunEnd? = RunEnd(finishedAt: "2026-11-20T10:14:31Z", load: 1.4)

    init(_ scenarios: [ScenarioRecord], rounds: Int = 5) throws {
        self.header = RunHeader(
            startedAt: "2026-11-20T10:00:02Z", arguments: ["run", "--profile", "quick", "--seed", "7"],
            profile: "quick",
            seed: 7, rounds: rounds, isEmulated: true, load: 0.4, machine: try Self.machine(), missing: [],
            scenarios: scenarios)
        self.accuracy = [
            AccuracyRecord(
                moment: "before", check: "round trip of 40 ms", unit: "ms", expected: 40, measured: 40.3,
                tolerance: 0.05,
                isGood: true),
            AccuracyRecord(
                moment: "after", check: "5 MB at 20 Mbit/s", unit: "s", expected: 2, measured: 2.02, tolerance: 0.05,
                isGood: true),
        ]
    }

    /// Adds rounds in turns; `values` are those of one metric, the first being round 1.
    mutating func add(_ scenario: String, _ key: String, _ values: [String: [Double]]) {
        for (contender, rounds) in values.sorted(by: { $0.key < $1.key }) {
            for (index, value) in rounds.enumerated() {
                self.samples.append(
                    LabSample(
                        scenario: scenario, contender: contender, round: index + 1, load: 0.8, values: [key: value]))
            }
        }
    }

    var lines: [String] {
        get throws {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            func line(_ record: some Encodable) throws -> String {
                String(decoding: try encoder.encode(record), as: UTF8.self)
            }
            var lines = [try line(self.header)]
            lines += try self.accuracy.filter { $0.moment == "before" }.map { try line($0) }
            lines += try self.samples.map { try line($0) }
            lines += try self.accuracy.filter { $0.moment != "before" }.map { try line($0) }
            if let end = self.end { lines.append(try line(end)) }
            return lines
        }
    }

    var run: Run { get throws { try Run(lines: self.lines) } }

    static func machine() throws -> Machine {
        let text = """
            {"cores": 2, "processor": "A processor of no name", "kernel": "Linux 6.1.0", "system": "Debian GNU/Linux 12",
             "memoryMiB": 7936, "fileSystem": "ext2/ext3", "flushMicroseconds": 310.5,
             "versions": {"ngtcp2": "0.12.1", "GnuTLS": "3.7.9", "Swift": "6.3.1"},
             "revision": "0123456789abcdef0123456789abcdef01234567", "hasChanges": false}
            """
        return try JSONDecoder().decode(Machine.self, from: Data(text.utf8))
    }
}

extension ScenarioRecord {
    /// A scenario of one main metric, less being better.
    static func simple(
        _ name: String = "messages", metric: MetricRecord = .p99, contenders: [ContenderRecord] = [.quic, .tls],
        expectations: [ExpectationRecord] = []
    ) -> ScenarioRecord {
        ScenarioRecord(
            name: name, title: "Title of \(name)", summary: "What \(name) does.", network: "20 Mbit/s, 40 ms",
            metrics: [metric], contenders: contenders, expectations: expectations)
    }
}

extension MetricRecord {
    static let p99 = MetricRecord(key: "p99", title: "p99", unit: "ms", isBetterLower: true, decimals: 1, isMain: true)
    static let rate = MetricRecord(
        key: "rate", title: "Throughput", unit: "MB/s", isBetterLower: false, decimals: 1, isMain: true)
}

extension ContenderRecord {
    static let quic = ContenderRecord(name: "quic", title: "Tern over QUIC", kind: "quic")
    static let tls = ContenderRecord(name: "tls", title: "Tern over TLS and TCP", kind: "tcp")
    static let auto = ContenderRecord(name: "auto", title: "Tern, its own choice", kind: "auto")
}
