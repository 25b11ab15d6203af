// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernMessages
package import TernStore

/// What a session told of its progress, what the store has of it, and what others are still to hear: a value without clock, task or
/// lock. ``ReceiptForwarding`` holds it; a simulation drives it alone.
///
/// A receipt that says nothing new is known as such without asking the store, and goes nowhere. What is new waits here for
/// its turn; until then a later receipt of the same channel takes its place.
package struct ReceiptState: Sendable {
    /// One receipt for each of these waits.
    package struct Place: Sendable, Hashable {
        package var channel: ChannelID
        package var kind: TernMessages.Receipt.Kind
    }

    /// A point in the row of the user's joins and leaves. What was asked of the store at one, and answered after a later one, is of
    /// a membership that is over.
    package struct Moment: Sendable, Hashable {
        fileprivate var changes: UInt64
    }

    /// What a receipt leads to.
    package enum Step: Sendable, Hashable {
        /// It is no news.
        case nothing
        /// The store is asked what it has, unless that is known; ``found(_:told:in:asOf:)`` says how to go on.
        case compare(known: TernStore.Offsets?, asOf: Moment)
    }

    /// More channels are not remembered; then the store is asked again.
    private static let maximumChannels = 4096

    private var stored: [ChannelKey: TernStore.Offsets] = [:]
    private var waiting: [Place: TernMessages.Receipt] = [:]
    /// Counts the memberships that changed, and says which was the last one of a channel.
    private var changes: UInt64 = 0
    private var changed: [ChannelKey: UInt64] = [:]
    /// Of channels that are not among them.
    private var changedBefore: UInt64 = 0

    package init() {}

    // MARK: What is stored

    /// A receipt came.
    package func came(_ told: TernStore.Offsets, in channel: ChannelKey) -> Step {
        // Most are sent again, or merged with others on their way.
        if let known = self.stored[channel], !told.isMore(than: known) { return .nothing }
        return .compare(known: self.stored[channel], asOf: Moment(changes: self.changes))
    }

    /// The store has this of the session's device.
    ///
    /// - Parameter moment: before the store was asked.
    /// - Returns: whether what was told is more: then it is to be stored.
    package mutating func found(
        _ before: TernStore.Offsets, told: TernStore.Offsets, in channel: ChannelKey, asOf moment: Moment
    ) -> Bool {
        guard !told.isMore(than: before) else { return true }
        self.remember(before, in: channel, asOf: moment)
        return false
    }

    /// What a receipt told was stored.
    ///
    /// - Parameters:
    ///   - before: what the store had, and `after` what it has.
    ///   - moment: before the store was asked.
    /// - Returns: a place in which a receipt waits for its turn from now on: ``take(_:)`` hands it over.
    package mutating func stored(
        _ receipt: TernMessages.Receipt, in channel: ChannelID, from device: DeviceID, before: TernStore.Offsets,
        after: TernStore.Offsets, asOf moment: Moment
    ) -> Place? {
        guard self.isStill(moment, in: ChannelKey(channel)) else { return nil }
        self.remember(after, in: ChannelKey(channel), asOf: moment)
        let isRead = receipt.kind == .read
        guard isRead ? after.read > before.read : after.delivered > before.delivered else { return nil }
        // Others hear how far it is now.
        var news = receipt
        news.senderDevice = device
        news.sequence = MessageSequence(stored: isRead ? after.read : after.delivered)
        return self.wait(news, in: channel)
    }

    private mutating func remember(_ offsets: TernStore.Offsets, in channel: ChannelKey, asOf moment: Moment) {
        guard self.isStill(moment, in: channel) else { return }
        if self.stored.count >= Self.maximumChannels, self.stored[channel] == nil { self.stored = [:] }
        self.stored[channel] = offsets
    }

    /// The user left or joined the channel: what was told before counts no more.
    package mutating func forget(_ channel: ChannelKey) {
        self.stored[channel] = nil
        if let id = ChannelID(channel) {
            for kind in [TernMessages.Receipt.Kind.delivered, .read] {
                self.waiting[Place(channel: id, kind: kind)] = nil
            }
        }
        self.changes += 1
        if self.changed.count >= Self.maximumChannels, self.changed[channel] == nil {
            self.changed = [:]
            self.changedBefore = self.changes
        }
        self.changed[channel] = self.changes
    }

    private func isStill(_ moment: Moment, in channel: ChannelKey) -> Bool {
        (self.changed[channel] ?? self.changedBefore) <= moment.changes
    }

    // MARK: What is to be forwarded

    /// Takes the place of a lower receipt that waits.
    private mutating func wait(_ receipt: TernMessages.Receipt, in channel: ChannelID) -> Place? {
        let place = Place(channel: channel, kind: receipt.kind)
        guard let waiting = self.waiting[place] else {
            // They are cumulative, and can be asked for: one that is dropped is no loss for good.
            guard self.waiting.count < Self.maximumChannels else { return nil }
            self.waiting[place] = receipt
            return place
        }
        if receipt.sequence > waiting.sequence { self.waiting[place] = receipt }
        return nil
    }

    /// The receipt in a place, whose turn it is; `nil` when the membership is over of which it told.
    package mutating func take(_ place: Place) -> TernMessages.Receipt? {
        self.waiting.removeValue(forKey: place)
    }

    /// Whether nothing waits for its turn.
    package var isIdle: Bool { self.waiting.isEmpty }
}

extension TernStore.Offsets {
    /// What a receipt says: whoever read has received.
    package init(told receipt: TernMessages.Receipt) {
        let sequence = receipt.sequence.rawValue
        self.init(delivered: sequence, read: receipt.kind == .read ? sequence : 0)
    }

    fileprivate func isMore(than other: Self) -> Bool {
        self.read > other.read || self.delivered > other.delivered
    }
}
