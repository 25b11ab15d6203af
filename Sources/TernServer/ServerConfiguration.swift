// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import TernMessages
public import TernStore

/// What a ``MessageServer`` allows. Everything that a client could make grow is bounded by a number here.
public struct ServerConfiguration: Sendable {
    /// What tokens name as their audience, and clients are told.
    public var name: Name
    /// Checks signed tokens; without it only development tokens are taken.
    public var secret: AccessSecret?
    /// Takes `dev:USER` and `dev:USER/DEVICE` without any proof. Never in production.
    public var acceptsDevelopmentTokens = false
    /// What acknowledgements promise; must be what the store does.
    public var durability: TernMessages.Durability = .full
    /// How long the store recognises client message ids, in seconds; told to clients.
    public var idempotencyWindow: UInt32 = 7 * 24 * 3600

    /// The largest payload of a message, in bytes; at most 2^20 − 1.
    public var maximumPayloadLength = 1 << 16
    /// The largest body of a request, in bytes.
    public var maximumRequestLength = 1 << 14
    /// Messages of a history page, entries of a list.
    public var maximumPageCount = 500
    /// Bytes of payloads in a history page.
    public var maximumPageBytes = 1 << 19
    /// Whether a user who never connected can be given a number, so that messages wait for them.
    public var createsUsersOnRequest = true

    public var maximumConnections = 50_000
    public var maximumConnectionsPerUser = 64
    /// When a user has as many connections as allowed, the one that was silent for longest gives way to a new one, if that is as long
    /// as this. Longer than clients take between two pings.
    public var silenceBeforeGivingWay = Duration.seconds(10)
    /// Requests of one connection that are worked on at once; above it the server stops reading them.
    public var maximumRequestsInFlight = 32
    /// Requests of one user, on all connections together, that the store works on at once; the others wait, so that nobody
    /// keeps its readers from everybody else.
    public var maximumRequestsPerUser = 8
    /// Memory of messages of one connection, on all its streams, that are to be stored or answered; above it the server
    /// stops reading them.
    public var maximumPendingBytes = 1 << 20
    /// Memory of responses of one connection, on all its streams, that are being made or wait to be read; above it the
    /// server stops reading requests.
    public var maximumResponseBytes = 4 << 20
    /// Memory of what waits to be pushed to one connection; above it its fullest channel is switched to pull.
    public var maximumQueuedPushBytes = 4 << 20
    /// Push streams of one connection.
    public var maximumPushStreams = 60
    /// Messages, receipts, pings and requests of one connection. What costs the server more counts more: a message as one
    /// more for every ``deliveriesPerMessage`` users who are to hear it, a receipt that must be compared with the store as
    /// eight, a request for names as one for each name.
    public var messageRate = RateLimit(rate: 50_000, burst: 100_000)
    /// See ``messageRate``.
    public var deliveriesPerMessage = 64
    /// Receipts, typing and presence of one connection, counted once for each connection that hears them. Above it receipts
    /// wait, and those of one channel become one; typing and presence are dropped.
    public var fanOutRate = RateLimit(rate: 20_000, burst: 100_000)
    /// Typing and presence datagrams of one connection; above it they are dropped.
    public var datagramRate = RateLimit(rate: 50, burst: 100)

    /// What each user may make grow for good. The server sets it in its store.
    public var quotas = UserQuotas()

    /// A connection that has not shown a valid token by then is closed.
    public var authenticationTimeout = Duration.seconds(5)
    /// How long a refused client is given to read why.
    public var refusalLinger = Duration.milliseconds(500)

    public init(name: Name) {
        self.name = name
    }
}
