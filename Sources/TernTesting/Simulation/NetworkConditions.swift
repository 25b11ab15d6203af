// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// What happens to datagrams in one direction of a ``SimulatedNetwork``. Probabilities are 0 to 1.
public struct NetworkConditions: Sendable, Hashable {
    /// How long every datagram is on its way, at least.
    public var delay: TimeAmount = .milliseconds(5)
    /// Up to this much is added to each; more than the time between two datagrams reorders them.
    public var jitter: TimeAmount = .nanoseconds(0)
    /// Each datagram alone.
    public var loss: Double = 0
    /// That a datagram begins a burst, in which it and those after it are lost.
    public var burstLoss: Double = 0
    /// How long a burst lasts at most.
    public var longestBurst: TimeAmount = .milliseconds(100)
    /// Two copies arrive, each with its own jitter.
    public var duplication: Double = 0
    /// One to four bytes are changed, or the end is missing.
    public var corruption: Double = 0
    /// The datagram is held back by ``reorderingDelay``.
    public var reordering: Double = 0
    public var reorderingDelay: TimeAmount = .milliseconds(20)
    /// Bytes per second; `nil` is without limit.
    public var rate: Int?
    /// Bytes that wait for the rate; what comes when it is full is lost.
    public var queueSize: Int = 64 << 10
    /// Datagrams that find the queue half full are marked Congestion Experienced (RFC 3168) if they are ECN-capable.
    public var marksCongestion = false
    /// Larger UDP payloads vanish silently, as in a path MTU black hole.
    public var maximumPayload: Int = 65_507
    /// Nothing passes.
    public var isDown = false

    public init() {}
}

/// A UDP datagram on its way.
public struct SimulatedDatagram: Sendable, Hashable {
    public var source: SocketAddress
    public var destination: SocketAddress
    public var bytes: ByteBuffer
    /// The two ECN bits of the IP header (RFC 3168, section 5).
    public var ecn: UInt8

    public init(source: SocketAddress, destination: SocketAddress, bytes: ByteBuffer, ecn: UInt8 = 0) {
        self.source = source
        self.destination = destination
        self.bytes = bytes
        self.ecn = ecn
    }
}

/// What became of the datagrams in one direction. Every datagram that was sent is lost, or delivered once, or twice.
public struct NetworkCounts: Sendable, Hashable {
    public var sent = 0
    public var sentBytes = 0
    public var lost = 0
    public var duplicated = 0
    public var corrupted = 0
    public var delivered = 0
    public var deliveredBytes = 0

    public init() {}
}
