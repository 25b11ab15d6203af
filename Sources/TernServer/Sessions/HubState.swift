// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernStore

/// Which users are connected, by which sessions, and who of them is in which group.
///
/// Groups are read from the store when the first session of a user enters, page by page, and followed from then on by what the
/// store commits, in that order: ``joined(_:_:)`` and ``left(_:group:)`` are told by the observer of the commits and by nobody
/// else. A page may be older than what was told since; what was told has precedence.
///
/// A value without lock or clock. Whoever holds it takes care that no call walks many groups at once: pages and sweeps are as
/// large as they are given.
package struct HubState<Session: AnyObject & Sendable>: Sendable {
    /// What is known of one connected user, from the first session to the last.
    private struct Presence {
        /// Tells it from an earlier one of the same user, of which entries may still be in `listeners`.
        let number: UInt64
        var sessions: [ObjectIdentifier: Session] = [:]
        /// Where the user begins to read, by group.
        var groups: [UInt64: UInt64] = [:]
        /// Whether `groups` has all that the store has.
        var isLoaded = false
        /// What was told of groups while they were read. A page that is under way may be older.
        var told: Set<UInt64> = []
    }

    package enum Entrance: Sendable, Equatable {
        /// Everything is known of the user's groups.
        case ready
        /// The groups are to be read from the store, and given to ``loaded(_:isLast:of:number:)`` with this number.
        case mustLoad(number: UInt64)
        case tooMany
        case draining
    }

    /// A user's last session went: their groups are to be given to ``sweep(_:of:number:)``.
    package struct Departure: Sendable, Equatable {
        package var number: UInt64
        package var groups: [UInt64]
    }

    private var presences: [UInt64: Presence] = [:]
    /// By group: the connected users in it, with the numbers of their presences.
    private var listeners: [UInt64: [UInt64: UInt64]] = [:]
    private var lastPresence: UInt64 = 0
    package private(set) var isDraining = false

    package init() {}

    // MARK: Sessions

    /// - Returns: the sessions that are to be told. Nobody enters any more.
    package mutating func startDraining() -> [Session] {
        self.isDraining = true
        return self.presences.values.flatMap(\.sessions.values)
    }

    package mutating func enter(_ session: Session, of user: UInt64, limit: Int) -> Entrance {
        guard !self.isDraining else { return .draining }
        guard (self.presences[user]?.sessions.count ?? 0) < limit else { return .tooMany }
        if self.presences[user] == nil {
            self.lastPresence += 1
            self.presences[user] = Presence(number: self.lastPresence)
        }
        self.presences[user]?.sessions[ObjectIdentifier(session)] = session
        guard let presence = self.presences[user], !presence.isLoaded else { return .ready }
        return .mustLoad(number: presence.number)
    }

    /// A page of a user's groups as the store had them.
    ///
    /// - Returns: whether no more pages are wanted: it was the last, another session read them all before, or the user went away.
    package mutating func loaded(
        _ page: [GroupMembership], isLast: Bool, of user: UInt64, number: UInt64
    ) -> Bool {
        guard let presence = self.presences[user], presence.number == number, !presence.isLoaded else { return true }
        for membership in page where !presence.told.contains(membership.group) { self.add(membership, user, number) }
        if isLast {
            self.presences[user]?.isLoaded = true
            self.presences[user]?.told = []
        }
        return isLast
    }

    /// Idempotent.
    package mutating func leave(_ session: Session, of user: UInt64) -> Departure? {
        self.presences[user]?.sessions[ObjectIdentifier(session)] = nil
        guard self.presences[user]?.sessions.isEmpty == true, let gone = self.presences.removeValue(forKey: user) else {
            return nil
        }
        return Departure(number: gone.number, groups: Array(gone.groups.keys))
    }

    /// Forgets entries of a presence that has gone; those of a later one of the same user stay.
    package mutating func sweep(_ groups: ArraySlice<UInt64>, of user: UInt64, number: UInt64) {
        for group in groups where self.listeners[group]?[user] == number { self.remove(user, from: group) }
    }

    // MARK: What the store committed

    package mutating func joined(_ user: UInt64, _ membership: GroupMembership) {
        guard let presence = self.presences[user] else { return }
        if !presence.isLoaded { self.presences[user]?.told.insert(membership.group) }
        self.add(membership, user, presence.number)
    }

    package mutating func left(_ user: UInt64, group: UInt64) {
        guard let presence = self.presences[user] else { return }
        if !presence.isLoaded { self.presences[user]?.told.insert(group) }
        self.presences[user]?.groups[group] = nil
        self.remove(user, from: group)
    }

    private mutating func add(_ membership: GroupMembership, _ user: UInt64, _ number: UInt64) {
        self.presences[user]?.groups[membership.group] = membership.first
        self.listeners[membership.group, default: [:]][user] = number
    }

    private mutating func remove(_ user: UInt64, from group: UInt64) {
        self.listeners[group]?[user] = nil
        if self.listeners[group]?.isEmpty == true { self.listeners[group] = nil }
    }

    // MARK: Questions

    package func isConnected(_ user: UInt64) -> Bool { self.presences[user] != nil }

    /// Whether a connected user is in a group.
    package func isMember(_ user: UInt64, of group: UInt64) -> Bool { self.presences[user]?.groups[group] != nil }

    /// Whether a connected user takes part in a channel, and may know of the message with that sequence.
    package func mayKnow(_ user: UInt64, of sequence: UInt64, in channel: ChannelKey) -> Bool {
        guard let group = channel.group else { return self.presences[user] != nil }
        return self.presences[user]?.groups[group].map { $0 <= sequence } ?? false
    }

    /// How many connected users are in a group.
    package func audience(of group: UInt64) -> Int { self.listeners[group]?.count ?? 0 }

    package func sessions(of user: UInt64) -> [Session] { self.presences[user].map { Array($0.sessions.values) } ?? [] }

    /// The sessions of everybody who takes part in a channel, and may know of the message with that sequence.
    package func sessions(in channel: ChannelKey, at sequence: UInt64 = .max) -> [Session] {
        guard let group = channel.group else {
            let first = self.sessions(of: channel.low)
            return channel.low == channel.high ? first : first + self.sessions(of: channel.high)
        }
        return (self.listeners[group] ?? [:]).flatMap { user, number -> [Session] in
            guard let presence = self.presences[user], presence.number == number,
                let first = presence.groups[group], first <= sequence
            else { return [] }
            return Array(presence.sessions.values)
        }
    }

    /// Nobody is connected, and nothing is left of those who were.
    package var isEmpty: Bool { self.presences.isEmpty && self.listeners.isEmpty }
}
