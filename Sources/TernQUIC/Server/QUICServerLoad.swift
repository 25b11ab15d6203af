// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import Synchronization
internal import TernTransport

/// What a listener has taken on, on all its event loops together, and what it takes on besides.
///
/// Any event loop may call it; each call locks once, for less than a microsecond, and only for what a client's first
/// packets cause.
final class QUICServerLoad: Sendable {
    private struct State {
        var load: ListenerLoad
        var failures = DecayingCount()
        var usedTokens = UsedTokens()
    }

    private let handshakesBeforeRetry: Int
    private let state: Mutex<State>

    init(limits: ListenerLimits, handshakesBeforeRetry: Int) {
        self.handshakesBeforeRetry = max(handshakesBeforeRetry, 0)
        self.state = Mutex(State(load: ListenerLoad(ListenerCaps(limits, descriptors: nil))))
    }

    var connections: Int { self.state.withLock { $0.load.connections } }
    /// Handshakes that have not finished.
    var handshakes: Int { self.state.withLock { $0.load.handshakes } }

    /// Whether so many handshakes are unfinished, or failed in the last seconds, that clients should prove their
    /// address first. A flood of nonsense leaves nothing unfinished, yet each packet of it costs a connection's set-up.
    func isHigh(now: NIODeadline) -> Bool {
        self.state.withLock { state in
            state.load.handshakes + state.failures.value(now: now, perSecond: self.failuresForgotten)
                >= self.handshakesBeforeRetry
        }
    }

    private var failuresForgotten: Int { max(self.handshakesBeforeRetry / 4, 1) }

    /// Counts a connection whose handshake begins, unless a limit is reached.
    func begin(from network: ClientNetwork) -> Bool {
        self.state.withLock { $0.load.begin(from: network) == nil }
    }

    /// The handshake of a connection that was begun is done.
    func establish(from network: ClientNetwork) {
        self.state.withLock { $0.load.establish(from: network) }
    }

    /// A connection that was begun is forgotten.
    func end(from network: ClientNetwork, isEstablished: Bool, now: NIODeadline) {
        self.state.withLock { state in
            if !isEstablished {
                state.failures.add(now: now, perSecond: self.failuresForgotten, limit: 4 * self.handshakesBeforeRetry)
            }
            state.load.end(from: network, isEstablished: isEstablished)
        }
    }

    /// Whether a valid token is seen for the first time, as far as is remembered (RFC 9000, section 8.1.4: replay of
    /// tokens must be limited).
    func use(token: [UInt8]) -> Bool {
        self.state.withLock { $0.usedTokens.insert(token) }
    }
}

extension ClientNetwork {
    init(_ address: SocketAddress) {
        self.init(ipAddress: address.ipAddressBytes)
    }
}

/// Counts, and forgets so many per second.
private struct DecayingCount {
    private var count = 0.0
    private var latest: NIODeadline?

    mutating func value(now: NIODeadline, perSecond: Int) -> Int {
        if let latest, now > latest {
            self.count = max(0, self.count - Double((now - latest).nanoseconds) / 1e9 * Double(perSecond))
        }
        self.latest = max(now, self.latest ?? now)
        return Int(self.count)
    }

    mutating func add(now: NIODeadline, perSecond: Int, limit: Int) {
        _ = self.value(now: now, perSecond: perSecond)
        self.count = min(self.count + 1, Double(limit))
    }
}

/// Remembers tokens that were used, in bounded memory: at least as many as one generation holds.
private struct UsedTokens {
    private var newer: Set<UInt64> = []
    private var older: Set<UInt64> = []

    /// Whether it is new.
    mutating func insert(_ token: [UInt8]) -> Bool {
        // A token ends in random bytes; two that agree in eight of them cost a client one Retry.
        let key = token.suffix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard !self.older.contains(key), self.newer.insert(key).inserted else { return false }
        if self.newer.count >= Self.generation {
            self.older = self.newer
            self.newer = []
        }
        return true
    }

    private static let generation = 32_768
}
