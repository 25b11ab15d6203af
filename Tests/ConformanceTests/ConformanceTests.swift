// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOPosix
import TernTesting
import TernTransport
import Testing

/// One suite of behaviours, over every carrier.
@Suite("Conformance", .timeLimit(.minutes(3)))
struct ConformanceTests {
    @Test("In memory", arguments: TransportConformance.behaviours)
    func inMemory(_ behaviour: ConformanceBehaviour) async throws {
        try await behaviour.run(over: InMemoryHarness(group: MultiThreadedEventLoopGroup.singleton))
    }

    @Test("Over QMux", arguments: Self.behaviours(ofCarrier: .tls))
    func overQMux(_ behaviour: ConformanceBehaviour) async throws {
        try await behaviour.run(over: LoopbackHarness(carrier: .tls))
    }

    @Test("Over QUIC", arguments: Self.behaviours(ofCarrier: .quic))
    func overQUIC(_ behaviour: ConformanceBehaviour) async throws {
        try await behaviour.run(over: LoopbackHarness(carrier: .quic))
    }

    /// What a carrier does not do yet. An entry leaves this table with the change that makes it true.
    private static let missing: [Carrier: Set<String>] = [
        .tls: [
            "streams are opened with the connection, and are no replays without a ticket",
            "a stream that was opened with the connection goes on", "every tagged datagram has one fate",
            "a datagram that is refused has no fate", "async: a datagram tells its fate",
            "async: streams that came with the connection are answered",
        ],
    ]

    private static func behaviours(ofCarrier carrier: Carrier) -> [ConformanceBehaviour] {
        TransportConformance.behaviours.filter { !Self.missing[carrier, default: []].contains($0.description) }
    }

    @Test("Only behaviours that exist are said to be missing")
    func missingBehavioursExist() {
        let known = Set(TransportConformance.behaviours.map(\.description))
        for names in Self.missing.values { #expect(names.isSubset(of: known)) }
    }
}
