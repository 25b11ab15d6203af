// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Testing

@testable import TernClient

@Suite("Whether a connection is alive")
struct LinkHealthTests {
    private let start = ContinuousClock.now
    private func at(_ milliseconds: Int) -> ContinuousClock.Instant { self.start + .milliseconds(milliseconds) }

    @Test func anIdleConnectionIsPingedAndLivesByThePong() {
        var health = LinkHealth(LivenessPolicy(), now: self.start)
        #expect(health.check(at: self.at(5000)) == .wait)
        #expect(health.check(at: self.at(5001)) == .ping)
        #expect(health.check(at: self.at(5300)) == .wait, "one ping at a time")
        health.heard(at: self.at(5400))
        #expect(health.check(at: self.at(7000)) == .wait)
        #expect(health.check(at: self.at(10_401)) == .ping)
    }

    @Test func aPingWithoutAnAnswerMeansDead() {
        var health = LinkHealth(LivenessPolicy(), now: self.start)
        #expect(health.check(at: self.at(5001)) == .ping)
        #expect(health.check(at: self.at(6501)) == .wait)
        #expect(health.check(at: self.at(6502)) == .dead("nothing was heard for 6.502 seconds"))
    }

    @Test func whoWaitsForAnAcknowledgementAsksSooner() {
        var health = LinkHealth(LivenessPolicy(), now: self.start)
        health.beganWaiting(at: self.at(1000))
        #expect(health.check(at: self.at(2500)) == .wait)
        #expect(health.check(at: self.at(2501)) == .ping)
    }

    @Test func aServerThatOnlyAnswersPingsIsLeftInTheEnd() {
        var health = LinkHealth(LivenessPolicy(), now: self.start)
        health.beganWaiting(at: self.start)
        for second in 1...30 {
            health.heard(at: self.at(second * 1000))
            health.said(at: self.at(second * 1000))
            #expect(health.check(at: self.at(second * 1000)) == .wait)
        }
        #expect(health.check(at: self.at(30_001)) == .dead("no message was acknowledged for 30.0 seconds"))
    }

    @Test func whoSaysNothingIsSilentWhateverItHears() {
        var health = LinkHealth(LivenessPolicy(), now: self.start)
        health.heard(at: self.at(4000))
        #expect(health.nextCheck == self.at(5001))
        #expect(health.check(at: self.at(5000)) == .wait)
        #expect(health.check(at: self.at(5001)) == .ping)
        health.heard(at: self.at(5100))
        health.said(at: self.at(8000))
        #expect(health.check(at: self.at(10_100)) == .wait)
        health.heard(at: self.at(10_100))
        #expect(health.check(at: self.at(13_001)) == .ping)
    }

    @Test func progressStartsTheWaitAnew() {
        var health = LinkHealth(LivenessPolicy(), now: self.start)
        health.beganWaiting(at: self.start)
        health.answered(stillWaiting: true, at: self.at(29_000))
        health.said(at: self.at(29_000))
        #expect(health.check(at: self.at(30_001)) == .wait)
        health.answered(stillWaiting: false, at: self.at(31_000))
        #expect(health.check(at: self.at(33_000)) == .wait, "nothing waits: the idle interval counts")
    }
}
