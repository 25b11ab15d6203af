// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation

/// One run of this program: every contender of every workload in turns, written down as it happens.
struct Session {
    let workloads: [Workload]
    let profile: Profile
    let profileName: String
    let output: String

    func run() throws {
        try FileManager.default.createDirectory(atPath: self.output, withIntermediateDirectories: true)
        let scratch = "\(self.output)/scratch-\(ProcessInfo.processInfo.processIdentifier)"
        try FileManager.default.createDirectory(atPath: scratch, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: scratch) }

        let run = RunRecord(
            startedAt: Date().ISO8601Format(), arguments: Array(CommandLine.arguments.dropFirst()),
            profile: self.profileName, rounds: self.profile.rounds, load: Machine.load,
            machine: Machine(scratch: scratch))
        let name = run.startedAt.replacing(":", with: "")
        let recorder = try Recorder(path: "\(self.output)/\(name)-\(self.profileName).jsonl")
        try recorder.append(run)

        let progress = StepProgress(self.steps)
        let stage = Stage(scratch: scratch, tick: progress.tick)
        print(self.heading(run))
        var figures: [FigureRecord] = []
        for workload in self.workloads {
            let samples = try self.run(workload, on: stage, progress: progress, recorder: recorder)
            let report = Report(workload: workload, profile: self.profile, samples: samples)
            print(report.text)
            for figure in report.figures { try recorder.append(figure) }
            figures += report.figures
        }
        if !figures.isEmpty { print("## Targets\n\n\(FigureRecord.table(figures))\n") }
        print("The samples: \(recorder.path)")
    }

    private func run(
        _ workload: Workload, on stage: Stage, progress: StepProgress, recorder: Recorder
    ) throws -> [SampleRecord] {
        let contenders = workload.contenders(self.profile)
        for contender in contenders {
            guard let missing = contender.missing else { continue }
            progress.say("\(contender.name) is left out of \(workload.name): \(missing)")
        }
        var samples: [SampleRecord] = []
        let rounds = workload.rounds(of: self.profile)
        for round in 1...rounds {
            for contender in contenders where contender.missing == nil {
                progress.begin(note: "\(round)/\(rounds)")
                let load = Machine.load
                let sample = SampleRecord(
                    workload: workload.name, contender: contender.name, round: round, load: load,
                    values: try contender.run(stage))
                progress.end()
                try recorder.append(sample)
                samples.append(sample)
            }
        }
        return samples
    }

    private var steps: [StepProgress.Step] {
        self.workloads.flatMap { workload in
            (0..<workload.rounds(of: self.profile)).flatMap { _ in
                workload.contenders(self.profile).filter { $0.missing == nil }.map { contender in
                    StepProgress.Step(
                        title: "\(workload.name) \(contender.name)", expectedSeconds: contender.expectedSeconds)
                }
            }
        }
    }

    private func heading(_ run: RunRecord) -> String {
        let machine = run.machine
        let versions = machine.versions.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
        return """
            \(machine.cores) × \(machine.processor), \(machine.system), \(machine.kernel), load \(fixed(run.load, 2)); \
            \(machine.fileSystem), 4 KiB written and flushed in \(fixed(machine.flushMicroseconds, 0)) µs
            \(versions.joined(separator: "; "))
            Tern \(machine.revision.prefix(12))\(machine.hasChanges ? " with changes" : "")

            """
    }
}
