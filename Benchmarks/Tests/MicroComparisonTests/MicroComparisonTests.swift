// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation
internal import Testing

@testable internal import MicroComparison

@Suite struct MicroComparisonTests {
    private func compare(
        _ metric: String, base: [Double], change: [Double]
    ) -> MicroComparison {
        var (one, other) = (MicroResults(), MicroResults())
        for value in base { one.add(value, of: metric, to: "quic") }
        for value in change { other.add(value, of: metric, to: "quic") }
        return MicroComparison(base: one, change: other)
    }

    @Test func saysNothingOfRoundsThatOverlap() {
        let comparison = self.compare("wallClock", base: [100, 110, 120, 140], change: [135, 140, 150, 160])
        #expect(comparison.rows.map(\.verdict) == [.same])
        #expect(!comparison.hasRegression)
        #expect(comparison.text.contains("No difference beyond the noise."))
    }

    @Test func calledWorseWhenEveryRoundIs() {
        let comparison = self.compare("wallClock", base: [100, 110, 115, 120], change: [130, 140, 150, 160])
        #expect(comparison.rows.map(\.verdict) == [.worse])
        #expect(comparison.hasRegression)
        #expect(
            self.compare("wallClock", base: [130, 150, 135, 140], change: [100, 110, 105, 120]).rows.map(\.verdict)
                == [.better])
    }

    @Test func saysNothingOfTimesAfterThreeRounds() {
        let comparison = self.compare("wallClock", base: [100, 110, 115], change: [230, 240, 250])
        #expect(comparison.rows.map(\.verdict) == [.same])
        #expect(comparison.text.contains("fewer than 4 rounds"))
    }

    @Test func ignoresWhatIsNotWorthAWord() {
        let (base, change) = (Array(repeating: 100.0, count: 4), Array(repeating: 104.0, count: 4))
        #expect(self.compare("wallClock", base: base, change: change).rows.map(\.verdict) == [.same])
        #expect(self.compare("allocations", base: [1_000], change: [1_004]).rows.map(\.verdict) == [.same])
        #expect(self.compare("allocations", base: [1_000], change: [1_010]).rows.map(\.verdict) == [.worse])
    }

    @Test func noticesTheFirstAllocation() {
        let comparison = self.compare("allocations", base: [0, 0], change: [1_000, 1_000])
        #expect(comparison.rows.map(\.verdict) == [.worse])
        #expect(comparison.text.contains("+1000"))
    }

    @Test func namesWhatOnlyOneSideHas() {
        #expect(self.compare("wallClock", base: [], change: [5]).rows.map(\.verdict) == [.added])
        #expect(self.compare("wallClock", base: [5], change: []).rows.map(\.verdict) == [.removed])
        #expect(self.compare("throughput", base: [5], change: [9]).rows.isEmpty, "it is the time again")
    }

    @Test func readsTheRoundsOfADirectory() throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "micro-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: directory) }
        for round in 1...2 {
            let place = directory.appending(path: "\(round)")
            try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
            try Data(#"{"allocations": \#(round), "wallClock": 90}"#.utf8)
                .write(to: place.appending(path: "TernMicro.quic-routing.p90.json"))
        }
        #expect(
            try MicroResults(directory: directory.path).values
                == ["quic-routing": ["allocations": [1, 2], "wallClock": [90, 90]]])
        try Data("{".utf8).write(to: directory.appending(path: "2/TernMicro.quic-routing.p90.json"))
        #expect(throws: (any Error).self) { try MicroResults(directory: directory.path) }
        #expect(throws: (any Error).self) { try MicroResults(directory: directory.path + "/nowhere") }
    }
}
