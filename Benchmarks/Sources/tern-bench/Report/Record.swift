// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation

/// The first line of a results file.
struct RunRecord: Codable {
    var record = "run"
    var startedAt: String
    var arguments: [String]
    var profile: String
    var rounds: Int
    var load: Double
    var machine: Machine
}

/// One measurement: a further line of a results file.
struct SampleRecord: Codable {
    var record = "sample"
    var workload: String
    var contender: String
    var round: Int
    /// The machine's load average of the last minute, before the measurement.
    var load: Double
    var values: [String: Double]
}

/// A figure that has a target, over all rounds.
struct FigureRecord: Codable {
    var record = "figure"
    var figure: String
    var target: String
    var median: Double
    var minimum: Double
    var maximum: Double
    var verdict: String

    init(figure: String, bound: Bound, spread: Spread) {
        self.figure = figure
        self.target = bound.text
        (self.median, self.minimum, self.maximum) = (spread.median, spread.minimum, spread.maximum)
        self.verdict = bound.verdict(on: spread.median)
    }

    static func table(_ figures: [FigureRecord]) -> String {
        let rows = figures.map {
            [
                $0.figure, $0.target, "\(fixed($0.median, 2)) (\(fixed($0.minimum, 2))–\(fixed($0.maximum, 2)))",
                $0.verdict,
            ]
        }
        return markdownTable([["figure", "target", "median (range)", "verdict"]] + rows)
    }
}
