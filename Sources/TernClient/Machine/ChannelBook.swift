// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import TernMessages

/// The logs of all channels, from where each is wanted, and who may ask for a page next.
struct ChannelBook: Sendable {
    /// The reading of the index, by which a link learns what was missed.
    enum Index: Sendable, Hashable {
        case notAsked
        case asked(cursor: UInt64)
        /// It was refused for now; the cursor is asked for again.
        case later(cursor: UInt64)
        case complete
    }

    /// What to do about a channel whose beginning is not known.
    enum Beginning: Sendable, Hashable {
        case known
        /// The index, which is being read, says it.
        case byIndex
        /// Its state says when we joined.
        case byState
    }

    /// Pages on their way at once.
    static let maximumPages = 6

    let start: ReceiveStart
    var logs: [ChannelID: ChannelLog] = [:]
    var index = Index.notAsked
    var indexRefusals = 0
    /// An index was read to its end: what comes to light later is new.
    private(set) var hasBaseline = false
    /// Groups that we joined by ourselves: they may have had a long life before.
    var joined: Set<ChannelID> = []
    /// Channels that want a page, in turn.
    private var queue: Deque<ChannelID> = []
    private var queued: Set<ChannelID> = []
    var pagesInFlight = 0

    init(start: ReceiveStart) {
        self.start = start
    }

    /// Takes out the log of `channel`, of this epoch; the caller changes it and puts it back.
    ///
    /// - Returns: the log, how its beginning becomes known, and whether the log before it was of another life.
    mutating func takeLog(
        of channel: ChannelID, _ epoch: Epoch
    ) -> (log: ChannelLog, beginning: Beginning, restarted: Bool) {
        guard var log = self.logs.removeValue(forKey: channel) else {
            if case .sequence(let sequence) = self.start {
                return (ChannelLog(epoch: epoch, next: sequence), .known, false)
            }
            guard self.hasBaseline else { return (ChannelLog(epoch: epoch, next: nil), .byIndex, false) }
            // A conversation that was not in the index began after it.
            guard channel.group != nil else { return (ChannelLog(epoch: epoch, next: 1), .known, false) }
            return (ChannelLog(epoch: epoch, next: nil), .byState, false)
        }
        if log.epoch != epoch, log.isBlank { log.adopt(epoch) }
        guard log.epoch == epoch else { return (.restarted(epoch), .known, true) }
        return (log, log.hasStarted ? .known : self.hasBaseline ? .byState : .byIndex, false)
    }

    /// Where to begin with a channel whose state is known: see ``ReceiveStart/live``.
    func beginning(of state: ChannelState) -> UInt64 {
        if case .sequence(let sequence) = self.start { return sequence }
        guard self.hasBaseline else { return state.head.rawValue + 1 }
        guard state.channel.group != nil else { return 1 }
        if let since = state.since { return since.rawValue }
        // Members who may not read what was before their joining see a log that begins with it.
        if state.first.rawValue > 1 { return state.first.rawValue }
        return self.joined.contains(state.channel) ? state.head.rawValue + 1 : 1
    }

    /// Whether the index is still to say which groups are old: who enters one before it was asked could not tell a group that was
    /// joined now from one that was joined long ago.
    var mustKnowOldGroups: Bool { self.start == .live && !self.hasBaseline }

    /// The index was read to its end.
    ///
    /// - Returns: channels that it did not have, and of which something came all the same.
    mutating func indexEnded() -> [ChannelID] {
        self.index = .complete
        self.indexRefusals = 0
        self.hasBaseline = true
        return self.logs.filter { !$0.value.hasStarted }.keys.sorted()
    }

    // MARK: Pages

    mutating func enqueue(_ channel: ChannelID) {
        guard self.logs[channel]?.wantsPage == true, self.queued.insert(channel).inserted else { return }
        self.queue.append(channel)
    }

    /// The next page to ask for; `nil` when enough are on their way, or nothing is wanted.
    ///
    /// - Parameter confirmed: channels of which this link's server told; what others are now is not known yet.
    mutating func nextPage(confirmed: [ChannelID: Epoch]) -> History? {
        while self.pagesInFlight < Self.maximumPages, let channel = self.queue.popFirst() {
            self.queued.remove(channel)
            guard self.logs[channel]?.wantsPage == true, confirmed[channel] != nil,
                let from = self.logs[channel]?.beginReading(), let sequence = MessageSequence(rawValue: from)
            else { continue }
            self.pagesInFlight += 1
            return History(channel: channel, from: sequence)
        }
        return nil
    }

    mutating func linkLost() {
        self.index = .notAsked
        self.queue = []
        self.queued = []
        self.pagesInFlight = 0
        for channel in Array(self.logs.keys) { self.logs[channel]?.connectionChanged() }
    }
}
