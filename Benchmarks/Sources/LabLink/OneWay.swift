// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// The queue in front of a bottleneck, the bottleneck, and the way behind it, for one direction of one access.
///
/// Times are nanoseconds of any clock that does not go back. What happens between two calls happens at its exact time:
/// a packet that waited began to be sent when the one before was sent, however late this is told what time it is.
struct OneWay {
    struct Waiting {
        var buffer: Int32
        var count: Int
    }

    struct UnderWay {
        var buffer: Int32
        var count: Int
        /// When it reaches the other end.
        var due: UInt64
        /// Tells those with the same time apart.
        var number: UInt64
    }

    var counters = DirectionCounters()
    private(set) var conditions: DirectionConditions
    private(set) var loss: LossProcess
    private var jitterSource: SeededGenerator

    private var waiting = Ring<Waiting>()
    private var waitingBytes = 0
    /// When the bottleneck has sent what it is sending.
    private var freeAt: UInt64 = 0

    /// In the order of their times.
    private var inOrder = Ring<UnderWay>()
    /// Those that overtake somebody.
    private var overtaking = Heap()
    private var latestDue: UInt64 = 0
    private var sentPackets: UInt64 = 0

    /// - Parameter stream: which of the seed's numbers are this direction's.
    init(_ conditions: DirectionConditions, seed: UInt64, stream: UInt64) {
        self.conditions = conditions
        self.loss = LossProcess(conditions.loss, generator: SeededGenerator(seed: seed, stream: stream * 2))
        self.jitterSource = SeededGenerator(seed: seed, stream: stream * 2 + 1)
    }

    /// What is under way already stays so; what waits is sent as the new conditions say.
    mutating func change(to conditions: DirectionConditions, at now: UInt64) {
        self.advance(to: now)
        self.conditions = conditions
        self.loss.loss = conditions.loss
        self.advance(to: now)
    }

    /// - Parameter mark: marks the packet as having met congestion; `false` if it is not capable of ECN.
    /// - Returns: whether the queue had room.
    mutating func enqueue(_ buffer: Int32, count: Int, at now: UInt64, mark: () -> Bool) -> Bool {
        self.advance(to: now)
        if self.waiting.isEmpty, self.freeAt <= now || self.conditions.bitsPerSecond == nil {
            self.send(buffer, count: count, from: now)
            return true
        }
        guard self.waitingBytes + count <= self.conditions.queueBytes else {
            self.counters.dropped += 1
            return false
        }
        self.waitingBytes += count
        self.counters.longestQueueBytes = max(self.counters.longestQueueBytes, self.waitingBytes)
        if let limit = self.conditions.markingBytes, self.waitingBytes > limit, mark() { self.counters.marked += 1 }
        self.waiting.append(Waiting(buffer: buffer, count: count))
        return true
    }

    /// Lets the bottleneck take what it had time for.
    mutating func advance(to now: UInt64) {
        while !self.waiting.isEmpty, self.freeAt <= now || self.conditions.bitsPerSecond == nil,
            let packet = self.waiting.popFirst()
        {
            self.waitingBytes -= packet.count
            self.send(packet.buffer, count: packet.count, from: min(self.freeAt, now))
        }
    }

    /// - Returns: a packet that has arrived, the earliest first; whoever takes it owns its buffer.
    mutating func takeArrived(by now: UInt64) -> UnderWay? {
        self.advance(to: now)
        let (first, early) = (self.inOrder.first?.due ?? .max, self.overtaking.first?.due ?? .max)
        guard min(first, early) <= now else { return nil }
        // What overtakes was appended later than what it overtakes, unless both arrive at the same time.
        return early < first ? self.overtaking.popFirst() : self.inOrder.popFirst()
    }

    /// When there may be something to do at the earliest; `nil` when nothing is under way.
    var nextTime: UInt64? {
        var next = min(self.inOrder.first?.due ?? .max, self.overtaking.first?.due ?? .max)
        if let head = self.waiting.first {
            // Nobody need wake up to see it sent, only to see it arrive.
            next = min(next, self.freeAt + self.sendingTime(of: head.count) + self.shortestDelay)
        }
        return next == .max ? nil : next
    }

    /// Everything that waits or is under way is lost.
    mutating func cut(giveBack: (Int32) -> Void) {
        while let packet = self.waiting.popFirst() {
            self.counters.lostWhileDown += 1
            giveBack(packet.buffer)
        }
        while let packet = self.inOrder.popFirst() ?? self.overtaking.popFirst() {
            self.counters.lostWhileDown += 1
            giveBack(packet.buffer)
        }
        self.waitingBytes = 0
        self.freeAt = 0
        self.latestDue = 0
    }

    mutating func losesNext() -> Bool {
        self.loss.losesNext()
    }
}

// MARK: The bottleneck and the way behind it

extension OneWay {
    private mutating func send(_ buffer: Int32, count: Int, from start: UInt64) {
        if self.conditions.bitsPerSecond != nil { self.freeAt = start + self.sendingTime(of: count) }
        let sent = self.conditions.bitsPerSecond == nil ? start : self.freeAt
        var due = sent + self.delayOfNext()
        if !self.conditions.reorders { due = max(due, self.latestDue) }
        self.sentPackets += 1
        let packet = UnderWay(buffer: buffer, count: count, due: due, number: self.sentPackets)
        if due >= self.latestDue || self.inOrder.isEmpty {
            self.latestDue = due
            self.inOrder.append(packet)
        } else {
            self.overtaking.insert(packet)
        }
    }

    private func sendingTime(of count: Int) -> UInt64 {
        guard let rate = self.conditions.bitsPerSecond else { return 0 }
        return nanoseconds(Double(count) * 8 / rate)
    }

    private mutating func delayOfNext() -> UInt64 {
        guard self.conditions.jitter > 0 else { return nanoseconds(self.conditions.delay) }
        let jitter = self.conditions.jitter * (2 * self.jitterSource.fraction() - 1)
        return nanoseconds(self.conditions.delay + jitter)
    }

    private var shortestDelay: UInt64 {
        nanoseconds(self.conditions.delay - self.conditions.jitter)
    }
}

/// Seconds as whole nanoseconds; nothing for what is negative or not a number, at most a hundred years.
func nanoseconds(_ seconds: Double) -> UInt64 {
    seconds > 0 ? UInt64(min(seconds, 3.2e9) * 1e9 + 0.5) : 0
}
