// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import TestTimeLimits
import Testing

@testable import Tern

@Suite("The race between carriers and addresses", .untilItHangs)
struct ConnectionRaceTests {
    let v6 = try! SocketAddress(ipAddress: "2001:db8::1", port: 4433)
    let v4 = try! SocketAddress(ipAddress: "192.0.2.1", port: 4433)
    let refused = TransportError(.connectionRefused, message: "refused")

    @Test func quicStartsAtOnceAndTCPAfterSilence() {
        var script = Script(.preferQUIC)
        #expect(script.resolved(v6: [], v4: [self.v4]) == ["start quic 192.0.2.1:4433"])
        #expect(script.nextDeadline == 100)
        #expect(script.wake(at: 99) == [])
        #expect(script.wake(at: 100) == ["start tls 192.0.2.1:4433"])
        #expect(script.succeeded(1, at: 131) == ["cancel 0", "finish tls udp-silent after 131 ms"])
    }

    @Test func aServerThatAnsweredOverUDPHasUntilTheDelay() {
        var script = Script(.preferQUIC)
        _ = script.resolved(v6: [], v4: [self.v4])
        #expect(script.heard(0, at: 40) == [])
        #expect(script.nextDeadline == 250)
        #expect(script.wake(at: 100) == [])
        #expect(script.wake(at: 250) == ["start tls 192.0.2.1:4433"])
        #expect(script.succeeded(1, at: 300) == ["cancel 0", "finish tls tcp-faster after 300 ms"])
    }

    @Test func quicThatFinishesFirstNeverStartsTCP() {
        var script = Script(.preferQUIC)
        _ = script.resolved(v6: [], v4: [self.v4])
        _ = script.heard(0, at: 10)
        #expect(script.succeeded(0, at: 12) == ["finish quic quic-first after 12 ms"])
        #expect(script.nextDeadline == nil)
        #expect(script.wake(at: 500) == [])
    }

    @Test func aFailureOfQUICStartsTCPAtOnce() {
        var script = Script(.preferQUIC)
        _ = script.resolved(v6: [], v4: [self.v4])
        #expect(script.failed(0, self.refused, at: 3) == ["start tls 192.0.2.1:4433"])
        #expect(script.succeeded(1, at: 9) == ["finish tls quic-failed after 9 ms"])
    }

    @Test func aLateQUICStillWinsWhileTCPRuns() {
        var script = Script(.preferQUIC)
        _ = script.resolved(v6: [], v4: [self.v4])
        _ = script.wake(at: 100)
        #expect(script.succeeded(0, at: 180) == ["cancel 1", "finish quic quic-first after 180 ms"])
        #expect(script.succeeded(1, at: 190) == ["cancel 1"], "a second winner is closed")
    }

    @Test func raceStartsBothAtOnce() {
        var script = Script(.race)
        #expect(
            script.resolved(v6: [], v4: [self.v4]) == ["start quic 192.0.2.1:4433", "start tls 192.0.2.1:4433"])
    }

    @Test(arguments: [(ConnectionPolicy.Mode.quicOnly, "quic"), (.tcpOnly, "tls")])
    func oneCarrierOnly(mode: ConnectionPolicy.Mode, carrier: String) {
        var script = Script(mode)
        #expect(script.resolved(v6: [], v4: [self.v4]) == ["start \(carrier) 192.0.2.1:4433"])
        #expect(script.wake(at: 1_000) == [])
        #expect(script.succeeded(0, at: 1_200) == ["finish \(carrier) only-choice after 1200 ms"])
    }

    @Test func ipv6ComesFirstAndIPv4FollowsAfterTheAttemptDelay() {
        var script = Script(.quicOnly)
        #expect(script.resolved(v6: [self.v6], v4: [self.v4]) == ["start quic [2001:db8::1]:4433"])
        #expect(script.nextDeadline == 250)
        #expect(script.wake(at: 250) == ["start quic 192.0.2.1:4433"])
    }

    @Test func aFailedAddressIsFollowedAtOnce() {
        var script = Script(.quicOnly)
        _ = script.resolved(v6: [self.v6], v4: [self.v4])
        #expect(script.failed(0, self.refused, at: 2) == ["start quic 192.0.2.1:4433"])
    }

    @Test func ipv4WaitsForTheResolutionDelay() {
        var script = Script(.quicOnly)
        #expect(script.resolved(.v4, [self.v4], at: 5) == [])
        #expect(script.nextDeadline == 55)
        #expect(script.wake(at: 55) == ["start quic 192.0.2.1:4433"])
        #expect(script.resolved(.v6, [self.v6], at: 60) == [], "it joins behind what runs")
        #expect(script.failed(0, self.refused, at: 70) == ["start quic [2001:db8::1]:4433"])
    }

    @Test func ipv6DoesNotWaitForIPv4() {
        var script = Script(.quicOnly)
        #expect(script.resolved(.v6, [self.v6], at: 5) == ["start quic [2001:db8::1]:4433"])
        #expect(script.failed(0, self.refused, at: 6) == [], "IPv4 may still come")
        #expect(script.resolved(.v4, [self.v4], at: 8) == ["start quic 192.0.2.1:4433"])
    }

    @Test func everyFailureIsNamed() {
        var script = Script(.preferQUIC)
        _ = script.resolved(v6: [], v4: [self.v4])
        _ = script.failed(0, TransportError(.timedOut, message: "no answer"), at: 50)
        let last = script.failed(1, self.refused, at: 60)
        #expect(last.count == 1)
        #expect(last[0].hasPrefix("fail connectionRefused"))
        #expect(last[0].contains("quic to 192.0.2.1:4433: timedOut"))
        #expect(last[0].contains("tls to 192.0.2.1:4433: connectionRefused"))
    }

    @Test func theTimeoutEndsEverything() {
        var script = Script(.preferQUIC)
        _ = script.resolved(v6: [], v4: [self.v4])
        _ = script.wake(at: 100)
        let last = script.wake(at: 15_000)
        #expect(last.prefix(2) == ["cancel 0", "cancel 1"])
        #expect(last.last?.hasPrefix("fail timedOut") == true)
    }

    @Test func aNameWithoutAddressesFails() {
        var script = Script(.preferQUIC)
        #expect(script.resolved(v6: [], v4: []).first?.hasPrefix("fail unreachable") == true)
    }

    @Test func abandoningCancelsWhatRuns() {
        var script = Script(.race)
        _ = script.resolved(v6: [], v4: [self.v4])
        #expect(script.abandoned(at: 4).prefix(2) == ["cancel 0", "cancel 1"])
        #expect(script.succeeded(0, at: 5) == ["cancel 0"])
    }

    /// A network that drops UDP over IPv6 in silence.
    @Test func theOtherFamilyHasItsChanceBeforeTCP() {
        var script = Script(.preferQUIC)
        #expect(script.resolved(v6: [self.v6], v4: [self.v4]) == ["start quic [2001:db8::1]:4433"])
        #expect(script.nextDeadline == 100)
        #expect(script.wake(at: 100) == ["start quic 192.0.2.1:4433"])
        #expect(script.nextDeadline == 125)
        #expect(script.heard(1, at: 110) == [])
        #expect(script.succeeded(1, at: 112) == ["cancel 0", "finish quic quic-first after 112 ms"])
        #expect(script.sentence == "connected over quic after 112.0 ms; no answer over UDP from [2001:db8::1]:4433")
    }

    @Test func whereBothFamiliesAreSilentTCPTakesOver() {
        var script = Script(.preferQUIC)
        _ = script.resolved(v6: [self.v6], v4: [self.v4])
        _ = script.wake(at: 100)
        #expect(script.wake(at: 124) == [])
        #expect(script.wake(at: 125) == ["start tls [2001:db8::1]:4433"])
        #expect(script.succeeded(2, at: 140) == ["cancel 0", "cancel 1", "finish tls udp-silent after 140 ms"])
        #expect(script.sentence == "no answer over UDP: fell back to tls after 140.0 ms")
    }

    /// IPv6 leads nowhere, IPv4 does: that one address was refused is no reason to leave UDP.
    @Test func oneRefusedFamilyIsNoFailureOfQUIC() {
        var script = Script(.preferQUIC)
        _ = script.resolved(v6: [self.v6], v4: [self.v4])
        #expect(script.failed(0, self.refused, at: 1) == ["start quic 192.0.2.1:4433"])
        #expect(script.heard(1, at: 3) == [])
        #expect(script.succeeded(1, at: 5) == ["finish quic quic-first after 5 ms"])
    }

    @Test func aServerThatRefusesTheHandshakeOpensTCPAtOnce() {
        var script = Script(.preferQUIC)
        _ = script.resolved(v6: [self.v6], v4: [self.v4])
        let broken = TransportError(.handshakeFailed, message: "no common version")
        #expect(script.failed(0, broken, at: 4) == ["start quic 192.0.2.1:4433", "start tls [2001:db8::1]:4433"])
    }

    /// The report says what was not tried: here IPv4 came too late for QUIC.
    @Test func theSentenceNamesWhatWasNotTried() {
        var policy = ConnectionPolicy()
        policy.attemptDelay = .milliseconds(10)
        policy.tcpDelay = .milliseconds(20)
        policy.silentTCPDelay = .milliseconds(20)
        var script = Script(policy)
        _ = script.resolved(.v6, [self.v6], at: 0)
        #expect(script.wake(at: 20) == ["start tls [2001:db8::1]:4433"])
        #expect(script.resolved(.v4, [self.v4], at: 21) == ["start quic 192.0.2.1:4433"])
        #expect(script.failed(2, self.refused, at: 22) == [])
        #expect(script.wake(at: 30) == ["start tls 192.0.2.1:4433"])
        #expect(script.succeeded(3, at: 33).last == "finish tls quic-failed after 33 ms")
    }

    /// Every deadline is armed, also one that passed between deciding and arming.
    @Test func aDeadlineThatPassedIsArmedAtOnce() {
        var script = Script(.preferQUIC)
        _ = script.resolved(v6: [], v4: [self.v4])
        #expect(script.nextDeadline == 100, "nobody was told of it yet")
        #expect(script.wake(at: 150) == ["start tls 192.0.2.1:4433"])
        #expect(script.nextDeadline == 15_000)
        #expect(script.wake(at: 16_000).last?.hasPrefix("fail timedOut") == true)
        #expect(script.nextDeadline == nil)
    }

    @Test func withoutAnAttemptDelayAllAddressesStartAtOnce() throws {
        var policy = ConnectionPolicy(.quicOnly)
        policy.attemptDelay = .zero
        var script = Script(policy)
        let others = try (2...4).map { try SocketAddress(ipAddress: "192.0.2.\($0)", port: 4433) }
        #expect(script.resolved(v6: [], v4: [self.v4] + others) == ["start quic 192.0.2.1:4433"])
        var started = 1
        // As the driver does: armed at once, again and again, and no longer than there are addresses.
        while script.nextDeadline == 0, started < 10 { started += script.wake(at: 0).count }
        #expect(started == 4)
        #expect(script.nextDeadline == 15_000)
    }

    @Test func aNameThatDoesNotResolveInTimeIsSaidToBeIt() {
        var script = Script(.preferQUIC)
        _ = script.resolved(.v6, [], at: 3)
        let last = script.wake(at: 15_000)
        #expect(last == ["fail timedOut: could not connect to server:4433: its name did not resolve within 15 s"])
    }

    @Test(arguments: [ConnectionPolicy.Mode.preferQUIC, .race])
    func whereQUICDiedYoungTCPIsFirst(mode: ConnectionPolicy.Mode) {
        var script = Script(ConnectionPolicy(mode), distrustsQUIC: true)
        #expect(script.resolved(v6: [], v4: [self.v4]) == ["start tls 192.0.2.1:4433"])
        #expect(script.nextDeadline == 2_000)
        #expect(script.succeeded(0, at: 12) == ["finish tls quic-distrusted after 12 ms"])
        #expect(script.sentence == "quic to this server died young before: connected over tls after 12.0 ms")
    }

    @Test func whereQUICDiedYoungItIsStillBetterThanNothing() {
        var script = Script(ConnectionPolicy(), distrustsQUIC: true)
        _ = script.resolved(v6: [], v4: [self.v4])
        #expect(script.failed(0, self.refused, at: 5) == ["start quic 192.0.2.1:4433"])
        #expect(script.succeeded(1, at: 9) == ["finish quic quic-first after 9 ms"])
        script = Script(ConnectionPolicy(), distrustsQUIC: true)
        _ = script.resolved(v6: [], v4: [self.v4])
        #expect(script.wake(at: 2_000) == ["start quic 192.0.2.1:4433"])
        script = Script(ConnectionPolicy(.quicOnly), distrustsQUIC: true)
        #expect(script.resolved(v6: [], v4: [self.v4]) == ["start quic 192.0.2.1:4433"])
    }

    /// Whatever comes in whatever order, a race ends, and an armed deadline moves it.
    @Test func everyRaceEnds() throws {
        var generator = Seeded(state: 31)
        let addresses = [self.v6, self.v4]
        for round in 0..<2_000 {
            var policy = ConnectionPolicy(ConnectionPolicy.Mode.allCases.randomElement(using: &generator) ?? .race)
            policy.attemptDelay = .milliseconds(Int64.random(in: 0...300, using: &generator))
            policy.silentTCPDelay = .milliseconds(Int64.random(in: 0...300, using: &generator))
            policy.tcpDelay = .milliseconds(Int64.random(in: 0...300, using: &generator))
            policy.timeout = .seconds(3)
            var script = Script(policy, distrustsQUIC: Bool.random(using: &generator))
            var time: Int64 = 0
            var running = 0
            func count(_ actions: [String]) -> Bool {
                running += actions.count { $0.hasPrefix("start") }
                return actions.contains { $0.hasPrefix("fail") || $0.hasPrefix("finish") }
            }
            var isOver = count(script.resolved(.v6, [addresses[0]], at: 0))
            isOver = isOver || count(script.resolved(.v4, [addresses[1]], at: 0))
            var turns = 0
            while !isOver, turns < 100 {
                turns += 1
                let deadline = try #require(script.nextDeadline, "round \(round)")
                time = max(time, deadline)
                if Int.random(in: 0..<4, using: &generator) == 0, running > 0 {
                    isOver = count(
                        script.failed(Int.random(in: 0..<running, using: &generator), self.refused, at: time))
                } else {
                    isOver = count(script.wake(at: time))
                }
            }
            #expect(isOver, "round \(round) turns for ever")
        }
    }
}

/// Drives a race with times in milliseconds and renders its decisions as text.
private struct Script {
    private var race: ConnectionRace
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000)

    private var report: ConnectionReport?

    init(_ mode: ConnectionPolicy.Mode) {
        self.init(ConnectionPolicy(mode))
    }

    init(_ policy: ConnectionPolicy, distrustsQUIC: Bool = false) {
        self.race = ConnectionRace(
            policy: policy, target: "server:4433", distrustsQUIC: distrustsQUIC, now: self.start)
    }

    var nextDeadline: Int64? {
        self.race.nextDeadline().map { ($0 - self.start).nanoseconds / 1_000_000 }
    }

    /// What the report of the race says.
    var sentence: String? { self.report?.description }

    mutating func resolved(v6: [SocketAddress], v4: [SocketAddress]) -> [String] {
        self.render(self.race.addressesResolved(v6, family: .v6, at: self.start))
            + self.render(self.race.addressesResolved(v4, family: .v4, at: self.start))
    }

    mutating func resolved(
        _ family: ConnectionRace.AddressFamily, _ addresses: [SocketAddress], at time: Int64
    ) -> [String] {
        self.render(self.race.addressesResolved(addresses, family: family, at: self.moment(time)))
    }

    mutating func heard(_ id: Int, at time: Int64) -> [String] {
        self.render(self.race.attemptHeard(id, at: self.moment(time)))
    }

    mutating func succeeded(_ id: Int, at time: Int64) -> [String] {
        self.render(self.race.attemptSucceeded(id, at: self.moment(time)))
    }

    mutating func failed(_ id: Int, _ error: TransportError, at time: Int64) -> [String] {
        self.render(self.race.attemptFailed(id, error, at: self.moment(time)))
    }

    mutating func wake(at time: Int64) -> [String] {
        self.render(self.race.deadlineReached(at: self.moment(time)))
    }

    mutating func abandoned(at time: Int64) -> [String] {
        self.render(self.race.abandoned(at: self.moment(time)))
    }

    private func moment(_ time: Int64) -> NIODeadline {
        self.start + .milliseconds(time)
    }

    private mutating func render(_ actions: [ConnectionRace.Action]) -> [String] {
        for case .finish(let report, _) in actions { self.report = report }
        return actions.map { action in
            switch action {
            case .start(_, let carrier, let address): "start \(carrier) \(address.hostAndPort)"
            case .cancel(let id): "cancel \(id)"
            case .finish(let report, _):
                "finish \(report.carrier) \(report.reason.rawValue) after \(report.totalDuration.nanoseconds / 1_000_000) ms"
            case .fail(let error): "fail \(error.code): \(error.message)"
            }
        }
    }
}

/// The same numbers in every run.
private struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        self.state = self.state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return self.state >> 32 | self.state << 32
    }
}
