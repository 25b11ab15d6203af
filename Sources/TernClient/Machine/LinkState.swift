// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import TernMessages
internal import TernTransport

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
        /// Writes on the control stream that the connection did not take yet.
        var controlBacklog = 0
        /// After a go-offline: when to be back.
        var isBackAt: ContinuousClock.Instant?
    }

    let number: LinkNumber
    var stage = Stage.connecting
    var session: Session?

    init(number: LinkNumber) {
        self.number = number
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
    mutating func lost(_ session: LinkState.Session?, _ reason: any Error, at now: ContinuousClock.Instant) {
        self.reason = reason
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
        if !self.hasConnected, !self.policy.retriesFirstConnection {
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
