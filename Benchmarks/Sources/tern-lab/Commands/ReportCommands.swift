// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser
internal import BenchSupport
internal import Foundation
internal import LabReport

/// Shows a run that was written before.
struct ReportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "report", abstract: "Show a run again: in the terminal, as HTML, as pictures.")

    @Argument(help: ArgumentHelp("The samples of a run. (default: the newest)", valueName: "file"))
    var file: String?

    @Option(help: ArgumentHelp("Where the report goes. (default: beside the samples)", valueName: "file"))
    var html: String?

    @Option(help: ArgumentHelp("Also write the pictures of the README there.", valueName: "directory"))
    var pictures: String?

    func run() throws {
        let file = try self.file ?? LabFiles.newest()
        let run = try Run(path: file)
        print(run.summary(width: LabFiles.terminalWidth, color: LabFiles.hasColor))
        print("The report: \(try LabFiles.writeReport(of: run, besides: file, to: self.html))")
        if let pictures { try LabFiles.writePictures(of: run, to: pictures) }
    }
}

/// Holds a run against an earlier one.
struct CompareCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare", abstract: "Compare two runs.",
        discussion: """
            A verdict is given only where the difference is larger than the noise between rounds. Ends with code 3 when \
            something became worse.
            """)

    @Argument(help: ArgumentHelp("The samples of the earlier run.", valueName: "old"))
    var old: String

    @Argument(help: ArgumentHelp("The samples of the later run.", valueName: "new"))
    var new: String

    @Option(help: ArgumentHelp("Also write the comparison as HTML there.", valueName: "file"))
    var html: String?

    func run() throws {
        let comparison = RunComparison(old: try Run(path: self.old), new: try Run(path: self.new))
        print(comparison.text(width: LabFiles.terminalWidth, color: LabFiles.hasColor))
        if let html {
            try BenchSupport.write(comparison.html(), to: html)
            print("The comparison: \(html)")
        }
        if comparison.hasRegression { throw ExitCode(3) }
    }
}

/// Says what there is.
struct ListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Say which scenarios there are, and what they ask.")

    @Flag(help: "The table of the documentation.")
    var markdown = false

    func run() {
        if self.markdown { return print(Scenario.markdown) }
        for scenario in Scenario.all {
            print("\(scenario.name): \(scenario.title)")
            print("    network: \(scenario.ground.words)")
            print("    who:     \(scenario.contenders.map(\.name).joined(separator: ", "))")
            for expectation in scenario.expectations { print("    expected: \(expectation.text)") }
        }
    }
}

extension Scenario {
    /// The table of the documentation.
    static var markdown: String {
        let rows = Self.all.map { scenario in
            [
                "`\(scenario.name)`", scenario.title, scenario.ground.words,
                scenario.contenders.map(\.name).joined(separator: ", "),
                LabProfile.Name.allCases.filter(scenario.profiles.contains).map(\.rawValue).joined(separator: ", "),
            ]
        }
        let head = ["| scenario | what | network | who | profiles |", "| --- | --- | --- | --- | --- |"]
        return (head + rows.map { "| \($0.joined(separator: " | ")) |" }).joined(separator: "\n")
    }
}

/// Where the lab reads and writes.
enum LabFiles {
    static var results: String {
        let package = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        return package.appending(path: "results/lab").path
    }

    static func newest() throws -> String {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: Self.results)) ?? []
        guard let name = names.filter({ $0.hasSuffix(".jsonl") }).max() else {
            throw BenchmarkError("\(Self.results) has no run; \"tern-lab run\" makes one")
        }
        return "\(Self.results)/\(name)"
    }

    static func writeReport(of run: Run, besides samples: String, to path: String? = nil) throws -> String {
        let path = path ?? (samples.hasSuffix(".jsonl") ? String(samples.dropLast(6)) : samples) + ".html"
        try BenchSupport.write(run.html(), to: path)
        return path
    }

    static func writePictures(of run: Run, to directory: String) throws {
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        for picture in run.pictures() {
            let path = "\(directory)/\(picture.name).svg"
            try BenchSupport.write(picture.svg, to: path)
            print("A picture:   \(path)")
        }
    }

    static func complain(_ text: String) {
        FileHandle.standardError.write(Data("tern-lab: \(text)\n".utf8))
    }

    static var terminalWidth: Int {
        ProcessInfo.processInfo.environment["COLUMNS"].flatMap { Int($0) } ?? 100
    }

    static var hasColor: Bool { isatty(1) == 1 && ProcessInfo.processInfo.environment["NO_COLOR"] == nil }
}
