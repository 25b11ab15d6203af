// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import TernMessages

/// How far this device received, and its user read, in each channel: cumulative, of one life of the channel's log, told to the
/// server a little later and many at a time, and once more after every reconnect.
struct ReceiptBook: Sendable {
    struct Mark: Sendable, Hashable, Comparable {
        var channel: ChannelID
        var kind: Receipt.Kind

        static func < (left: Mark, right: Mark) -> Bool {
            (left.channel, left.kind.rawValue) < (right.channel, right.kind.rawValue)
        }
    }

    private struct Value: Sendable {
        var sequence: MessageSequence
        /// `nil` when it was not known at the time of the mark.
        var epoch: Epoch?
        var isUnsent = true
        /// It stands on this link, and may be refused there.
        var isWritten = false
        var refusals = 0
    }

    private var marks: [Mark: Value] = [:]
    private var unsent: Set<Mark> = []
    /// The server asked for patience.
    private(set) var heldUntil: ContinuousClock.Instant?
    /// Whether any were written on this link.
    private(set) var hasWritten = false

    var hasUnsent: Bool { !self.unsent.isEmpty }

    /// - Returns: whether it says more than before.
    mutating func reached(
        _ sequence: MessageSequence, of channel: ChannelID, _ kind: Receipt.Kind, epoch: Epoch?
    ) -> Bool {
        let mark = Mark(channel: channel, kind: kind)
        if let known = self.marks[mark] {
            let isOther = known.epoch != nil && epoch != nil && known.epoch != epoch
            guard isOther || sequence > known.sequence else { return false }
        } else if sequence == .zero {
            return false
        }
        self.marks[mark] = Value(sequence: sequence, epoch: epoch ?? self.marks[mark]?.epoch)
        self.unsent.insert(mark)
        return true
    }

    /// What to tell now, of channels that the server confirmed to be the same as ours.
    ///
    /// - Returns: also channels of which it is not known yet.
    mutating func take(
        confirmed: [ChannelID: Epoch], user: UserID
    ) -> (receipts: [Receipt], unknown: [ChannelID]) {
        var receipts: [Receipt] = []
        var unknown: [ChannelID] = []
        for mark in self.unsent.sorted() {
            guard let value = self.marks[mark] else { continue }
            guard let epoch = confirmed[mark.channel] else {
                if unknown.last != mark.channel { unknown.append(mark.channel) }
                continue
            }
            self.unsent.remove(mark)
            guard value.epoch == nil || value.epoch == epoch, let receiver = mark.channel.receiver(for: user) else {
                self.marks[mark] = nil
                continue
            }
            self.marks[mark]?.epoch = epoch
            self.marks[mark]?.isWritten = true
            self.hasWritten = true
            receipts.append(
                Receipt(kind: mark.kind, sender: user, receiver: receiver, sequence: value.sequence))
        }
        return (receipts, unknown)
    }

    /// The server knows as much already.
    mutating func isKnown(delivered: MessageSequence, of channel: ChannelID, _ epoch: Epoch) {
        let mark = Mark(channel: channel, kind: .delivered)
        guard let value = self.marks[mark], value.epoch == epoch, value.sequence <= delivered else { return }
        self.unsent.remove(mark)
    }

    /// The server refused a receipt, of which it says the sequence alone.
    ///
    /// - Returns: channels of which it is to be asked whether we are in them at all.
    mutating func refused(_ sequence: MessageSequence, isRetryable: Bool) -> [ChannelID] {
        let candidates = self.marks.filter { $0.value.isWritten && $0.value.sequence == sequence }.keys.sorted()
        var doubtful: [ChannelID] = []
        for mark in candidates {
            if isRetryable {
                self.unsent.insert(mark)
                continue
            }
            self.marks[mark]?.refusals += 1
            if candidates.allSatisfy({ $0.channel == mark.channel }) || self.marks[mark]?.refusals ?? 0 > 1 {
                self.forget(mark)
            } else {
                self.unsent.insert(mark)
                doubtful.append(mark.channel)
            }
        }
        return doubtful
    }

    mutating func hold(until instant: ContinuousClock.Instant) {
        self.heldUntil = max(self.heldUntil ?? instant, instant)
    }

    /// The marks of a channel are of another life of it, or of a membership that is over.
    mutating func forget(_ channel: ChannelID) {
        self.forget(Mark(channel: channel, kind: .delivered))
        self.forget(Mark(channel: channel, kind: .read))
    }

    private mutating func forget(_ mark: Mark) {
        self.marks[mark] = nil
        self.unsent.remove(mark)
    }

    /// The last receipts are said again on the next one.
    mutating func linkLost() {
        for mark in Array(self.marks.keys) {
            self.marks[mark]?.isWritten = false
            self.unsent.insert(mark)
        }
        self.hasWritten = false
    }
}
