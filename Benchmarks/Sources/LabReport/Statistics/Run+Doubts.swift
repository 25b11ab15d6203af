// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport

extension Run {
    /// Whether the emulated network did what it was told. Otherwise every result is marked.
    package var isAccurate: Bool { self.accuracy.allSatisfy(\.isGood) }

    /// Why this run's figures deserve doubt, in sentences; empty for a good run.
    package var doubts: [String] {
        var doubts: [String] = []
        if self.end == nil {
            doubts.append("The run was interrupted: what follows is what had been measured until then.")
        }
        if !self.damage.isEmpty { doubts.append("The file is damaged: " + self.damage.joined(separator: "; ") + ".") }
        let failed = self.accuracy.filter { !$0.isGood }
        if !failed.isEmpty {
            let checks = failed.map { check in
                "\(check.check) (\(check.moment) the scenarios): \(significant(check.measured)) \(check.unit) "
                    + "instead of \(significant(check.expected))"
            }
            doubts.append(
                "The emulated network did not do what it was told, so every result is marked with \(Self.mark): "
                    + checks.joined(separator: "; ") + ".")
        } else if self.header.isEmulated, self.accuracy.isEmpty {
            doubts.append("The emulated network's accuracy was not checked.")
        }
        return doubts + self.busyDoubts
    }

    /// Behind every result of a run whose network was not accurate.
    package static let mark = "†"

    /// Behind a result.
    var mark: String { self.isAccurate ? "" : " " + Self.mark }

    private var busyDoubts: [String] {
        let cores = Double(max(1, self.header.machine.cores))
        if self.header.load > cores / 2 {
            return [
                "The machine was busy when the run began: its load was \(significant(self.header.load)) "
                    + "on \(counted(self.header.machine.cores, "core"))."
            ]
        }
        // What is compared wants processors too: clients, servers, the threads that carry their packets.
        let busy = self.samples.filter { $0.round >= 1 && $0.load > cores + 4 }
        guard let most = busy.map(\.load).max() else { return [] }
        return [
            "The machine was busy with something else during \(counted(busy.count, "measurement")): "
                + "the load was up to \(significant(most)) on \(counted(self.header.machine.cores, "core"))."
        ]
    }
}
