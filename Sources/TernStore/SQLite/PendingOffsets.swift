// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Synchronization

/// The offsets that were told and are not written yet: one entry for each device and channel, however often it tells.
///
/// A reader takes what is pending **before** it reads the tables: then every offset is in one of the two.
final class PendingOffsets: Sendable {
    struct Place: Sendable, Hashable {
        var device: DeviceKey
        var channel: UInt64
    }

    private struct State {
        var fresh: [Place: Offsets] = [:]
        /// In the transaction that the writer is at.
        var inFlight: [Place: Offsets] = [:]
    }

    private let state = Mutex(State())

    var count: Int { self.state.withLock { $0.fresh.count + $0.inFlight.count } }
    var isEmpty: Bool { self.state.withLock { $0.fresh.isEmpty } }

    /// - Returns: whether this is the first one that waits.
    func note(_ offsets: Offsets, at place: Place) -> Bool {
        self.state.withLock { state in
            let isFirst = state.fresh.isEmpty
            state.fresh[place, default: Offsets()].advance(to: offsets)
            return isFirst
        }
    }

    /// Everything that is not surely in the tables.
    func snapshot(where isWanted: (Place) -> Bool) -> [Place: Offsets] {
        self.state.withLock { state in
            var wanted = state.inFlight.filter { isWanted($0.key) }
            for (place, offsets) in state.fresh where isWanted(place) {
                wanted[place, default: Offsets()].advance(to: offsets)
            }
            return wanted
        }
    }

    /// What the writer puts into its transaction; answered by ``written()`` or ``notWritten()``.
    func take() -> [Place: Offsets] {
        self.state.withLock { state in
            state.inFlight = state.fresh
            state.fresh = [:]
            return state.inFlight
        }
    }

    func written() {
        self.state.withLock { $0.inFlight = [:] }
    }

    func notWritten() {
        self.state.withLock { state in
            for (place, offsets) in state.inFlight { state.fresh[place, default: Offsets()].advance(to: offsets) }
            state.inFlight = [:]
        }
    }
}

extension Offsets {
    /// Never backwards; what is read is delivered.
    mutating func advance(to other: Offsets) {
        self.read = max(self.read, other.read)
        self.delivered = max(self.delivered, other.delivered, self.read)
    }

    func limited(to head: UInt64) -> Offsets {
        Offsets(delivered: min(self.delivered, head), read: min(self.read, head))
    }
}
