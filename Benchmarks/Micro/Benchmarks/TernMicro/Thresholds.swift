// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Benchmark

extension BenchmarkMetric {
    /// Calls of malloc and its kin in all libraries of the process. The benchmark library needs another library for that.
    static var allocations: BenchmarkMetric { .custom("allocations") }
}

extension [BenchmarkMetric: BenchmarkThresholds] {
    /// How far from Thresholds/*.json, in percent of the 90th percentile, a figure may be.
    ///
    /// What is counted is the same in every run of the same code; what is timed depends on the machine and on what else it
    /// does, and only a catastrophe shows.
    static var micro: Self {
        [
            .wallClock: BenchmarkThresholds(relative: [.p90: 100]),
            // The second is for those that allocate nothing, of which no percentage says anything: 0.02 for each operation.
            .allocations: BenchmarkThresholds(relative: [.p90: 1], absolute: [.p90: 20]),
        ]
    }

    /// The store's writer is a thread of its own: what it puts into a batch depends on when it looks.
    static var store: Self {
        var thresholds = self.micro
        thresholds[.allocations] = BenchmarkThresholds(relative: [.p90: 10])
        return thresholds
    }
}
