// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import TernMessages
package import TernTransport

/// One connection of a client, from the wish for it to its end.
struct LinkState: Sendable {
    enum Stage: Sendable, Hashable {
        case connecting
        case authenticating
        case open
        /// The server is about to stop: what is in flight is finished, and nothing new begins.
        case moving
        /// We said good-bye, and wait for the server's.
        case parting
    }

    /// What it is after its authentication.
    struct Session: Sendable {
        let answer: AuthenticationAnswer
        let carrier: Carrier
        let openedAt: ContinuousClock.Instant
        var health: LinkHealth
        /// The application got something by it.
        var wasUseful = false
        var pings = MessageSequence.zero
        /// After a go-offline: when to be back.
        var isBackAt: ContinuousClock.Instant?
    }

    let number: LinkNumber
    var stage = Stage.connecting
    /// Writes on the control stream that the connection did not take yet.
    var controlBacklog = 0
    /// During the authentication, the last time it was asked.
    var volume: LinkVolume?
    var session: Session?

    init(number: LinkNumber) {
        self.number = number
    }
}

/// How much went over a connection.
package struct LinkVolume: Sendable, Hashable {
    var carrier: Carrier
    var sent: UInt64
    var received: UInt64

    package init(carrier: Carrier, sent: UInt64, received: UInt64) {
        (self.carrier, self.sent, self.received) = (carrier, sent, received)
    }

    /// Whether nothing came back since, not even an acknowledgement of the carrier. TCP's are not seen.
    func isSilent(since earlier: LinkVolume) -> Bool {
        self.carrier == .quic && self.sent > earlier.sent && self.received == earlier.received
    }
}

/// When to connect again, and when to give up.
struct Reconnecting: Sendable {
    private let policy: ReconnectPolicy
    private var attempt = 0
    private(set) var hasConnected = false
    /// Since when there is no connection.
    private(set) var lostAt: ContinuousClock.Instant?
    /// Why the last connection, or the last attempt, failed.
    private(set) var reason: any Error = ClientError(.unreachable, message: "the server did not answer")
    /// The first connection came up and said nothing: once, that is tried again whatever the policy says. A network that lets only
    /// the handshake of QUIC pass is told from one that lets nothing pass by the second.
    private var hadSecondChance = false
    private var hasSecondChance = false

    init(_ policy: ReconnectPolicy) {
        self.policy = policy
    }

    /// When there has to be a connection again.
    var deadline: ContinuousClock.Instant? {
        guard self.hasConnected, let lostAt, let limit = self.policy.giveUpAfter else { return nil }
        return lostAt + limit
    }

    mutating func started(at now: ContinuousClock.Instant) {
        self.lostAt = now
    }

    mutating func connected() {
        self.hasConnected = true
        self.lostAt = nil
    }

    /// A connection that lived, or got something done, was a good one: the delays begin anew. One that ends at once is no
    /// better than none.
    mutating func lost(_ link: LinkState, _ reason: any Error, at now: ContinuousClock.Instant) {
        self.reason = reason
        let wasMute = link.stage == .authenticating && (reason as? ClientError)?.code == .timedOut
        self.hasSecondChance = wasMute && !self.hadSecondChance
        self.hadSecondChance = self.hadSecondChance || wasMute
        let session = link.session
        guard let session else { return }
        self.lostAt = now
        if session.wasUseful || now - session.openedAt >= self.policy.settlesAfter { self.attempt = 0 }
    }

    /// The wait before the next attempt.
    ///
    /// - Parameter asked: what the server asked for.
    mutating func nextDelay(
        at now: ContinuousClock.Instant, asked: Duration?, mayBeAtOnce: Bool, _ random: inout Jitter
    ) -> Duration {
        if !mayBeAtOnce { self.attempt = max(self.attempt, 1) }
        var delay = self.policy.delay(beforeAttempt: self.attempt, random: random.part())
        self.attempt += 1
        if let asked { delay = max(delay, asked) }
        if let deadline { delay = min(delay, max(deadline - now, .zero)) }
        return delay
    }

    /// Why there will be no other attempt; `nil` when there will be.
    func finalError(at now: ContinuousClock.Instant) -> ClientError? {
        if let error = self.reason as? ClientError, error.code == .authenticationRefused { return error }
        if !self.hasConnected, !self.policy.retriesFirstConnection, !self.hasSecondChance {
            return (self.reason as? ClientError) ?? ClientError(.unreachable, message: self.words)
        }
        guard let limit = self.policy.giveUpAfter, let lostAt, now - lostAt >= limit else { return nil }
        return ClientError(.unreachable, message: "there was no connection for \(limit): \(self.words)")
    }

    private var words: String {
        let message =
            switch self.reason {
            case let error as TransportError: error.message
            case let error as ClientError: error.message
            default: ""
            }
        return (message.isEmpty ? "\(self.reason)" : message).printable()
    }
}
