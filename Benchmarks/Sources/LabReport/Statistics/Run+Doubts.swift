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
        return doubts + self.carryingDoubts + self.busyDoubts
    }

    /// Behind every result of a run whose network was not accurate, and of a scenario for which it did not keep up.
    package static let mark = "†"

    /// Behind the results of a scenario.
    func mark(of scenario: String) -> String {
        let isGood = self.isAccurate && !self.belatedSamples.contains { $0.scenario == scenario }
        return isGood ? "" : " " + Self.mark
    }

    /// Those that count, and during which the machine did not keep up with its emulated network.
    var belatedSamples: [LabSample] { self.samples.filter { $0.round >= 1 && $0.carrying?.isGood == false } }

    private var carryingDoubts: [String] {
        let belated = self.belatedSamples
        guard !belated.isEmpty else { return [] }
        let names = self.header.scenarios.map(\.name).filter { name in belated.contains { $0.scenario == name } }
        let lost = belated.reduce(0) { $0 + max(0, $1.carrying?.lostPackets ?? 0) }
        let latest = belated.compactMap { $0.carrying?.worstSeconds }.max() ?? 0
        return [
            "The machine did not keep up with the emulated network in \(counted(belated.count, "measurement")) of "
                + "\(names.joined(separator: ", ")), marked with \(Self.mark): \(counted(lost, "packet")) lost for "
                + "want of room, others up to \(significant(latest * 1e3)) ms late."
        ]
    }

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

extension CarryingRecord {
    /// Which part of the packets may be late: less than what a 99th percentile shows.
    package static let tolerance = 0.01

    /// Whether figures tell of the network and not of the machine.
    package var isGood: Bool {
        self.lostPackets <= 0 && Double(self.latePackets) <= Self.tolerance * Double(self.packets)
    }
}
