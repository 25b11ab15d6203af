// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import Tern

@Suite("The race between carriers and addresses")
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
}

/// Drives a race with times in milliseconds and renders its decisions as text.
private struct Script {
    private var race: ConnectionRace
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000)
    private var now: NIODeadline

    init(_ mode: ConnectionPolicy.Mode) {
        self.now = self.start
        self.race = ConnectionRace(policy: ConnectionPolicy(mode), target: "server:4433", now: self.start)
    }

    var nextDeadline: Int64? {
        self.race.nextDeadline(after: self.now).map { ($0 - self.start).nanoseconds / 1_000_000 }
    }

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

    private mutating func moment(_ time: Int64) -> NIODeadline {
        self.now = self.start + .milliseconds(time)
        return self.now
    }

    private func render(_ actions: [ConnectionRace.Action]) -> [String] {
        actions.map { action in
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
