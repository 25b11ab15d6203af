// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import TernMessages

/// What a client waits for by the clock. Knows the time only from its callers.
struct Timers: Sendable {
    enum Key: Hashable, Sendable {
        case rest, giveUp, authentication, measurement, health, moving, parting, closing
        case receipts, index, pages
        case lane(PartyID)
        case log(ChannelID)
        case request(UInt64)
        /// A request that was refused for now.
        case again(RequestTag)
    }

    private struct Entry: Sendable {
        var at: ContinuousClock.Instant
        /// Of two that are due at once, the one that was set first goes first: a run can be repeated.
        var order: UInt64
    }

    private var entries: [Key: Entry] = [:]
    private var nextOrder: UInt64 = 0
    /// Never later than the first entry; perhaps earlier, when that was taken back.
    private(set) var next: ContinuousClock.Instant?

    mutating func set(_ key: Key, at instant: ContinuousClock.Instant) {
        self.nextOrder += 1
        self.entries[key] = Entry(at: instant, order: self.nextOrder)
        self.next = min(self.next ?? instant, instant)
    }

    mutating func clear(_ key: Key) {
        self.entries[key] = nil
        if self.entries.isEmpty { self.next = nil }
    }

    func isSet(_ key: Key) -> Bool { self.entries[key] != nil }

    mutating func clearAll() {
        self.entries = [:]
        self.next = nil
    }

    /// Takes out what is due.
    mutating func due(at now: ContinuousClock.Instant) -> [Key] {
        guard let next, next <= now else { return [] }
        let due = self.entries.filter { $0.value.at <= now }
            .sorted { ($0.value.at, $0.value.order) < ($1.value.at, $1.value.order) }
        for (key, _) in due { self.entries[key] = nil }
        self.next = self.entries.values.map(\.at).min()
        return due.map(\.key)
    }
}
