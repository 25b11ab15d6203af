// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import Synchronization

/// Remembers which tickets brought 0-RTT data to a server, so that a copy of a first flight is refused, and each ticket is good for
/// one (RFC 8446, sections 8.1 and 8.2).
///
/// Servers that share ticket keys must share the memory, too: else each of them takes a copy once.
public protocol TLSReplayMemory: AnyObject, Sendable {
    /// Remembers a first flight.
    ///
    /// - Parameters:
    ///   - key: 32 to 64 bytes that stand for the ticket.
    ///   - expiry: until when it must be remembered, in seconds since 1970.
    /// - Returns: whether it was new; `false` also when it can't be remembered. Called on event loops: it must not block for long.
    func insert(_ key: [UInt8], until expiry: Int) -> Bool

    /// The same, with a word on whose it is: a memory that bounds what each client takes of it cannot be filled by one.
    ///
    /// - Parameters:
    ///   - key: 32 to 64 bytes that stand for the ticket.
    ///   - client: an IPv4 address, the first 8 bytes of an IPv6 address, or nothing where it is not known.
    ///   - expiry: until when it must be remembered, in seconds since 1970.
    /// - Returns: as ``insert(_:until:)``.
    func insert(_ key: [UInt8], of client: [UInt8], until expiry: Int) -> Bool
}

extension TLSReplayMemory {
    public func insert(_ key: [UInt8], of client: [UInt8], until expiry: Int) -> Bool {
        self.insert(key, until: expiry)
    }
}

/// A ``TLSReplayMemory`` of one process.
public final class TLSLocalReplayMemory: TLSReplayMemory {
    private struct Entry {
        let key: [UInt8]
        let client: [UInt8]
        let expiry: Int
    }

    private struct State {
        var seen: Set<[UInt8]> = []
        var counts: [[UInt8]: Int] = [:]
        var order: Deque<Entry> = []
    }

    private let capacity: Int
    private let capacityPerClient: Int
    private let state = Mutex(State())

    /// - Parameters:
    ///   - capacity: first flights within the lifetime of a ticket, at some 200 bytes each; when there are more, 0-RTT is refused
    ///     until some expire.
    ///   - capacityPerClient: how many of them one IPv4 address or IPv6 network of 64 bits may have, so that none takes 0-RTT from
    ///     the others; `nil` for a 64th.
    public init(capacity: Int = 1 << 18, capacityPerClient: Int? = nil) {
        self.capacity = max(capacity, 1)
        self.capacityPerClient = max(capacityPerClient ?? capacity / 64, 1)
    }

    public func insert(_ key: [UInt8], until expiry: Int) -> Bool {
        self.insert(key, of: [], until: expiry)
    }

    public func insert(_ key: [UInt8], of client: [UInt8], until expiry: Int) -> Bool {
        self.insert(key, of: client, until: expiry, now: SystemClock.secondsSince1970)
    }

    func insert(_ key: [UInt8], of client: [UInt8], until expiry: Int, now: Int) -> Bool {
        self.state.withLock { state in
            while let oldest = state.order.first, oldest.expiry < now {
                state.order.removeFirst()
                state.seen.remove(oldest.key)
                let left = state.counts[oldest.client, default: 1] - 1
                state.counts[oldest.client] = left > 0 ? left : nil
            }
            // Who is not known shares the room with nobody.
            let isFull = !client.isEmpty && state.counts[client, default: 0] >= self.capacityPerClient
            guard !isFull, state.seen.count < self.capacity, state.seen.insert(key).inserted else { return false }
            if !client.isEmpty { state.counts[client, default: 0] += 1 }
            state.order.append(Entry(key: key, client: client, expiry: expiry))
            return true
        }
    }
}
