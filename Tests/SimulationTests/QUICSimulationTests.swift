// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import NIOCore
import SimulationSupport
import TernQUICCore
import TernTesting
import TernTransport
import Testing

/// Which seeds run: a few, or `TERN_SIMULATION_SEEDS=N` from `TERN_SIMULATION_FIRST=M` on.
enum Seeds {
    static func chosen(_ standard: Int) -> [UInt64] {
        let environment = ProcessInfo.processInfo.environment
        let count = environment["TERN_SIMULATION_SEEDS"].flatMap { Int($0) } ?? standard
        let first = environment["TERN_SIMULATION_FIRST"].flatMap { UInt64($0) } ?? 1
        return (0..<UInt64(max(count, 0))).map { first + $0 }
    }

    static func repetition(_ seed: UInt64, _ suite: String) -> Comment {
        "repeat it with: TERN_SIMULATION_FIRST=\(seed) TERN_SIMULATION_SEEDS=1 swift test --filter \(suite)"
    }
}

@Suite("QUIC on simulated networks")
struct QUICSimulationTests {
    @Test("every byte, end and code arrives, whatever the network does", arguments: Seeds.chosen(20))
    func everything(seed: UInt64) throws {
        let scenario = Scenario(seed: seed)
        let failures = try Simulation.runQUIC(scenario)
        #expect(failures.isEmpty, Seeds.repetition(seed, "QUICSimulationTests"))
        if !failures.isEmpty { Issue.record("\(failures.joined(separator: "\n"))\n\(scenario)") }
    }
}

extension QUICSimulationTests {
    @Test("the same with streams that are reset before the peer has heard of them", arguments: Seeds.chosen(10))
    func earlyResets(seed: UInt64) throws {
        var scenario = Scenario(seed: seed &+ 1_000_000)
        (scenario.client.resetsUnknownStreams, scenario.server.resetsUnknownStreams) = (true, true)
        (scenario.client.reset, scenario.server.reset) = (0.2, 0.2)
        let failures = try Simulation.runQUIC(scenario)
        #expect(failures.isEmpty, Seeds.repetition(seed, "QUICSimulationTests"))
        if !failures.isEmpty { Issue.record("\(failures.joined(separator: "\n"))\n\(scenario)") }
    }

    /// 24: datagrams that were lost at the end of a flight filled the congestion window for ever. 33: a stream's limit rose by a
    /// frame that ngtcp2 0.12 forgot, so that the sender seemed to break it. 91, 149, 385: a
    /// STOP_SENDING was told before its stream. 115, 133, 370, 960: a server's ngtcp2 0.12 gave up a path for good when the network
    /// was down just after the client had moved. 29, 532: the client answered a PATH_CHALLENGE with a packet that was too large
    /// for its new path. 436: a server lost all that it might send to a new address, and its timer was disarmed.
    @Test(
        "seeds that found something once",
        arguments: [24, 29, 33, 91, 115, 133, 149, 370, 385, 436, 532, 960] as [UInt64])
    func mended(seed: UInt64) throws {
        let failures = try Simulation.runQUIC(Scenario(seed: seed))
        #expect(failures.isEmpty)
    }

    /// Take a seed out when it passes. 156, 700: a NAT moves the client during the handshake, when it has sent all that it has
    /// to and waits: nothing makes it speak, and the server speaks to its old address.
    @Test("seeds that fail for a known reason", arguments: [156, 700] as [UInt64])
    func known(seed: UInt64) throws {
        let failures = try Simulation.runQUIC(Scenario(seed: seed))
        withKnownIssue { #expect(failures.isEmpty) }
    }
}
