// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Synchronization

/// The offsets that were told and are not written yet: one entry for each device and channel, however often it tells.
///
/// A reader takes what is pending **before** it reads the tables: then every offset is in one of the two. It finds what it looks
/// for by channel or by user, and never walks what others told; and so that it has little to walk at all, each channel and each
/// user has room for a part of the whole only.
final class PendingOffsets: Sendable {
    struct Place: Sendable, Hashable {
        var device: DeviceKey
        var channel: UInt64
    }

    struct Bounds: Sendable {
        /// Entries in all.
        var total = 65_536
        /// Users of one channel, and channels of one user.
        var perChannel = 1_024
        var perUser = 1_024
        /// Devices of one user in one channel.
        var perMember = 64
    }

    private struct Member: Sendable, Hashable {
        var user: UInt64
        var channel: UInt64
    }

    /// Entries, and where to look for them.
    private struct Table {
        var entries: [Member: [UInt32: Offsets]] = [:]
        var users: [UInt64: Set<UInt64>] = [:]
        var channels: [UInt64: Set<UInt64>] = [:]
        var count = 0

        func hasRoom(for place: Place, _ bounds: Bounds) -> Bool {
            let member = Member(user: place.device.user, channel: place.channel)
            if let devices = self.entries[member] {
                return devices[place.device.device] != nil
                    || devices.count < bounds.perMember && self.count < bounds.total
            }
            return self.count < bounds.total && (self.users[place.channel]?.count ?? 0) < bounds.perChannel
                && (self.channels[place.device.user]?.count ?? 0) < bounds.perUser
        }

        mutating func advance(_ place: Place, to offsets: Offsets) {
            let member = Member(user: place.device.user, channel: place.channel)
            if self.entries[member] == nil {
                self.users[place.channel, default: []].insert(place.device.user)
                self.channels[place.device.user, default: []].insert(place.channel)
            }
            if self.entries[member]?[place.device.device] == nil { self.count += 1 }
            self.entries[member, default: [:]][place.device.device, default: Offsets()].advance(to: offsets)
        }

        mutating func forget(_ member: Member) {
            guard let devices = self.entries.removeValue(forKey: member) else { return }
            self.count -= devices.count
            self.users[member.channel]?.remove(member.user)
            if self.users[member.channel]?.isEmpty == true { self.users[member.channel] = nil }
            self.channels[member.user]?.remove(member.channel)
            if self.channels[member.user]?.isEmpty == true { self.channels[member.user] = nil }
        }

        var all: [(Place, Offsets)] {
            self.entries.flatMap { member, devices in
                devices.map { device, offsets in
                    let key = DeviceKey(user: member.user, device: device)
                    return (Place(device: key, channel: member.channel), offsets)
                }
            }
        }
    }

    private struct State {
        var fresh = Table()
        /// In the transaction that the writer is at.
        var inFlight = Table()
        var examined = 0
    }

    private let bounds: Bounds
    private let state = Mutex(State())

    init(bounds: Bounds = Bounds()) {
        self.bounds = bounds
    }

    var count: Int { self.state.withLock { $0.fresh.count + $0.inFlight.count } }
    var isEmpty: Bool { self.state.withLock { $0.fresh.count == 0 } }
    /// How many entries all look-ups together have touched.
    var examined: Int { self.state.withLock { $0.examined } }

    enum Noted {
        /// `isFirst`: nothing waited before.
        case noted(isFirst: Bool)
        /// Nothing was noted: first what waits must be written.
        case full
    }

    func note(_ offsets: Offsets, at place: Place) -> Noted {
        self.state.withLock { state in
            guard state.fresh.hasRoom(for: place, self.bounds) else { return .full }
            let isFirst = state.fresh.count == 0
            state.fresh.advance(place, to: offsets)
            return .noted(isFirst: isFirst)
        }
    }

    // MARK: What is not surely in the tables

    func pending(in channel: UInt64) -> [DeviceKey: Offsets] {
        self.collect { table in (table.users[channel] ?? []).map { Member(user: $0, channel: channel) } }
            .reduce(into: [:]) { $0[$1.key.device] = $1.value }
    }

    func pending(of user: UInt64) -> [Place: Offsets] {
        self.collect { table in (table.channels[user] ?? []).map { Member(user: user, channel: $0) } }
    }

    func pending(of user: UInt64, in channel: UInt64) -> [Place: Offsets] {
        self.collect { _ in [Member(user: user, channel: channel)] }
    }

    private func collect(_ members: (Table) -> [Member]) -> [Place: Offsets] {
        self.state.withLock { state in
            var found: [Place: Offsets] = [:]
            for table in [state.inFlight, state.fresh] {
                for member in members(table) {
                    for (device, offsets) in table.entries[member] ?? [:] {
                        let place = Place(
                            device: DeviceKey(user: member.user, device: device), channel: member.channel)
                        found[place, default: Offsets()].advance(to: offsets)
                        state.examined += 1
                    }
                }
            }
            return found
        }
    }

    // MARK: The writer

    /// What the writer puts into its transaction; answered by ``written()`` or ``notWritten()``.
    func take() -> [(Place, Offsets)] {
        let taken = self.state.withLock { state in
            state.inFlight = state.fresh
            state.fresh = Table()
            return state.inFlight
        }
        return taken.all
    }

    /// - Parameter left: memberships that ended in that transaction: what was told in the meantime was told in them.
    func written(forgetting left: Set<WriteSession.Membership> = []) {
        // Freed without the lock.
        _ = self.state.withLock { state in
            defer { state.inFlight = Table() }
            for end in left { state.fresh.forget(Member(user: end.user, channel: end.channel)) }
            return state.inFlight
        }
    }

    func notWritten() {
        self.state.withLock { state in
            for (place, offsets) in state.inFlight.all { state.fresh.advance(place, to: offsets) }
            state.inFlight = Table()
        }
    }
}

extension Offsets {
    /// Never backwards; what is read is delivered.
    mutating func advance(to other: Offsets) {
        self.read = max(self.read, other.read)
        self.delivered = max(self.delivered, other.delivered, self.read)
    }

    /// Nothing beyond the head; what is told of messages before the first one says nothing.
    func limited(to head: UInt64, from first: UInt64 = 1) -> Offsets {
        func limited(_ sequence: UInt64) -> UInt64 { sequence < first ? 0 : min(sequence, head) }
        return Offsets(delivered: limited(self.delivered), read: limited(self.read))
    }
}
