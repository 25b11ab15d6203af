// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Which way a packet goes.
package enum Direction: Int, Sendable, CaseIterable {
    /// From the client to the server.
    case up
    /// From the server to the client.
    case down

    package var opposite: Direction { self == .up ? .down : .up }
}

/// Whose packets an access carries.
package struct AccessAddresses: Sendable, Equatable {
    /// Four bytes.
    package var client4: [UInt8]
    /// Sixteen bytes.
    package var client6: [UInt8]
    /// What the server sees in place of the client's addresses when there is a translator.
    package var outside4: [UInt8]
    package var outside6: [UInt8]

    package init(client4: [UInt8], client6: [UInt8], outside4: [UInt8], outside6: [UInt8]) {
        precondition(client4.count == 4 && outside4.count == 4 && client6.count == 16 && outside6.count == 16)
        self.client4 = client4
        self.client6 = client6
        self.outside4 = outside4
        self.outside6 = outside6
    }
}

/// What the network between a client and a server does to packets: takes them with the time they were sent, gives them
/// back at the time they arrive, or not at all.
///
/// A pure machine: it reads no clock and no random source. The same seed, packets and times give the same result. Times
/// are nanoseconds of any clock that does not go back; a call with an earlier time than the last is taken as of the
/// last.
package struct EmulatedLink: ~Copyable {
    /// A packet that has arrived. Whoever takes it gives the buffer back to the pool.
    package struct Arrival {
        package var buffer: Int32
        package var count: Int
        package var access: Int
        package var direction: Direction
        /// When it arrived, which may be earlier than when it was taken.
        package var due: UInt64
    }

    package let pool: PacketPool
    private(set) var accesses: [Access]
    private let addresses: [AccessAddresses]
    private var script = LinkScript()
    /// What had arrived when the script changed something.
    private var arrived = Ring<Arrival>()
    private var now: UInt64 = 0

    /// - Parameters:
    ///   - addresses: one entry for each access.
    ///   - seed: what is lost, and how long the rest takes.
    package init(_ conditions: NetworkConditions, addresses: [AccessAddresses], seed: UInt64) {
        precondition(conditions.accesses.count == addresses.count)
        self.addresses = addresses
        self.pool = PacketPool(bytesPerBuffer: Self.bytesPerBuffer)
        self.accesses = Self.accesses(conditions, addresses, seed)
    }

    /// The largest packet that any link carries, with room for what a jumbo frame holds.
    package static let bytesPerBuffer = 9_216

    /// Begins anew: nothing is under way, nothing was counted, no script runs.
    package mutating func reset(_ conditions: NetworkConditions, seed: UInt64) {
        precondition(conditions.accesses.count == self.accesses.count)
        for index in self.accesses.indices { self.accesses[index].cut(self.pool) }
        while let arrival = self.arrived.popFirst() { self.pool.giveBack(arrival.buffer) }
        self.accesses = Self.accesses(conditions, self.addresses, seed)
        self.script = LinkScript()
    }

    /// A packet was sent. The buffer is the link's from here on.
    package mutating func sent(
        _ buffer: Int32, count: Int, access: Int, direction: Direction, at time: UInt64
    ) {
        self.advance(to: time)
        let isTaken =
            self.accesses.indices.contains(access)
            && self.accesses[access].take(buffer, count: count, direction, at: self.now, self.pool)
        if !isTaken { self.pool.giveBack(buffer) }
    }

    /// Lets happen what was to happen until now.
    package mutating func advance(to time: UInt64) {
        while let next = self.script.nextTime, next <= time {
            // What has arrived by then is not touched by what happens then.
            while let arrival = self.nextArrival(by: next) { self.arrived.append(arrival) }
            guard let change = self.script.next(by: next) else { break }
            self.now = max(self.now, next)
            self.apply(change.change, at: self.now)
        }
        self.now = max(self.now, time)
    }

    /// - Returns: a packet that has arrived and that nobody took yet; in the order of arrival in each direction of each
    ///   access.
    package mutating func takeArrival(by time: UInt64) -> Arrival? {
        self.advance(to: time)
        return self.arrived.popFirst() ?? self.nextArrival(by: self.now)
    }

    private mutating func nextArrival(by time: UInt64) -> Arrival? {
        for access in self.accesses.indices {
            for direction in Direction.allCases {
                guard let packet = self.accesses[access].takeArrived(direction, by: time, self.pool) else { continue }
                return Arrival(
                    buffer: packet.buffer, count: packet.count, access: access, direction: direction, due: packet.due)
            }
        }
        return nil
    }

    /// When to call again at the earliest: something may have arrived then, or the script goes on. `nil`: nothing is to
    /// come.
    package var nextTime: UInt64? {
        guard self.arrived.isEmpty else { return self.now }
        var next = self.script.nextTime ?? .max
        for access in self.accesses.indices {
            next = min(next, self.accesses[access].up.nextTime ?? .max, self.accesses[access].down.nextTime ?? .max)
        }
        return next == .max ? nil : next
    }

    package var counters: [AccessCounters] {
        self.accesses.map { access in
            var counters = AccessCounters()
            counters.up = access.up.counters
            counters.down = access.down.counters
            return counters
        }
    }

    private static func accesses(
        _ conditions: NetworkConditions, _ addresses: [AccessAddresses], _ seed: UInt64
    ) -> [Access] {
        zip(conditions.accesses, addresses).enumerated().map { index, pair in
            Access(pair.0, addresses: pair.1, seed: seed, number: UInt64(index))
        }
    }
}

// MARK: What happens to the network

extension EmulatedLink {
    /// What the script did.
    package struct AppliedChange: Sendable, Equatable {
        package var change: NetworkChange
        /// In the link's nanoseconds.
        package var time: UInt64
    }

    /// Begins a script; whatever was left of an earlier one is forgotten.
    package mutating func begin(_ changes: [NetworkChange], at time: UInt64) {
        self.advance(to: time)
        self.script = LinkScript(changes, from: self.now)
        self.advance(to: self.now)
    }

    /// What the script did since the last call, in order. Addresses and routes are changed by whoever carries the
    /// packets.
    package mutating func takeAppliedChanges() -> [AppliedChange] {
        self.script.takeApplied()
    }

    private mutating func apply(_ change: NetworkChange, at time: UInt64) {
        guard self.accesses.indices.contains(change.access) else { return }
        self.accesses[change.access].apply(change.what, at: time, self.pool)
    }
}
