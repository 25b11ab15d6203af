// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import Synchronization

/// Remembers which first flights with 0-RTT data a server has seen, so that a copy is refused (RFC 8446, section 8.2).
///
/// Servers that share ticket keys must share the memory, too: else each of them takes a copy once.
public protocol TLSReplayMemory: AnyObject, Sendable {
    /// Remembers a first flight.
    ///
    /// - Parameters:
    ///   - key: 32 to 64 bytes that depend on the whole ClientHello.
    ///   - expiry: until when it must be remembered, in seconds since 1970.
    /// - Returns: whether it was new; `false` also when it can't be remembered. Called on event loops: it must not block for long.
    func insert(_ key: [UInt8], until expiry: Int) -> Bool
}

/// A ``TLSReplayMemory`` of one process.
public final class TLSLocalReplayMemory: TLSReplayMemory {
    private struct State {
        var seen: Set<[UInt8]> = []
        var order: Deque<(key: [UInt8], expiry: Int)> = []
    }

    private let capacity: Int
    private let state = Mutex(State())

    /// - Parameter capacity: first flights within the lifetime of a ticket, at some 150 bytes each; when there are more, 0-RTT is
    ///   refused until some expire.
    public init(capacity: Int = 1 << 18) {
        self.capacity = max(capacity, 1)
    }

    public func insert(_ key: [UInt8], until expiry: Int) -> Bool {
        self.insert(key, until: expiry, now: SystemClock.secondsSince1970)
    }

    func insert(_ key: [UInt8], until expiry: Int, now: Int) -> Bool {
        self.state.withLock { state in
            while let oldest = state.order.first, oldest.expiry < now {
                state.order.removeFirst()
                state.seen.remove(oldest.key)
            }
            guard state.seen.count < self.capacity, state.seen.insert(key).inserted else { return false }
            state.order.append((key, expiry))
            return true
        }
    }
}
