// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser
internal import BenchSupport
internal import Foundation
internal import LabLink
internal import LabNetwork
internal import LabReport
internal import Synchronization

/// Compares, and shows what came of it.
struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Compare QUIC and TCP on this machine and write a report.",
        discussion: """
            Profiles: ci (a few scenarios once, under a minute), quick (three minutes), standard (about ten minutes), full (an hour).

            Every sample is written to a file of JSON lines as soon as it is measured, and beside it a report in HTML. Ctrl-C \
            ends the run; what was measured is kept, reported and marked as partial.

            Most scenarios run between two network namespaces with an emulated network between them. That needs root, or a \
            kernel that lets everybody make user namespaces, and /dev/net/tun; "tern-lab check" says what is missing. Without \
            them the scenarios on the loopback run.
            """)

    @Argument(
        help: ArgumentHelp(
            "What to run; \"tern-lab list\" says what there is. (default: all of the profile)", valueName: "scenario"))
    var scenarios: [String] = []

    @Option(help: "ci, quick, standard or full.")
    var profile: LabProfile.Name = .standard

    @Option(help: "How often each contender has its turn. (default: the profile's)")
    var rounds: Int?

    @Option(
        help: "Where the chances of the network begin: the same seed brings the same losses. (default: by the clock)")
    var seed: UInt64?

    @Option(help: ArgumentHelp("Where samples and reports are written.", valueName: "directory"))
    var output: String = LabFiles.results

    @Option(
        help: ArgumentHelp(
            "Write a qlog file of every QUIC connection of ours there. Costs time: not for figures.",
            valueName: "directory"))
    var qlog: String?

    @Option(help: ArgumentHelp("Also write the pictures of the README there.", valueName: "directory"))
    var pictures: String?

    @Flag(help: "Neither summary nor report, only the file with the samples.")
    var samplesOnly = false

    func validate() throws {
        for name in self.scenarios where !Scenario.all.contains(where: { $0.name == name }) {
            throw ValidationError(
                "no scenario is called \(name): \(Scenario.all.map(\.name).joined(separator: ", "))")
        }
        if let rounds, !(1...1_000).contains(rounds) { throw ValidationError("--rounds takes 1 to 1000") }
    }

    func run() throws {
        var profile = LabProfile.named(self.profile)
        if let rounds { profile.rounds = rounds }
        let chosen = Scenario.all.filter {
            self.scenarios.isEmpty ? $0.profiles.contains(self.profile) : self.scenarios.contains($0.name)
        }
        let seed = self.seed ?? UInt64(Date().timeIntervalSince1970)
        try LabRunner(samplesOnly: self.samplesOnly, pictures: self.pictures).run(
            LabSession.Plan(
                profile: profile, scenarios: chosen, seed: seed, output: self.output,
                qlogDirectory: self.qlog.map { URL(filePath: $0).path }))
    }
}

/// Does again what a file says.
struct RepeatCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "repeat", abstract: "Run again what a file says was run: same scenarios, rounds and seed.")

    @Argument(help: ArgumentHelp("The samples of the earlier run.", valueName: "file"))
    var file: String

    @Option(help: ArgumentHelp("Where samples and reports are written.", valueName: "directory"))
    var output: String = LabFiles.results

    func run() throws {
        let header = try Run(path: self.file).header
        guard let name = LabProfile.Name(rawValue: header.profile) else {
            throw BenchmarkError("\(self.file) is of the profile \(header.profile), which this version does not know")
        }
        let names = header.scenarios.map(\.name)
        let unknown = names.filter { name in !Scenario.all.contains { $0.name == name } }
        guard unknown.isEmpty else {
            throw BenchmarkError(
                "\(self.file) has scenarios that this version does not know: \(unknown.joined(separator: ", "))")
        }
        var profile = LabProfile.named(name)
        profile.rounds = header.rounds
        try LabRunner().run(
            LabSession.Plan(
                profile: profile, scenarios: Scenario.all.filter { names.contains($0.name) }, seed: header.seed,
                output: self.output))
    }
}

/// A run with its report, and what a shell hears of it.
struct LabRunner {
    var samplesOnly = false
    /// Where pictures go; `nil`: nowhere.
    var pictures: String?

    func run(_ plan: LabSession.Plan) throws {
        ChildProcess.heedInterruptions()
        let session = try LabSession(plan)
        let outcome = Result { try session.run() }
        if case .failure(let error) = outcome { LabFiles.complain("\(error); what was measured until then is kept") }
        do {
            if self.samplesOnly { print(session.path) } else { try self.show(session.path) }
        } catch {
            // Where nothing could be written there is nothing to show, and why was said already.
            guard case .failure = outcome else { throw error }
        }
        if case .failure = outcome {
            throw ExitCode(ChildProcess.isInterrupted.load(ordering: .relaxed) ? 130 : 1)
        }
    }

    private func show(_ path: String) throws {
        let run = try Run(path: path)
        print(run.summary(width: LabFiles.terminalWidth, color: LabFiles.hasColor))
        let report = try LabFiles.writeReport(of: run, besides: path)
        print("The samples: \(path)\nThe report:  \(report)")
        if let pictures { try LabFiles.writePictures(of: run, to: pictures) }
    }
}

extension LabProfile.Name: ExpressibleByArgument {}
