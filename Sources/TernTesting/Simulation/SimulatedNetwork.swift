// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// A network between one host inside (a client, perhaps behind a NAT) and the rest of the world, without sockets and
/// without real time.
///
/// Hand what a protocol wants to send to ``send(_:now:)``; move the clock to ``nextArrival``; take ``arrivals(upTo:)``.
/// What happens depends on the seed and on the order, size and time of what is sent, and on nothing else.
public struct SimulatedNetwork: Sendable {
    /// From the inside host to the world.
    public var outbound: NetworkConditions
    /// From the world to the inside host.
    public var inbound: NetworkConditions
    /// The inside host's own address.
    public let inside: SocketAddress
    /// What the world sees instead of ``inside``.
    public private(set) var outside: SocketAddress

    private var outboundLink: Link
    private var inboundLink: Link
    /// Latest first, so that the next one is cheap to take.
    private var flights: [Flight] = []
    private var order: UInt64 = 0

    /// - Parameters:
    ///   - seed: of all that is decided by chance; the same seed makes the same network.
    ///   - inside: the client's address; without a NAT, until ``rebind(to:)``.
    ///   - conditions: what happens to datagrams, in both directions.
    public init(seed: UInt64, inside: SocketAddress, conditions: NetworkConditions = NetworkConditions()) {
        self.inside = inside
        self.outside = inside
        self.outbound = conditions
        self.inbound = conditions
        self.outboundLink = Link(random: SeededRandom(seed: seed &* 2 &+ 1))
        self.inboundLink = Link(random: SeededRandom(seed: seed &* 2 &+ 2))
    }

    public var outboundCounts: NetworkCounts { self.outboundLink.counts }
    public var inboundCounts: NetworkCounts { self.inboundLink.counts }

    /// The NAT forgets the inside host and takes it for a new one: what is sent from now on shows this address, and what
    /// still comes to the old one is lost, also when it is on its way.
    public mutating func rebind(to outside: SocketAddress) {
        self.outside = outside
    }

    public mutating func send(_ datagram: SimulatedDatagram, now: NIODeadline) {
        var datagram = datagram
        let isOutbound = datagram.source == self.inside
        let results: [(arrives: NIODeadline, bytes: ByteBuffer, ecn: UInt8)]
        if isOutbound {
            datagram.source = self.outside
            results = self.outboundLink.send(datagram.bytes, ecn: datagram.ecn, self.outbound, now: now)
        } else {
            results = self.inboundLink.send(datagram.bytes, ecn: datagram.ecn, self.inbound, now: now)
        }
        for result in results {
            datagram.bytes = result.bytes
            datagram.ecn = result.ecn
            self.order += 1
            let flight = Flight(
                arrives: result.arrives, order: self.order, isOutbound: isOutbound, datagram: datagram)
            let index = self.flights.partitionPoint { $0.isEarlier(than: flight) }
            self.flights.insert(flight, at: index)
        }
    }

    /// When something arrives next; `nil` when nothing is on its way.
    public var nextArrival: NIODeadline? { self.flights.last?.arrives }

    /// What has arrived by now, in order, with the addresses that its receiver sees.
    public mutating func arrivals(upTo now: NIODeadline) -> [SimulatedDatagram] {
        var arrived: [SimulatedDatagram] = []
        while let flight = self.flights.last, flight.arrives <= now {
            self.flights.removeLast()
            var datagram = flight.datagram
            if flight.isOutbound {
                self.outboundLink.counts.noteDelivered(datagram.bytes)
            } else {
                guard datagram.destination == self.outside else {
                    self.inboundLink.counts.lost += 1
                    continue
                }
                datagram.destination = self.inside
                self.inboundLink.counts.noteDelivered(datagram.bytes)
            }
            arrived.append(datagram)
        }
        return arrived
    }
}

private struct Flight: Sendable {
    var arrives: NIODeadline
    var order: UInt64
    var isOutbound: Bool
    var datagram: SimulatedDatagram

    func isEarlier(than other: Flight) -> Bool {
        (self.arrives, self.order) < (other.arrives, other.order)
    }
}

/// One direction: its queue, its burst of losses, its random numbers.
private struct Link: Sendable {
    var random: SeededRandom
    var counts = NetworkCounts()
    private var burstUntil = NIODeadline.uptimeNanoseconds(0)
    private var busyUntil = NIODeadline.uptimeNanoseconds(0)

    init(random: SeededRandom) {
        self.random = random
    }

    mutating func send(
        _ bytes: ByteBuffer, ecn: UInt8, _ conditions: NetworkConditions, now: NIODeadline
    ) -> [(arrives: NIODeadline, bytes: ByteBuffer, ecn: UInt8)] {
        self.counts.sent += 1
        self.counts.sentBytes += bytes.readableBytes
        // Every datagram draws the same numbers, so that a condition that changes leaves the others as they were.
        let isLost = self.random.chance(conditions.loss)
        let beginsBurst = self.random.chance(conditions.burstLoss)
        let burstLength = self.random.amount(upTo: conditions.longestBurst)
        let isCorrupted = self.random.chance(conditions.corruption)
        let isDuplicated = self.random.chance(conditions.duplication)
        let isHeldBack = self.random.chance(conditions.reordering)
        let jitters = [self.random.amount(upTo: conditions.jitter), self.random.amount(upTo: conditions.jitter)]
        var changes = SeededRandom(seed: self.random.next())

        if beginsBurst { self.burstUntil = max(self.burstUntil, now + burstLength) }
        guard !isLost, !beginsBurst, now >= self.burstUntil, !conditions.isDown,
            bytes.readableBytes <= conditions.maximumPayload,
            let queued = self.queue(bytes.readableBytes, conditions, now: now)
        else {
            self.counts.lost += 1
            return []
        }
        var bytes = bytes
        if isCorrupted {
            self.counts.corrupted += 1
            Self.corrupt(&bytes, &changes)
        }
        let isMarked = conditions.marksCongestion && queued.isHalfFull && ecn & 3 != 0
        let arrives = queued.leaves + conditions.delay + (isHeldBack ? conditions.reorderingDelay : .nanoseconds(0))
        if isDuplicated { self.counts.duplicated += 1 }
        return jitters.prefix(isDuplicated ? 2 : 1).map { (arrives + $0, bytes, isMarked ? 3 : ecn) }
    }

    /// When the datagram's last byte leaves the bottleneck; `nil` when the queue is full.
    private mutating func queue(
        _ count: Int, _ conditions: NetworkConditions, now: NIODeadline
    ) -> (leaves: NIODeadline, isHalfFull: Bool)? {
        guard let rate = conditions.rate, rate > 0 else { return (now, false) }
        let waiting = max((self.busyUntil - now).nanoseconds, 0)
        let queued = Int(Double(waiting) / 1e9 * Double(rate))
        guard queued + count <= conditions.queueSize else { return nil }
        let duration = TimeAmount.nanoseconds(Int64(Double(count) / Double(rate) * 1e9))
        self.busyUntil = max(self.busyUntil, now) + duration
        return (self.busyUntil, queued > conditions.queueSize / 2)
    }

    private static func corrupt(_ bytes: inout ByteBuffer, _ random: inout SeededRandom) {
        var changed = Array(bytes.readableBytesView)
        guard !changed.isEmpty else { return }
        if random.chance(0.25) {
            changed.removeLast(Int(random.next() % UInt64(changed.count)))
        } else {
            for _ in 0...(random.next() % 4) {
                changed[Int(random.next() % UInt64(changed.count))] ^= UInt8(1 + random.next() % 255)
            }
        }
        bytes = ByteBuffer(bytes: changed)
    }
}

extension NetworkCounts {
    fileprivate mutating func noteDelivered(_ bytes: ByteBuffer) {
        self.delivered += 1
        self.deliveredBytes += bytes.readableBytes
    }
}

extension Array {
    /// The first index whose element answers true, where all that answer false come before.
    fileprivate func partitionPoint(where isBehind: (Element) -> Bool) -> Int {
        var low = 0
        var high = self.count
        while low < high {
            let middle = (low + high) / 2
            if isBehind(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
