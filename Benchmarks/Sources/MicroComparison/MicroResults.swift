// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation

/// The micro benchmarks of one side of a comparison: its rounds, and in each what every benchmark measured.
package struct MicroResults: Sendable {
    /// By the benchmark's name and the metric's: one value a round, each the 90th percentile of the iterations.
    package private(set) var values: [String: [String: [Double]]] = [:]

    package init() {}

    /// Reads a directory that has one directory for each round, with a file of JSON for each benchmark.
    package init(directory: String) throws {
        let rounds = try Self.names(in: directory).filter { Int($0) != nil }
        guard !rounds.isEmpty else { throw BenchmarkError("\(directory) has no rounds") }
        for round in rounds {
            for name in try Self.names(in: "\(directory)/\(round)") where name.hasSuffix(Self.ending) {
                let data = try Data(contentsOf: URL(filePath: "\(directory)/\(round)/\(name)"))
                guard let metrics = try? JSONDecoder().decode([String: Double].self, from: data) else {
                    throw BenchmarkError("\(directory)/\(round)/\(name) is not a file of thresholds")
                }
                // The first part is the name of the target that all of them are in.
                let benchmark = name.dropLast(Self.ending.count).drop { $0 != "." }.dropFirst()
                for (metric, value) in metrics { self.add(value, of: metric, to: String(benchmark)) }
            }
        }
    }

    package mutating func add(_ value: Double, of metric: String, to benchmark: String) {
        self.values[benchmark, default: [:]][metric, default: []].append(value)
    }

    private static let ending = ".p90.json"

    private static func names(in directory: String) throws -> [String] {
        do {
            return try FileManager.default.contentsOfDirectory(atPath: directory).sorted()
        } catch {
            throw BenchmarkError("cannot read \(directory): \(error.localizedDescription)")
        }
    }
}
