// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernQUICCore

@Suite("Receive windows")
struct WindowTests {
    private func duration(growing: Bool) throws -> TimeAmount {
        var limits = ConnectionLimits()
        limits.connectionWindow = 64 << 10
        limits.streamWindow = 64 << 10
        let pair = try Pair(serverLimits: limits, growsWindows: growing)
        pair.delay = .milliseconds(50)
        try pair.establish()
        let id = try #require(try pair.client.core?.openStream(.unidirectional))
        let bytes = pattern(3_000_000)
        try StreamTests.send(bytes, on: id, from: pair.client)
        let start = pair.now
        #expect(try pair.run(for: .seconds(100), until: { pair.server.finished.contains(id) }))
        let isWhole = pair.server.received[id] == bytes
        #expect(isWhole)
        return pair.now - start
    }

    @Test("a fast reader at the end of a long path gets a larger window")
    func growth() throws {
        let (fixed, growing) = (try self.duration(growing: false), try self.duration(growing: true))
        #expect(fixed > .seconds(4), "64 KiB in 100 ms")
        #expect(growing.nanoseconds < fixed.nanoseconds / 3)
    }

    @Test("bytes that nobody reads grow nothing")
    func unread() throws {
        var limits = ConnectionLimits()
        limits.connectionWindow = 64 << 10
        limits.streamWindow = 64 << 10
        let pair = try Pair(serverLimits: limits, growsWindows: true)
        pair.server.consumes = false
        try pair.establish()
        let id = try #require(try pair.client.core?.openStream(.unidirectional))
        _ = try pair.client.core?.write(ByteBuffer(bytes: pattern(1_000_000)), to: id, finish: true)
        try pair.run(for: .seconds(20))
        #expect((60_000...65_536).contains(pair.server.received[id]?.count ?? 0))
    }

    @Test("connections share a budget, and return it")
    func budget() {
        let budget = WindowBudget(bytes: 16_000_000)
        var shares = [budget.share(wanted: 500_000), budget.share(wanted: 2_000_000)]
        #expect(shares[0].bytes == 500_000)
        #expect(shares[1].bytes == 15_500_000 / 16)
        for _ in 0..<1000 { shares.append(budget.share(wanted: 16_000_000)) }
        #expect(shares.reduce(0) { $0 + $1.bytes } + budget.available == 16_000_000)
        #expect(budget.available >= 0)
        shares = []
        #expect(budget.available == 16_000_000)
    }

    @Test("a configuration that shares never offers less than the initial windows")
    func configuration() {
        var limits = ConnectionLimits()
        limits.connectionWindow = 1000
        limits.streamWindow = 600
        let ids = QUICConnectionIDSource(length: 8, resetSecret: QUICResetSecret())
        var configuration = QUICConfiguration(limits: limits, connectionIDs: ids)
        configuration.maximumConnectionWindow = 5000
        configuration.maximumStreamWindow = 4000
        let poor = configuration.sharing(WindowBudget(bytes: 0))
        #expect(poor.maximumConnectionWindow == 1000)
        #expect(poor.maximumStreamWindow == 1000)
        let rich = configuration.sharing(WindowBudget(bytes: 1 << 30))
        #expect(rich.maximumConnectionWindow == 5000)
        #expect(rich.maximumStreamWindow == 4000)
    }
}
