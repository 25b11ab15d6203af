// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Whether the server is still there: silence is asked after with a ping, and a ping without any answer means that the connection
/// is dead, whatever its carrier believes. A server asks the same of us: who only listens pings, too. A pure machine; it reads no
/// clock.
package struct LinkHealth: Sendable {
    package enum Verdict: Equatable {
        case wait
        case ping
        case dead(String)
    }

    private let policy: LivenessPolicy
    private var lastHeard: ContinuousClock.Instant
    private var lastSaid: ContinuousClock.Instant
    private var pingedAt: ContinuousClock.Instant?
    /// When the oldest message that waits for its answer began to wait, or when the last answer came.
    private var lastProgress: ContinuousClock.Instant?
    /// Since when requests wait for their answers.
    private var askedAt: ContinuousClock.Instant?

    package init(_ policy: LivenessPolicy, now: ContinuousClock.Instant) {
        self.policy = policy
        self.lastHeard = now
        self.lastSaid = now
    }

    /// Something was said to the server.
    package mutating func said(at now: ContinuousClock.Instant) {
        self.lastSaid = max(self.lastSaid, now)
    }

    /// Anything came from the server.
    package mutating func heard(at now: ContinuousClock.Instant) {
        self.lastHeard = now
        self.pingedAt = nil
    }

    /// Messages wait for their answers from now on, after a time in which none did.
    package mutating func beganWaiting(at now: ContinuousClock.Instant) {
        self.said(at: now)
        if self.lastProgress == nil { self.lastProgress = now }
    }

    /// A message was answered; `stillWaiting` says whether others wait.
    package mutating func answered(stillWaiting: Bool, at now: ContinuousClock.Instant) {
        self.heard(at: now)
        self.lastProgress = stillWaiting ? now : nil
    }

    /// A request waits for its answer.
    package mutating func asked(at now: ContinuousClock.Instant) {
        self.said(at: now)
        if self.askedAt == nil { self.askedAt = now }
    }

    /// No request waits any more.
    package mutating func requestsEnded() {
        self.askedAt = nil
    }

    /// When to ``check(at:)`` next, unless something is heard before.
    package var nextCheck: ContinuousClock.Instant {
        // The checks are for more than the interval.
        let grain = Duration.milliseconds(1)
        let answer = self.lastProgress.map { $0 + self.policy.answerTimeout + grain }
        let silence =
            if let pingedAt {
                pingedAt + self.policy.pingTimeout + grain
            } else {
                min(self.silentSince + self.silenceAllowed, self.lastSaid + self.policy.idlePingInterval) + grain
            }
        return min(answer ?? silence, silence)
    }

    private var silentSince: ContinuousClock.Instant {
        max(self.lastHeard, self.lastProgress ?? self.lastHeard, self.askedAt ?? self.lastHeard)
    }

    private var silenceAllowed: Duration {
        self.lastProgress == nil && self.askedAt == nil ? self.policy.idlePingInterval : self.policy.busyPingInterval
    }

    /// What to do now.
    package mutating func check(at now: ContinuousClock.Instant) -> Verdict {
        if let lastProgress, now - lastProgress > self.policy.answerTimeout {
            return .dead("no message was acknowledged for \(self.policy.answerTimeout)")
        }
        if let pingedAt {
            guard now - pingedAt > self.policy.pingTimeout else { return .wait }
            return .dead("nothing was heard for \(now - self.lastHeard)")
        }
        let isSilent = now - self.silentSince > self.silenceAllowed
        guard isSilent || now - self.lastSaid > self.policy.idlePingInterval else { return .wait }
        self.pingedAt = now
        self.said(at: now)
        return .ping
    }
}
