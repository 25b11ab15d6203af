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
        var shares = [WindowShare(of: budget), WindowShare(of: budget)]
        #expect(budget.available == 16_000_000, "nothing is taken before it is needed")
        #expect(shares[0].grow(by: 500_000) == 500_000)
        #expect(shares[1].grow(by: 2_000_000) == 15_500_000 / 16)
        #expect(shares[1].grow(by: -5) == 0)
        #expect(!shares[0].grow(byExactly: 2_000_000))
        #expect(shares[0].bytes == 500_000)
        for _ in 0..<1000 {
            let share = WindowShare(of: budget)
            _ = share.grow(by: 16_000_000)
            shares.append(share)
        }
        #expect(shares.reduce(0) { $0 + $1.bytes } + budget.available == 16_000_000)
        #expect(budget.available >= 0)
        shares[0].shrink(by: 1 << 40)
        #expect(shares[0].bytes == 0)
        shares = []
        #expect(budget.available == 16_000_000)
    }

    @Test("a window doubles while half of it is consumed within two round trips, up to its maximum")
    func doubles() {
        let budget = WindowBudget(bytes: 1 << 30)
        var window = ReceiveWindow(initial: 10_000, maximum: 65_000, share: WindowShare(of: budget))
        var (now, credit, consumed) = (1_000 as UInt64, 0, 0)
        for _ in 0..<200 {
            now += 1_000
            consumed += 1_000
            credit += window.consume(1_000, now: now, roundTrip: { 100_000 })
        }
        #expect(window.size == 65_000)
        #expect(credit - consumed == 55_000)
        #expect(budget.available == 1 << 30 - 55_000)
    }

    @Test("a stream's window doubles as far as its maximum, and only for who reads fast")
    func streamGrows() {
        var window = StreamWindow()
        var (credit, consumed) = (0, 0)
        func consume(at now: UInt64, roundTrip: UInt64) {
            consumed += 1_000
            credit += window.consume(1_000, initial: 10_000, maximum: 65_000, now: now, roundTrip: { roundTrip })
        }
        for _ in 0..<50 { consume(at: 5, roundTrip: 100_000) }
        for second in 1...50 as ClosedRange<UInt64> { consume(at: second * 1_000_000_000, roundTrip: 100_000_000) }
        for instant in 1...50 as ClosedRange<UInt64> { consume(at: 60_000_000_000 + instant, roundTrip: 0) }
        #expect(window.growth == 0 && credit == consumed)
        for instant in 1...200 as ClosedRange<UInt64> { consume(at: 70_000_000_000 + instant, roundTrip: 100_000) }
        #expect(window.growth == 55_000)
        #expect(credit - consumed == 55_000)
    }

    @Test("one large read after a pause, an unknown round trip and a slow reader grow nothing")
    func growsNothing() {
        let share = WindowShare(of: nil)
        var lump = ReceiveWindow(initial: 10_000, maximum: 65_000, share: share)
        for second in 1...20 as ClosedRange<UInt64> {
            for _ in 0..<10 {
                #expect(lump.consume(1_000, now: second * 1_000_000_000, roundTrip: { 100_000_000 }) == 1_000)
            }
        }
        #expect(lump.size == 10_000)
        var unknown = ReceiveWindow(initial: 10_000, maximum: 65_000, share: share)
        for instant in 1...100 as ClosedRange<UInt64> {
            #expect(unknown.consume(1_000, now: instant, roundTrip: { 0 }) == 1_000)
        }
        #expect(share.bytes == 0)
    }

    @Test("a connection that became slow gives back what its window grew by")
    func shrinks() {
        let budget = WindowBudget(bytes: 1 << 30)
        var window = ReceiveWindow(initial: 10_000, maximum: 65_000, share: WindowShare(of: budget))
        var (now, outstanding) = (1_000 as UInt64, 10_000)
        for _ in 0..<200 {
            now += 1_000
            outstanding += window.consume(1_000, now: now, roundTrip: { 100_000 }) - 1_000
        }
        #expect(window.size == 65_000 && outstanding == 65_000)
        for _ in 0..<1_000 {
            now += 1_000_000_000
            let credit = window.consume(1_000, now: now, roundTrip: { 100_000 })
            #expect((0...1_000).contains(credit))
            outstanding += credit - 1_000
            #expect(outstanding == window.size)
        }
        #expect(window.size == 10_000)
        #expect(budget.available == 1 << 30)
    }

    @Test("a budget bounds what a fast peer can leave unread, and idle connections take nothing of it")
    func budgetHolds() throws {
        var limits = ConnectionLimits()
        limits.connectionWindow = 64 << 10
        limits.streamWindow = 64 << 10
        let budget = WindowBudget(bytes: 4 << 20)
        let pair = try Pair(serverLimits: limits)
        pair.serverConfiguration.windowBudget = budget
        pair.delay = .milliseconds(50)
        try pair.establish()
        try pair.run(for: .seconds(1))
        #expect(budget.available == 4 << 20)
        let id = try #require(try pair.client.core?.openStream(.unidirectional))
        _ = try pair.client.core?.write(ByteBuffer(bytes: pattern(12_000_000)), to: id, finish: true)
        #expect(try pair.run(for: .seconds(60), until: { (pair.server.received[id]?.count ?? 0) > 6_000_000 }))
        let grown = try #require(pair.server.core?.window.size)
        #expect(grown > 512 << 10, "six doublings would be 4 MiB")
        #expect(grown - limits.connectionWindow + budget.available == 4 << 20)
        // The application stops reading: no more than the window comes, whatever the peer has.
        pair.server.consumes = false
        let before = try #require(pair.server.received[id]?.count)
        try pair.run(for: .seconds(20))
        let unread = try #require(pair.server.received[id]?.count) - before
        #expect(unread > limits.connectionWindow)
        #expect(unread <= grown)
        pair.server.core = nil
        #expect(budget.available == 4 << 20)
    }

    @Test(
        "streams that ngtcp2 cannot forget are charged, and the connection ends when there is no memory for more",
        .enabled(if: QUICConnectionCore.keepsEndedStreams), arguments: [0, 256 << 20], [false, true])
    func endedStreams(budgetBytes: Int, reordered: Bool) throws {
        // Enough for a few megabytes, of 240 bytes and of 16 KB each.
        let count = reordered ? 400 : 8000
        var limits = ConnectionLimits()
        limits.unidirectionalStreams = 512
        let budget = WindowBudget(bytes: budgetBytes)
        let pair = try Pair(serverLimits: limits)
        pair.serverConfiguration.windowBudget = budget
        try pair.establish()
        try pair.run(for: .milliseconds(300))
        let core = try #require(pair.client.core)
        var late = false
        pair.network = { flight in
            var flight = flight
            if flight.toServer, late { flight.arrives = flight.arrives + .milliseconds(20) }
            return flight
        }
        for _ in 0..<(count / 200) where core.closeReason == nil {
            let ids = try (0..<200).compactMap { _ in try core.openStream(.unidirectional) }
            for id in ids { _ = try core.write(ByteBuffer(string: "x"), to: id, finish: !reordered) }
            late = reordered
            try pair.run(for: .milliseconds(2))
            late = false
            if reordered { for id in ids { _ = try core.write(ByteBuffer(string: "y"), to: id, finish: true) } }
            try pair.run(for: .milliseconds(300))
        }
        let memory = try #require(pair.server.core?.native.memory)
        if budgetBytes == 0 {
            #expect(pair.server.closeReason?.code == .limitExceeded)
            #expect(pair.client.closeReason?.wireCode == TransportErrorCode.internalError)
            #expect(memory < QUICConnectionCore.freeMemory + (6 << 20))
        } else {
            #expect(pair.server.closeReason == nil)
            #expect(pair.server.finished.count == count)
            #expect(memory > QUICConnectionCore.freeMemory + QUICConnectionCore.memoryStep)
            #expect(budgetBytes - budget.available >= memory - QUICConnectionCore.freeMemory - (1 << 20))
        }
        pair.server.core = nil
        #expect(budget.available == budgetBytes)
    }
}
