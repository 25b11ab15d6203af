// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOPosix
import TernTesting
import TernTransport
import TestTimeLimits
import Testing

/// One suite of behaviours, over every carrier.
@Suite("Conformance", .untilItHangs)
struct ConformanceTests {
    @Test("In memory", arguments: TransportConformance.behaviours)
    func inMemory(_ behaviour: ConformanceBehaviour) async throws {
        try await behaviour.run(over: InMemoryHarness(group: MultiThreadedEventLoopGroup.singleton))
    }

    @Test("Over QMux", arguments: TransportConformance.behaviours)
    func overQMux(_ behaviour: ConformanceBehaviour) async throws {
        try await behaviour.run(over: LoopbackHarness(carrier: .tls))
    }

    @Test("Over QUIC", arguments: TransportConformance.behaviours)
    func overQUIC(_ behaviour: ConformanceBehaviour) async throws {
        try await behaviour.run(over: LoopbackHarness(carrier: .quic))
    }
}
