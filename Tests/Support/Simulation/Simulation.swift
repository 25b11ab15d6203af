// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernQMuxCore
internal import TernQUICCore
internal import TernTesting
internal import TernTransport

/// Runs whole scenarios and says what was wrong.
package enum Simulation {
    /// Far more than any scenario's network needs for its bytes.
    private static let bound = TimeAmount.seconds(900)
    private static let closeCode: UInt64 = 42

    /// - Returns: contradictions; empty when everything was as it should be.
    package static func runQUIC(_ scenario: Scenario) throws -> [String] {
        let ledger = Ledger()
        let pair = try SimulatedQUICPair(
            seed: scenario.seed, conditions: scenario.outbound, clientLimits: scenario.limits,
            serverLimits: scenario.limits, growsWindows: scenario.growsWindows)
        // It refers to the pair.
        defer { pair.onServer = nil }
        pair.network.inbound = scenario.inbound
        pair.changes = scenario.changes.map { (pair.now + $0.after, $0) }
        func application(_ core: QUICConnectionCore, _ workload: Workload) -> SimulatedApplication {
            SimulatedApplication(
                role: core.role, core: core, ledger: ledger, workload: workload,
                windows: (core.configuration.maximumConnectionWindow, core.configuration.maximumStreamWindow),
                seed: scenario.seed &* 31 &+ (core.role == .client ? 1 : 2), now: pair.now)
        }
        pair.applications = [application(pair.client, scenario.client)]
        pair.onServer = { pair.applications.append(application($0, scenario.server)) }
        try pair.run(for: self.bound) {
            !ledger.failures.isEmpty || self.areDone(pair.applications, ledger)
        }
        if let breakdown = pair.breakdown { ledger.fail(breakdown) }
        self.judgeTransfer(ledger, pair.applications)
        guard ledger.failures.isEmpty else { return ledger.failures }

        let closer = pair.applications[Int(scenario.seed % 2)]
        closer.close(code: self.closeCode, now: pair.now)
        try pair.run(for: .seconds(120)) { pair.client.isFinished && pair.server?.isFinished == true }
        self.judgeEnd(ledger, pair.applications, mayMissClose: true)
        self.judgeStatistics(ledger, pair)
        return ledger.failures
    }

    /// The same over two byte streams.
    package static func runQMux(_ scenario: Scenario) -> [String] {
        let ledger = Ledger()
        var scenario = scenario
        scenario.client.resetsUnknownStreams = true
        scenario.server.resetsUnknownStreams = true
        func pipe(_ conditions: NetworkConditions, _ seed: UInt64) -> SimulatedPipe {
            SimulatedPipe(
                seed: seed, delay: conditions.delay, jitter: conditions.jitter, rate: conditions.rate,
                largestPiece: [40, 500, 1460, 16_384][Int(seed / 2 % 4)])
        }
        let pair = SimulatedQMuxPair(
            up: pipe(scenario.outbound, scenario.seed &* 2), down: pipe(scenario.inbound, scenario.seed &* 2 &+ 1),
            clientLimits: scenario.limits, serverLimits: scenario.limits)
        pair.applications = [pair.client, pair.server].map { core in
            SimulatedApplication(
                role: core.role, core: core, ledger: ledger,
                workload: core.role == .client ? scenario.client : scenario.server,
                windows: (scenario.limits.connectionWindow, scenario.limits.streamWindow),
                seed: scenario.seed &* 37 &+ (core.role == .client ? 1 : 2), now: pair.now)
        }
        pair.run(for: .seconds(30)) { pair.client.isEstablished && pair.server.isEstablished }
        for application in pair.applications { application.wasEstablished() }
        pair.run(for: self.bound) { !ledger.failures.isEmpty || self.areDone(pair.applications, ledger) }
        if let breakdown = pair.breakdown { ledger.fail(breakdown) }
        self.judgeTransfer(ledger, pair.applications)
        guard ledger.failures.isEmpty else { return ledger.failures }
        pair.applications[Int(scenario.seed % 2)].close(code: self.closeCode, now: pair.now)
        pair.run(for: .seconds(120)) { pair.client.carrierDemand == .close && pair.server.carrierDemand == .close }
        self.judgeEnd(ledger, pair.applications, mayMissClose: false)
        for core in [pair.client, pair.server] where core.carrierDemand != .close {
            ledger.fail("\(core.role): it holds its carrier open")
        }
        return ledger.failures
    }

    private static func areDone(_ applications: [SimulatedApplication], _ ledger: Ledger) -> Bool {
        applications.count == 2 && applications.allSatisfy { $0.isDone || $0.closeReason != nil }
            && ledger.hasAllArrived
    }

    private static func judgeTransfer(_ ledger: Ledger, _ applications: [SimulatedApplication]) {
        guard ledger.failures.isEmpty else { return }
        if applications.count < 2 { ledger.fail("the server heard of no connection") }
        for application in applications where !application.isDone || application.closeReason != nil {
            ledger.fail("not done: \(application.unfinished)")
            ledger.fail("\(application.core.statistics())")
            for id in application.openStreams.prefix(2) {
                for end in applications { ledger.fail(end.trace(of: id)) }
            }
        }
        ledger.checkAllArrived()
    }

    private static func judgeEnd(_ ledger: Ledger, _ applications: [SimulatedApplication], mayMissClose: Bool) {
        for application in applications {
            let reason = application.closeReason
            // A CONNECTION_CLOSE may be lost, with every repetition: then silence ends the connection.
            if mayMissClose, reason?.code == .idleTimeout { continue }
            if reason?.code != .application || reason?.wireCode != self.closeCode {
                ledger.fail("\(application.role) ended with \(String(describing: reason))")
            }
        }
    }

    private static func judgeStatistics(_ ledger: Ledger, _ pair: SimulatedQUICPair) {
        for core in [pair.client, pair.server].compactMap({ $0 }) {
            let statistics = core.statistics()
            let handedOver = pair.handedOver[core.role, default: (0, 0)]
            let handedOut = pair.handedOut[core.role, default: (0, 0)]
            if statistics.packetsReceived ?? 0 != UInt64(handedOver.count)
                || statistics.bytesReceived != UInt64(handedOver.bytes)
            {
                ledger.fail("\(core.role): \(statistics) but \(handedOver) were received")
            }
            if statistics.packetsSent ?? 0 != UInt64(handedOut.count)
                || statistics.bytesSent != UInt64(handedOut.bytes)
            {
                ledger.fail("\(core.role): \(statistics) but \(handedOut) were sent")
            }
            if Int(statistics.datagramsReceived) < ledger.datagramsHeard(by: core.role) {
                ledger.fail("\(core.role): more datagrams were told than counted")
            }
        }
    }
}
