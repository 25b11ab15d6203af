// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation
internal import Testing

@testable internal import LabReport

@Suite struct RunReadingTests {
    @Test func readsAllOfARun() throws {
        let synthetic = try SyntheticLab.make(rounds: 3)
        let run = try synthetic.run
        #expect(!run.isPartial)
        #expect(run.samples.count == synthetic.samples.count)
        #expect(run.accuracy.count == 2)
        #expect(run.header.seed == 7)
        #expect(run.header.scenarios.map(\.name) == synthetic.header.scenarios.map(\.name))
    }

    @Test func readsAFileAndSaysWhereItIsNone() throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "lab-report-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let path = directory.appending(path: "run.jsonl").path
        try SyntheticLab.make(rounds: 2).lines.joined(separator: "\r\n").write(
            toFile: path, atomically: true, encoding: .utf8)
        #expect(try Run(path: path).header.rounds == 2)
        #expect(throws: RunError.self) { try Run(path: directory.path) }
        #expect(throws: RunError.self) { try Run(path: path + ".gone") }
    }

    @Test func keepsWhatAnInterruptedRunMeasured() throws {
        var synthetic = try SyntheticLab.make(rounds: 4)
        synthetic.end = nil
        var lines = try synthetic.lines
        #expect(try Run(lines: lines).isPartial)
        lines[lines.count - 1] = String(lines[lines.count - 1].dropLast(20))
        let run = try Run(lines: lines)
        #expect(run.isPartial)
        #expect(run.damage == ["line \(lines.count) cannot be read and was left out"])
        #expect(run.samples.count == synthetic.samples.count)
        #expect(run.doubts.contains { $0.contains("interrupted") })
        #expect(run.summary(width: 80, color: false).contains("! The run was interrupted"))
    }

    @Test func namesTheLineThatIsBroken() throws {
        var lines = try SyntheticLab.make(rounds: 1).lines
        lines.insert("{\"record\": \"sample\", \"scenario\": 7}", at: 3)
        lines.insert("", at: 1)
        let run = try Run(lines: lines)
        #expect(run.damage == ["line 5 cannot be read and was left out"])
        #expect(run.isPartial)
    }

    @Test func skipsKindsOfLinesThatItDoesNotKnow() throws {
        var lines = try SyntheticLab.make(rounds: 1).lines
        lines.insert("{\"record\": \"weather\", \"sky\": \"blue\"}", at: 2)
        #expect(try !Run(lines: lines).isPartial)
    }

    @Test func saysWhichVersionsAFileOfAnotherOneHas() throws {
        var lines = try SyntheticLab.make(rounds: 1).lines
        lines[0] = "{\"record\": \"lab\", \"format\": 42, \"scenarios\": {}}"
        let error = try #require(throws: RunError.self) { try Run(lines: lines, name: "old.jsonl") }
        #expect(error.code == .otherVersion)
        #expect(error.description.contains("old.jsonl has format 42"))
        #expect(error.description.contains("reads format \(RunFormat.version)"))
    }

    @Test(arguments: [
        "not JSON at all", "{\"record\": \"run\", \"format\": 1}", "[]", "{\"record\": \"lab\", \"format\": 1}",
        "\u{0}\u{1}",
        "{\"record\": \"sample\"}",
    ])
    func refusesWhatIsNoRun(line: String) throws {
        let error = try #require(throws: RunError.self) { try Run(lines: [line]) }
        #expect(error.code == .foreign)
    }

    @Test(arguments: [[], [""], ["  ", "\t"]])
    func refusesAnEmptyFile(lines: [String]) throws {
        let error = try #require(throws: RunError.self) { try Run(lines: lines) }
        #expect(error.code == .empty)
    }
}
