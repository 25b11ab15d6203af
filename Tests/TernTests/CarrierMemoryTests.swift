// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import Tern

@Suite("What is remembered of QUIC at a server")
struct CarrierMemoryTests {
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000)
    private let home = Endpoint.loopback(port: 1)

    @Test func whatDiedYoungIsDistrustedForAWhile() {
        var memory = CarrierMemory(ConnectionPolicy())
        #expect(!memory.distrustsQUIC(at: self.home, now: self.start))
        memory.quicDied(at: self.home, age: .seconds(3), now: self.start)
        #expect(memory.distrustsQUIC(at: self.home, now: self.start))
        #expect(
            !memory.distrustsQUIC(at: .loopback(port: 2), now: self.start), "other servers have nothing to do with it")
        #expect(memory.distrustsQUIC(at: self.home, now: self.start + .minutes(5) - .nanoseconds(1)))
        #expect(!memory.distrustsQUIC(at: self.home, now: self.start + .minutes(5)), "QUIC may try again")
    }

    @Test func whatDiesAgainIsDistrustedForLonger() {
        var memory = CarrierMemory(ConnectionPolicy())
        var now = self.start
        for minutes in [5, 10, 20, 40, 80, 120, 120] as [Int64] {
            memory.quicDied(at: self.home, age: .seconds(3), now: now)
            #expect(memory.distrustsQUIC(at: self.home, now: now + .minutes(minutes) - .nanoseconds(1)))
            now = now + .minutes(minutes)
            #expect(!memory.distrustsQUIC(at: self.home, now: now))
        }
        memory.quicGrewOld(at: self.home)
        memory.quicDied(at: self.home, age: .seconds(3), now: now)
        #expect(!memory.distrustsQUIC(at: self.home, now: now + .minutes(5)), "it began anew")
    }

    @Test func whatDiesOldWasNotToBlame() {
        var memory = CarrierMemory(ConnectionPolicy())
        memory.quicDied(at: self.home, age: .seconds(60), now: self.start)
        #expect(!memory.distrustsQUIC(at: self.home, now: self.start))
    }

    @Test func manyServersDoNotFillIt() {
        var memory = CarrierMemory(ConnectionPolicy())
        for port in 1...1_000 as ClosedRange<UInt16> {
            memory.quicDied(at: .loopback(port: port), age: .zero, now: self.start + .milliseconds(Int64(port)))
        }
        let now = self.start + .seconds(2)
        let remembered = (1...1_000 as ClosedRange<UInt16>).filter {
            memory.distrustsQUIC(at: .loopback(port: $0), now: now)
        }
        #expect(remembered == Array(745...1_000), "the latest are")
    }

    /// Whoever gives up a silent connection connects again before its end is told.
    @Test func whatIsSilentNowIsDistrustedNow() {
        final class Name {}
        let (one, other) = (Name(), Name())
        var memory = CarrierMemory(ConnectionPolicy())
        memory.quicIsSilent(ObjectIdentifier(one), at: self.home, since: self.start)
        memory.quicIsSilent(ObjectIdentifier(other), at: .loopback(port: 2), since: self.start)
        #expect(!memory.distrustsQUIC(at: self.home, now: self.start + .milliseconds(899)))
        #expect(memory.distrustsQUIC(at: self.home, now: self.start + .milliseconds(900)))
        memory.quicIsSilent(ObjectIdentifier(one), at: self.home, since: nil)
        #expect(!memory.distrustsQUIC(at: self.home, now: self.start + .seconds(2)), "it speaks again, or is over")
        #expect(memory.distrustsQUIC(at: .loopback(port: 2), now: self.start + .seconds(2)))
    }

    @Test func aSilenceIsToldFromAnIdleConnection() {
        func statistics(sent: UInt64, received: UInt64) -> ConnectionStatistics {
            var statistics = ConnectionStatistics()
            statistics.bytesSent = sent
            statistics.bytesReceived = received
            return statistics
        }
        let closed = TransportError(.application, message: "", wireCode: 1)
        var silence = Silence()
        silence.observed(statistics(sent: 100, received: 100), at: self.start)
        silence.observed(statistics(sent: 100, received: 100), at: self.start + .seconds(20))
        #expect(!silence.explains(closed, at: self.start + .seconds(20)), "nobody said anything")
        silence.observed(statistics(sent: 200, received: 100), at: self.start + .seconds(21))
        #expect(!silence.explains(closed, at: self.start + .milliseconds(21_500)))
        // A ping was noticed half a second late, and given up after a second and a half.
        #expect(silence.explains(closed, at: self.start + .seconds(22)))
        silence.observed(statistics(sent: 300, received: 100), at: self.start + .seconds(22))
        #expect(silence.explains(closed, at: self.start + .milliseconds(22_500)))
        let byPeer = TransportError(.application, message: "", wireCode: 1, initiator: .peer)
        #expect(!silence.explains(byPeer, at: self.start + .seconds(30)))
        silence.observed(statistics(sent: 300, received: 101), at: self.start + .seconds(23))
        #expect(!silence.explains(closed, at: self.start + .seconds(30)))
        #expect(silence.explains(TransportError(.idleTimeout, message: ""), at: self.start))
        #expect(silence.explains(TransportError(.carrierLost, message: ""), at: self.start))
        let reset = TransportError(.carrierLost, message: "a stateless reset", initiator: .peer)
        #expect(!silence.explains(reset, at: self.start), "the server began anew")
    }
}
