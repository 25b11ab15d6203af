// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTransport

/// QX_PING (draft-ietf-quic-qmux-02, section 4.3): whether the peer is there, and how far away.
struct QMuxPings {
    /// Send a request with the next record.
    var wantsToAsk = false
    private(set) var latest: TimeAmount?
    private(set) var minimum: TimeAmount?
    private(set) var smoothed: TimeAmount?

    private(set) var lastSent: UInt64 = 0
    /// Everything before this request is at the peer.
    private(set) var largestAnswer: UInt64 = 0
    /// When the request that is still unanswered left.
    private var askedAt: NIODeadline?
    private var lastReceived: UInt64?
    private var toAnswer: UInt64?

    /// Several requests are answered once, with the largest number.
    mutating func requestReceived(_ number: UInt64) throws(QMuxViolation) {
        guard self.lastReceived.map({ number > $0 }) ?? true else {
            throw .protocolViolation("a ping number that does not rise", QMuxFrameType.pingRequest)
        }
        self.lastReceived = number
        self.toAnswer = number
    }

    mutating func responseReceived(_ number: UInt64, now: NIODeadline) throws(QMuxViolation) {
        guard self.lastSent > 0, number <= self.lastSent else {
            throw .protocolViolation("an answer to a ping that was never sent", QMuxFrameType.pingResponse)
        }
        self.largestAnswer = max(self.largestAnswer, number)
        guard number == self.lastSent, let askedAt else { return }
        self.askedAt = nil
        self.measured(now - askedAt)
    }

    mutating func takeResponse() -> QMuxFrame? {
        defer { self.toAnswer = nil }
        return self.toAnswer.map { .pingResponse($0) }
    }

    mutating func takeRequest(now: NIODeadline) -> QMuxFrame? {
        guard self.wantsToAsk else { return nil }
        self.wantsToAsk = false
        self.lastSent += 1
        self.askedAt = now
        return .pingRequest(self.lastSent)
    }

    /// RFC 9002, section 5.3, without its acknowledgement delay.
    private mutating func measured(_ sample: TimeAmount) {
        let sample = max(sample, .nanoseconds(0))
        self.latest = sample
        self.minimum = min(self.minimum ?? sample, sample)
        let before = self.smoothed ?? sample
        self.smoothed = .nanoseconds(before.nanoseconds - before.nanoseconds / 8 + sample.nanoseconds / 8)
    }
}

/// When the connection must act by itself.
struct QMuxClock {
    let created: NIODeadline
    private let handshakeTimeout: TimeAmount
    private let ownIdleTimeout: TimeAmount?
    private let limits: ConnectionLimits
    /// It follows the idle timeout that holds.
    private var keepAliveInterval: TimeAmount?

    private var isEstablished = false
    /// The smaller one of both ends (RFC 9000, section 10.1).
    private(set) var idleTimeout: TimeAmount?
    private var lastActivity: NIODeadline
    /// Keep-alive counts from what was heard or last asked.
    private var keepAliveFrom: NIODeadline
    private(set) var drainDeadline: NIODeadline?

    init(limits: ConnectionLimits, now: NIODeadline, handshakeStart: NIODeadline) {
        self.created = handshakeStart
        self.handshakeTimeout = limits.handshakeTimeout
        self.ownIdleTimeout = limits.idleTimeout
        self.limits = limits
        self.keepAliveInterval = limits.keepAliveInterval
        self.lastActivity = now
        self.keepAliveFrom = now
    }

    mutating func established(peerIdleTimeout milliseconds: UInt64) {
        self.isEstablished = true
        // More than a century is as good as none; and the sum with now cannot overflow.
        let peer: TimeAmount? = (1..<(1 << 42)).contains(milliseconds) ? .milliseconds(Int64(milliseconds)) : nil
        switch (self.ownIdleTimeout, peer) {
        case (let own?, let peer?): self.idleTimeout = min(own, peer)
        case (let own, let peer): self.idleTimeout = own ?? peer
        }
        self.keepAliveInterval = self.limits.keepAliveInterval(within: self.idleTimeout)
    }

    mutating func recordReceived(_ now: NIODeadline) {
        self.lastActivity = now
        self.keepAliveFrom = now
    }

    /// Section 7.1: a record that was sent restarts the idle timer. Our own pings do not: they would keep a connection
    /// alive whose peer is gone.
    mutating func recordSent(_ now: NIODeadline, isOnlyPing: Bool) {
        if !isOnlyPing { self.lastActivity = now }
    }

    mutating func asked(_ now: NIODeadline) {
        self.keepAliveFrom = now
    }

    mutating func startDraining(_ now: NIODeadline, for timeout: TimeAmount) {
        self.drainDeadline = now + timeout
    }

    var handshakeDeadline: NIODeadline? { self.isEstablished ? nil : self.created + self.handshakeTimeout }
    var idleDeadline: NIODeadline? { self.idleTimeout.map { self.lastActivity + $0 } }
    var keepAliveDeadline: NIODeadline? {
        self.isEstablished ? self.keepAliveInterval.map { self.keepAliveFrom + $0 } : nil
    }
}

/// Bounds the frames that cost work and bring nothing (draft-ietf-quic-qmux-02, section 12.2). Data in either direction
/// earns more.
struct QMuxIdleFrameBudget {
    private let burst: Int
    private let perSecond: Int
    private var left: Int
    private var refilledAt: NIODeadline

    init(_ configuration: QMuxConfiguration, now: NIODeadline) {
        self.burst = configuration.idleFrameBurst
        self.perSecond = configuration.idleFramesPerSecond
        self.left = configuration.idleFrameBurst
        self.refilledAt = now
    }

    /// Whether there was enough left.
    mutating func spend(_ cost: Int, now: NIODeadline) -> Bool {
        let seconds = (now - self.refilledAt).nanoseconds / 1_000_000_000
        if seconds > 0 {
            self.refilledAt = now
            self.left = min(self.burst, self.left + self.perSecond * Int(min(seconds, 1000)))
        }
        self.left -= cost
        return self.left >= 0
    }

    /// `count` bytes moved.
    mutating func earn(_ count: Int) {
        self.left = min(self.burst, self.left + 1 + count / 1024)
    }
}

extension QMuxFrame {
    /// A run of padding costs by its length.
    var cost: Int {
        if case .padding(let count) = self { return 1 + count / 64 }
        return 1
    }
}
