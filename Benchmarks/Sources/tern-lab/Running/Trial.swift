// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation
internal import LabLink
internal import LabReport
internal import Synchronization

/// One contender doing a scenario's work once.
struct Trial: Sendable {
    let scenario: Scenario
    let contender: LabContender
    let profile: LabProfile
    /// From 1; 0 does not count.
    let round: Int
    let seed: UInt64
    /// A directory for what the programs write; no other trial of this moment has it.
    let scratch: String
    /// Where qlog files of our ends go; `nil`: nowhere.
    let qlogDirectory: String?

    /// - Throws: only when the whole run cannot go on. That a contender fails is a result.
    func run(on ground: TrialGround) throws -> LabSample {
        var sample = LabSample(
            scenario: self.scenario.name, contender: self.contender.name, round: self.round, load: Machine.load,
            values: [:])
        do {
            try ground.prepare(
                self.scenario.ground.conditions, tcpCongestionControl: self.contender.tcpCongestionControl,
                seed: self.seed)
            switch self.contender.play {
            case .tern(let carrier, let work):
                try self.run(carrier, work(self.profile), on: ground, into: &sample)
            case .foreign(let work, let byteCount):
                let before = ground.wireBytes
                sample.values = try work.run(
                    ForeignTrial(
                        on: ground, byteCount: byteCount(self.profile), scratch: self.scratch,
                        patience: self.patience))
                if let before, let after = ground.wireBytes { sample.values["wireBytes"] = after - before }
            }
        } catch let error as BenchmarkError {
            if ChildProcess.isInterrupted.load(ordering: .relaxed) { throw error }
            sample.failure = error.description
        }
        sample.carrying = ground.carrying
        return sample
    }

    private var patience: Duration { .seconds(60 + 3 * self.scenario.expectedSeconds(self.profile)) }

    private func run(
        _ carrier: LabCarrier, _ work: LabClient.Work, on ground: TrialGround,
        into sample: inout LabSample
    ) throws {
        let serverRole = LabServer(
            host: ground.serverHost, congestionControl: self.contender.quicCongestionControl,
            qlogDirectory: try self.qlogDirectory(of: "server"))
        let server = try ChildProcess(
            "server", role: EndRole.server(serverRole), scratch: self.scratch, in: ground.serverPlace)
        let clientRole = LabClient(
            host: ground.serverHost, server: try server.answer(within: .seconds(20)),
            carrier: carrier, work: work, qlogDirectory: try self.qlogDirectory(of: "client"))
        let client = try ChildProcess(
            "client", role: EndRole.client(clientRole), scratch: self.scratch, in: ground.clientPlace)

        var word: ClientWord = try client.answer(within: self.patience)
        let atStart = (client: client.cpuSeconds, server: server.cpuSeconds, wire: ground.wireBytes)
        if case .started = word {
            ground.begin(self.scenario.script(self.profile))
            word = try client.answer(within: self.patience)
        }
        guard case .done(let result) = word else { throw BenchmarkError("the client started twice") }
        let clientCPU = client.cpuSeconds - atStart.client
        let serverCPU = server.cpuSeconds - atStart.server
        let wireBytes = ground.wireBytes.flatMap { after in atStart.wire.map { after - $0 } }
        _ = try client.finish(within: .seconds(20))
        _ = try server.stop(.closingInput)

        sample.take(result)
        sample.values["clientCPU"] = clientCPU
        sample.values["serverCPU"] = serverCPU
        if let wireBytes { sample.values["wireBytes"] = wireBytes }
        sample.addCostsPerMessage()
        sample.events = (ground.takeEvents() + (sample.events ?? [])).sorted { $0.at < $1.at }
    }

    private func qlogDirectory(of end: String) throws -> String? {
        guard let qlogDirectory else { return nil }
        let path = "\(qlogDirectory)/\(self.scenario.name)/\(self.contender.name)/\(self.round)/\(end)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return path
    }
}

extension LabSample {
    fileprivate mutating func take(_ result: ClientResult) {
        self.values = result.values
        self.failure = result.failure
        self.latenciesMicroseconds = result.latenciesMicroseconds
        if let step = result.timelineStep, let unit = result.timelineUnit, let values = result.timeline {
            self.timeline = Timeline(step: step, unit: unit, values: values)
        }
        self.events = result.events.map {
            LabEvent(at: $0.at, source: $0.isOfTransport ? "transport" : "application", text: $0.text)
        }
    }

    fileprivate mutating func addCostsPerMessage() {
        guard let count = self.values["messages"], count > 0 else { return }
        self.values["clientCPUPerMessage"] = (self.values["clientCPU"] ?? 0) * 1e6 / count
        self.values["serverCPUPerMessage"] = (self.values["serverCPU"] ?? 0) * 1e6 / count
        if let wire = self.values["wireBytes"] { self.values["wireBytesPerMessage"] = wire / count }
    }
}
