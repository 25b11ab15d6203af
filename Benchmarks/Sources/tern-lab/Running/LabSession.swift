// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation
internal import LabLink
internal import LabNetwork
internal import LabReport

/// One run of the lab: every contender of every scenario in turns, written down as it happens.
final class LabSession {
    struct Plan {
        var profile: LabProfile
        var scenarios: [Scenario]
        var seed: UInt64
        var output: String
        /// Where qlog files of our ends go; `nil`: nowhere.
        var qlogDirectory: String?
    }

    private let plan: Plan
    private let scratch: String
    private let recorder: Recorder
    private let header: RunHeader
    private let crew = TrialCrew()
    private let progress: StepProgress

    /// How many light trials run at the same time.
    private static let slots = 6

    /// Where the samples are.
    var path: String { self.recorder.path }

    init(_ plan: Plan) throws {
        var plan = plan
        var missing = LabMachine.missing()
        let isEmulated = Self.canEmulate(&missing)
        if !isEmulated { plan.scenarios.removeAll { $0.ground.conditions != nil } }
        guard !plan.scenarios.isEmpty else {
            throw BenchmarkError(
                "nothing can run: the chosen scenarios need an emulated network. \(missing.joined(separator: " "))")
        }
        self.plan = plan
        try FileManager.default.createDirectory(atPath: plan.output, withIntermediateDirectories: true)
        self.scratch = "\(plan.output)/scratch-\(ProcessInfo.processInfo.processIdentifier)"
        try FileManager.default.createDirectory(atPath: self.scratch, withIntermediateDirectories: false)
        self.header = RunHeader(
            startedAt: Date().ISO8601Format(), arguments: Array(CommandLine.arguments.dropFirst()),
            profile: plan.profile.name.rawValue, seed: plan.seed, rounds: plan.profile.rounds, isEmulated: isEmulated,
            load: Machine.load, machine: Machine(scratch: self.scratch), missing: missing,
            scenarios: plan.scenarios.map(\.record))
        let name = self.header.startedAt.replacing(":", with: "")
        self.recorder = try Recorder(path: "\(plan.output)/\(name)-\(plan.profile.name.rawValue).jsonl")
        self.progress = StepProgress(Self.steps(plan, isEmulated: isEmulated))
    }

    func run() throws {
        defer { self.cleanUp() }
        try self.recorder.append(self.header)
        for sentence in self.header.missing { self.progress.say("note: \(sentence)") }
        for scenario in self.plan.scenarios {
            for contender in scenario.contenders {
                guard let missing = contender.missing else { continue }
                self.progress.say("note: \(contender.name) is left out of \(scenario.name): \(missing)")
            }
        }
        try self.checkAccuracy("before")
        for round in self.plan.profile.allRounds { try self.run(round: round) }
        try self.checkAccuracy("after")
        try self.recorder.append(RunEnd(finishedAt: Date().ISO8601Format(), load: Machine.load))
    }

    // MARK: Trials

    /// Every scenario once: first what needs the machine for itself, then the light ones side by side.
    private func run(round: Int) throws {
        let note = "\(round)/\(self.plan.profile.rounds)"
        for scenario in self.plan.scenarios where !scenario.isLight {
            for trial in self.trials(of: scenario, round: round) {
                self.progress.begin(note: note)
                try self.crew.run([trial], together: 1) {
                    self.progress.tick()
                } each: {
                    try self.recorder.append($0)
                }
                self.progress.end()
            }
        }
        let light = self.plan.scenarios.filter(\.isLight).flatMap { self.trials(of: $0, round: round) }
        guard !light.isEmpty else { return }
        var done = 0
        self.progress.begin(note: note)
        try self.crew.run(light, together: Self.slots) {
            self.progress.tick()
        } each: { sample in
            try self.recorder.append(sample)
            done += 1
            self.progress.note = "\(note), \(done) of \(light.count) done"
        }
        self.progress.end()
    }

    private func trials(of scenario: Scenario, round: Int) -> [Trial] {
        scenario.contenders.filter { $0.missing == nil }.map { contender in
            Trial(
                scenario: scenario, contender: contender, profile: self.plan.profile, round: round,
                seed: Self.seed(self.plan.seed, scenario.name, round),
                scratch: "\(self.scratch)/\(scenario.name)-\(contender.name)",
                qlogDirectory: self.plan.qlogDirectory)
        }
    }

    /// All contenders of a round meet the same sequence of chances.
    private static func seed(_ seed: UInt64, _ scenario: String, _ round: Int) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325 ^ seed
        for byte in "\(scenario)/\(round)".utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return hash
    }

    // MARK: Around them

    private static func canEmulate(_ missing: inout [String]) -> Bool {
        do {
            try EmulatedNetwork(NetworkConditions(Scenario.home), seed: 0).close()
            return true
        } catch {
            missing.append(
                "No network can be emulated here (\(error)), so that only scenarios on the loopback run.")
            return false
        }
    }

    private func checkAccuracy(_ moment: String) throws {
        guard self.header.isEmulated else { return }
        self.progress.begin(note: "")
        for result in try EmulatedNetwork.measureAccuracy() {
            let record = AccuracyRecord(
                moment: moment, check: result.check, unit: result.unit, expected: result.expected,
                measured: result.measured, tolerance: result.tolerance, isGood: result.isGood)
            try self.recorder.append(record)
            if !record.isGood {
                self.progress.say(
                    """
                    warning: the emulated network is not accurate now: \(record.check) measured \
                    \(fixed(record.measured, 2)) \(record.unit) instead of \(fixed(record.expected, 2)). The machine is \
                    busy; the report marks the results.
                    """)
            }
        }
        self.progress.end()
    }

    private func cleanUp() {
        self.crew.close()
        try? FileManager.default.removeItem(atPath: self.scratch)
    }

    private static func steps(_ plan: Plan, isEmulated: Bool) -> [StepProgress.Step] {
        let check = StepProgress.Step(title: "accuracy of the emulated network", expectedSeconds: 4)
        let rounds = plan.profile.allRounds.flatMap { _ in Self.stepsOfRound(plan) }
        return isEmulated ? [check] + rounds + [check] : rounds
    }

    private static func stepsOfRound(_ plan: Plan) -> [StepProgress.Step] {
        func present(_ scenario: Scenario) -> [LabContender] { scenario.contenders.filter { $0.missing == nil } }
        let heavy = plan.scenarios.filter { !$0.isLight }.flatMap { scenario in
            present(scenario).map {
                StepProgress.Step(
                    title: "\(scenario.name) \($0.name)", expectedSeconds: scenario.expectedSeconds(plan.profile))
            }
        }
        let light = plan.scenarios.filter(\.isLight)
        guard !light.isEmpty else { return heavy }
        let seconds = light.reduce(0) { $0 + $1.expectedSeconds(plan.profile) * Double(present($1).count) }
        let title = light.count == 1 ? light[0].name : "\(light.count) light scenarios side by side"
        return heavy + [StepProgress.Step(title: title, expectedSeconds: seconds / Double(Self.slots) + 3)]
    }
}
