// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import Synchronization
internal import TernMessages
internal import TernStore

/// What a session told of its progress: what the store has of it, and what others are still to hear.
///
/// A receipt that says nothing new is known as such without asking the store, and goes nowhere. What is new waits here for
/// its turn; until then a later receipt of the same channel takes its place.
final class ReceiptForwarding: Sendable {
    /// One receipt for each of these waits.
    private struct Place: Sendable, Hashable {
        var channel: ChannelID
        var kind: TernMessages.Receipt.Kind
    }

    private struct State {
        /// What the store is known to have of the session's device.
        var stored: [ChannelKey: TernStore.Offsets] = [:]
        var waiting: [Place: TernMessages.Receipt] = [:]
        /// Counts the memberships that changed, and says which was the last one of a channel.
        var changes: UInt64 = 0
        var changed: [ChannelKey: UInt64] = [:]
        /// Of channels that are not among them.
        var changedBefore: UInt64 = 0

        func isStill(_ moment: Moment, in channel: ChannelKey) -> Bool {
            (self.changed[channel] ?? self.changedBefore) <= moment.changes
        }
    }

    /// A point in the row of the user's joins and leaves. What was asked of the store at one, and answered after a later one, is of
    /// a membership that is over.
    struct Moment: Sendable, Hashable {
        fileprivate var changes: UInt64
    }

    /// More channels are not remembered; then the store is asked again.
    private static let maximumChannels = 4096

    private let state = Mutex(State())
    private let queue = BoundedQueue<Place>(capacity: .max)

    // MARK: What is stored

    func stored(in channel: ChannelKey) -> TernStore.Offsets? {
        self.state.withLock { $0.stored[channel] }
    }

    var now: Moment { self.state.withLock { Moment(changes: $0.changes) } }

    /// - Parameter moment: before the store was asked.
    func remember(_ offsets: TernStore.Offsets, in channel: ChannelKey, asOf moment: Moment) {
        self.state.withLock { state in
            guard state.isStill(moment, in: channel) else { return }
            if state.stored.count >= Self.maximumChannels, state.stored[channel] == nil { state.stored = [:] }
            state.stored[channel] = offsets
        }
    }

    /// The user left or joined the channel: what was told before counts no more.
    func forget(_ channel: ChannelKey) {
        self.state.withLock { state in
            state.stored[channel] = nil
            for place in state.waiting.keys where ChannelKey(place.channel) == channel { state.waiting[place] = nil }
            state.changes += 1
            if state.changed.count >= Self.maximumChannels, state.changed[channel] == nil {
                state.changed = [:]
                state.changedBefore = state.changes
            }
            state.changed[channel] = state.changes
        }
    }

    // MARK: What is to be forwarded

    /// Takes the place of a lower receipt that waits.
    ///
    /// - Parameter moment: before the store was asked whether it is news.
    func offer(_ receipt: TernMessages.Receipt, in channel: ChannelID, asOf moment: Moment) {
        let place = Place(channel: channel, kind: receipt.kind)
        let isNew = self.state.withLock { state in
            guard state.isStill(moment, in: ChannelKey(channel)) else { return false }
            guard let waiting = state.waiting[place] else {
                // They are cumulative, and can be asked for: one that is dropped is no loss for good.
                guard state.waiting.count < Self.maximumChannels else { return false }
                state.waiting[place] = receipt
                return true
            }
            if receipt.sequence > waiting.sequence { state.waiting[place] = receipt }
            return false
        }
        if isNew { self.queue.pushNow(place, cost: 0) }
    }

    /// Hands over what waits, one after the other, until the session ends. One task calls it.
    func run(_ forward: (TernMessages.Receipt, ChannelID) async -> Void) async {
        while let places = await self.queue.takeAll() {
            for place in places {
                guard !Task.isCancelled, let receipt = self.take(place) else { continue }
                await forward(receipt, place.channel)
            }
        }
    }

    private func take(_ place: Place) -> TernMessages.Receipt? {
        self.state.withLock { $0.waiting.removeValue(forKey: place) }
    }

    func finish() {
        self.queue.finish()
    }
}
