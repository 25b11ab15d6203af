// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import NIOPosix
import TernTransport
import Testing

@testable import TernQUIC

extension SocketTests {
    /// Floods from clients that mean no good: what they cost is bounded, and others are served meanwhile.
    ///
    /// The limits on memory are of the whole process, generous, and far below what an undefended server would take.
    @Suite(.serialized) struct Floods {
        private static let megabyte = 1 << 20

        /// The listener has read everything that was sent before: nothing is ahead of a stranger's version.
        private func settle(_ listener: QUICListener) async throws {
            let cameBack = try await echoes(64, at: listener.localAddress)
            #expect(cameBack)
        }

        @Test func halfOpenHandshakesStopAtTheRetry() async throws {
            var options = QUICServerOptions()
            options.handshakesBeforeRetry = 50
            try await withListener(serverOptions: options) { listener in
                let initials = try (0..<500).map { _ in try RawDatagram.initial(to: listener.localAddress) }
                let before = Consumption.memory
                // Each batch from an address of its own, as if they were forged.
                for batch in 0..<10 {
                    try await RawPeer.with(from: "127.0.1.\(batch + 1)", to: listener.localAddress) { peer in
                        try await peer.send(initials[(batch * 50)..<(batch * 50 + 50)])
                        try await self.settle(listener)
                        // Never more than three times what came (RFC 9000, section 8.1).
                        #expect(peer.answered.bytes <= 3 * 50 * 1200)
                    }
                }
                let counters = try await listener.counters().get()
                let occupancy = try await listener.occupancy().get()
                // Those that the listener was asked over may still be closing.
                #expect(occupancy.connections <= 50 + 10)
                #expect(counters.retries >= 400)
                // 500 half-open handshakes take more than 50 MB.
                #expect(Consumption.memory - before < 20 * Self.megabyte)
            }
        }

        @Test func halfOpenHandshakesOfOneAddressAreFew() async throws {
            var options = QUICServerOptions()
            options.addressValidation = .never
            options.limits.handshakesPerAddress = 20
            try await withListener(serverOptions: options) { listener in
                let initials = try (0..<100).map { _ in try RawDatagram.initial(to: listener.localAddress) }
                try await RawPeer.with(from: "127.0.2.1", to: listener.localAddress) { peer in
                    try await peer.send(initials)
                    // Another address is not affected.
                    try await self.settle(listener)
                }
                let shed = try await eventually { try await listener.counters().get().shed >= 80 }
                #expect(shed)
                let occupancy = try await listener.occupancy().get()
                #expect(occupancy.connections <= 22)
            }
        }

        @Test func unfinishedHandshakesEndInTime() async throws {
            var limits = ConnectionLimits()
            limits.handshakeTimeout = .milliseconds(200)
            try await withListener(limits: limits) { listener in
                let initials = try (0..<40).map { _ in try RawDatagram.initial(to: listener.localAddress) }
                try await RawPeer.with(to: listener.localAddress) { try await $0.send(initials) }
                let isFull = try await eventually { try await listener.counters().get().accepted == 40 }
                #expect(isFull)
                let isEmpty = try await eventually { try await listener.occupancy().get() == (0, 0) }
                #expect(isEmpty)
            }
        }

        @Test func noiseIsAnsweredByARetryBeforeLong() async throws {
            var options = QUICServerOptions()
            options.handshakesBeforeRetry = 20
            try await withListener(serverOptions: options) { listener in
                let before = Consumption.memory
                try await RawPeer.with(to: listener.localAddress) { peer in
                    for batch in 0..<40 {
                        try await peer.send((0..<50).map { RawDatagram.noise(number: UInt64(batch * 50 + $0 + 1)) })
                        try await self.settle(listener)
                    }
                    #expect(peer.answered.bytes <= 2000 * 1200)
                }
                let counters = try await listener.counters().get()
                // Some are forgotten each second; without the count all 2,000 would have set up a connection.
                #expect(counters.accepted < 600)
                #expect(counters.retries > 1000)
                // Those that the listener was asked over may still be closing.
                #expect(try await listener.occupancy().get().connections <= 40)
                #expect(Consumption.memory - before < 20 * Self.megabyte)
            }
        }

        @Test func noiseWithTokensOfAllKindsIsHarmless() async throws {
            try await withListener { listener in
                try await RawPeer.with(to: listener.localAddress) { peer in
                    var number: UInt64 = 0
                    for (first, length) in [(0xb6, 78), (0x36, 57), (0xb6, 57), (0x36, 78), (0, 1), (0xff, 900)] {
                        let token = [UInt8(first)] + Array(repeating: 5, count: length - 1)
                        try await peer.send(
                            (0..<150).map { _ in
                                number += 1
                                return RawDatagram.noise(number: number, token: token)
                            })
                        try await self.settle(listener)
                    }
                }
                let counters = try await listener.counters().get()
                // Those like a Retry token are refused, and that only so often.
                #expect(counters.refusals >= 1 && counters.refusals < 150)
                #expect(counters.repliesWithheld > 0)
            }
        }

        @Test func strangeVersionsAreAnsweredOnlySoOften() async throws {
            try await withListener { listener in
                try await RawPeer.with(to: listener.localAddress) { peer in
                    for batch in 0..<20 {
                        try await peer.send(
                            (0..<50).map { RawDatagram.strangeVersion(number: UInt32(batch * 50 + $0)) })
                        try await self.settle(listener)
                    }
                    #expect(peer.answered.bytes < 1000 * 100)
                }
                let counters = try await listener.counters().get()
                #expect(counters.versionNegotiations >= 1 && counters.versionNegotiations < 900)
                #expect(counters.versionNegotiations + counters.repliesWithheld == 1000)
                #expect(counters.accepted == 20)
            }
        }

        @Test func packetsOfUnknownConnectionsAreResetOnlySoOften() async throws {
            try await withListener { listener in
                try await RawPeer.with(to: listener.localAddress) { peer in
                    for batch in 0..<10 {
                        try await peer.send(
                            (0..<50).map { RawDatagram.unknownConnection(number: UInt32(batch * 50 + $0)) })
                        try await peer.send(
                            (0..<50).map { RawDatagram.unknownConnection(number: UInt32(batch * 50 + $0), node: 9) })
                        try await self.settle(listener)
                    }
                }
                let counters = try await listener.counters().get()
                #expect(counters.statelessResets >= 1 && counters.statelessResets < 450)
                // Those of another node are not answered at all.
                #expect(counters.statelessResets + counters.repliesWithheld == 500)
            }
        }

        @Test func noiseCostsLittleTime() async throws {
            try await withListener { listener in
                let packets = (0..<20_000).map { RawDatagram.noise(number: UInt64($0) + 1) }
                let before = Consumption.processor
                try await RawPeer.with(to: listener.localAddress) { peer in
                    for start in stride(from: 0, to: packets.count, by: 200) {
                        try await peer.send(packets[start..<(start + 200)])
                        _ = try await listener.counters().get()
                    }
                }
                // Sending included, in a debug build: less than a tenth of a millisecond for each packet.
                let used = Consumption.processor - before
                #expect(used < .seconds(4), "\(used.nanoseconds / 1_000_000) ms for 20,000 packets")
                try await self.settle(listener)
            }
        }
    }
}
