// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import NIOCore
internal import TernMessages
package import TernStore

/// One push stream in the life of a session.
package struct FeedStart: Sendable, Hashable {
    package var channel: ChannelKey
    /// Tells it from earlier and later streams of the same channel.
    package var number: Int
}

/// What waits to be pushed to one session, and which of its channels are pushed at all: a part of ``SessionState``.
///
/// A channel is live: its messages are queued in order and pushed; or it is pulling: only its head is noted. It
/// begins live, is switched to pulling when the session has too much queued, and becomes live again when the client
/// read it to its end.
struct PushState: Sendable {
    struct Feed: Sendable {
        var number: Int
        var queue: Deque<CommittedMessage> = []
        var bytes = 0
        /// A batch was taken and not all of it is written yet.
        var isWriting = true
        /// Its task wants to hear of the next message, or of the end.
        var isWaiting = false
        var lastUse = 0
    }

    struct Outcome: Sendable {
        var effects: [SessionState.Effect] = []
        var switchedToPull: ChannelKey?
    }

    enum Batch: Sendable {
        case messages([ChannelMessage])
        case wait
        case ended
    }

    /// A place in the log of a channel.
    struct Mark: Sendable, Hashable {
        var sequence: UInt64
        var epoch: UInt32

        init(sequence: UInt64, epoch: UInt32) {
            self.sequence = sequence
            self.epoch = epoch
        }

        init(_ message: CommittedMessage) {
            self.init(sequence: message.receipt.sequence, epoch: message.receipt.epoch)
        }
    }

    /// A message costs this much beside its payload.
    static let overhead = 256
    /// A batch is closed when it has this many bytes.
    static let batchBytes = 64 << 10

    /// Streams beyond ``maximumFeeds`` that are to end and have not ended yet.
    static let spareFeeds = 4

    let maximumBytes: Int
    let maximumFeeds: Int
    private(set) var feeds: [ChannelKey: Feed] = [:]
    /// Feeds that are wanted no more, and are served until whoever does it has learned so: it may wait for a stream, or for a client
    /// that does not read.
    private var departing: Set<Int> = []
    /// Channels that are not pushed, and how far their logs reach.
    private(set) var pulling: [ChannelKey: Mark] = [:]
    /// The last message of each channel that was given to a push stream.
    private(set) var lastPushed: [ChannelKey: Mark] = [:]
    /// Messages that this session is storing itself: it gets acknowledgements for them, not copies.
    private var ownMessages: [OwnMessage: Int] = [:]
    private(set) var bytes = 0
    private var uses = 0
    private(set) var isStopped = false

    init(maximumBytes: Int, maximumFeeds: Int) {
        self.maximumBytes = maximumBytes
        self.maximumFeeds = maximumFeeds
    }

    // MARK: Own messages

    mutating func beginSending(_ drafts: [Draft]) {
        for draft in drafts { self.ownMessages[OwnMessage(draft), default: 0] += 1 }
    }

    mutating func endSending(_ drafts: [Draft]) {
        for draft in drafts {
            let own = OwnMessage(draft)
            let count = self.ownMessages[own, default: 1] - 1
            self.ownMessages[own] = count > 0 ? count : nil
        }
    }

    var hasOwnMessages: Bool { !self.ownMessages.isEmpty }

    // MARK: New messages

    mutating func offer(_ message: CommittedMessage) -> Outcome {
        var outcome = Outcome()
        let channel = message.draft.channel
        guard !self.isStopped, self.ownMessages.isEmpty || self.ownMessages[OwnMessage(message.draft)] == nil else {
            return outcome
        }
        guard self.pulling[channel] == nil else {
            self.pulling[channel] = Mark(message)
            return outcome
        }
        if self.feeds[channel] == nil {
            guard self.makeRoomForFeed(&outcome) else {
                self.pulling[channel] = Mark(message)
                outcome.switchedToPull = channel
                return outcome
            }
            self.uses += 1
            self.feeds[channel] = Feed(number: self.uses)
            outcome.effects.append(.open(FeedStart(channel: channel, number: self.uses)))
        }
        self.enqueue(message)
        if self.bytes > self.maximumBytes { self.shed(&outcome) }
        self.wake(channel, &outcome)
        return outcome
    }

    private mutating func enqueue(_ message: CommittedMessage) {
        let cost = Self.cost(of: message)
        self.uses += 1
        self.feeds[message.draft.channel]?.queue.append(message)
        self.feeds[message.draft.channel]?.bytes += cost
        self.feeds[message.draft.channel]?.lastUse = self.uses
        self.bytes += cost
    }

    /// The memory that a message keeps alive, which may be more than its bytes.
    private static func cost(of message: CommittedMessage) -> Int {
        message.draft.payload.storageCapacity + Self.overhead
    }

    private mutating func wake(_ channel: ChannelKey, _ outcome: inout Outcome) {
        guard let feed = self.feeds[channel], feed.isWaiting, !feed.queue.isEmpty else { return }
        self.feeds[channel]?.isWaiting = false
        outcome.effects.append(.wake(FeedStart(channel: channel, number: feed.number)))
    }

    /// Ends the feed that was idle for longest when there are too many.
    ///
    /// - Returns: `false` when all are busy, or too many have not ended yet.
    private mutating func makeRoomForFeed(_ outcome: inout Outcome) -> Bool {
        guard self.feeds.count + self.departing.count < self.maximumFeeds + Self.spareFeeds else { return false }
        guard self.feeds.count >= self.maximumFeeds else { return true }
        let idle = self.feeds.filter { $0.value.queue.isEmpty && !$0.value.isWriting }
        guard let oldest = idle.min(by: { $0.value.lastUse < $1.value.lastUse })?.key else { return false }
        outcome.effects += self.remove(oldest)
        return true
    }

    /// Switches the fullest channel to pull.
    private mutating func shed(_ outcome: inout Outcome) {
        // Of two that are as full the one that was used last: what is done must not depend on the order of a dictionary.
        let fullest = self.feeds.max {
            ($0.value.bytes, $0.value.lastUse) < ($1.value.bytes, $1.value.lastUse)
        }
        guard let (channel, feed) = fullest,
            let last = feed.queue.last
        else { return }
        self.drop(channel)
        self.pulling[channel] = Mark(last)
        outcome.switchedToPull = channel
    }

    private mutating func drop(_ channel: ChannelKey) {
        self.bytes -= self.feeds[channel]?.bytes ?? 0
        self.feeds[channel]?.queue = []
        self.feeds[channel]?.bytes = 0
    }

    private mutating func remove(_ channel: ChannelKey) -> [SessionState.Effect] {
        self.drop(channel)
        guard let feed = self.feeds.removeValue(forKey: channel) else { return [] }
        self.departing.insert(feed.number)
        return feed.isWaiting ? [.wake(FeedStart(channel: channel, number: feed.number))] : []
    }

    // MARK: Feeds

    mutating func takeBatch(for start: FeedStart) -> Batch {
        guard var feed = self.feeds[start.channel], feed.number == start.number else {
            self.departing.remove(start.number)
            return .ended
        }
        feed.isWriting = !feed.queue.isEmpty
        feed.isWaiting = feed.queue.isEmpty
        var messages: [ChannelMessage] = []
        var taken = 0
        while taken < Self.batchBytes, let message = feed.queue.popFirst() {
            taken += Self.cost(of: message)
            let previous = self.lastPushed[start.channel].map { MessageSequence(stored: $0.sequence) }
            let receipt = message.receipt
            let pushed = ChannelMessage(
                message.draft, epoch: receipt.epoch, sequence: receipt.sequence, timestamp: receipt.timestamp,
                previous: previous)
            if let pushed { messages.append(pushed) }
            self.lastPushed[start.channel] = Mark(message)
        }
        feed.bytes -= taken
        self.bytes -= taken
        self.feeds[start.channel] = feed
        return messages.isEmpty ? .wait : .messages(messages)
    }

    /// Whether the feed's task is to be woken later; asked again where the answer cannot change before it waits.
    func isWaiting(_ start: FeedStart) -> Bool {
        guard let feed = self.feeds[start.channel], feed.number == start.number else { return false }
        return feed.isWaiting
    }

    /// Nobody serves the feed any more.
    mutating func end(_ start: FeedStart) -> [SessionState.Effect] {
        let effects = self.feeds[start.channel]?.number == start.number ? self.remove(start.channel) : []
        self.departing.remove(start.number)
        return effects
    }

    /// The stream of the feed broke, or the client refused it. Whoever serves it is told, if it waits.
    mutating func fail(_ start: FeedStart) -> Outcome {
        var outcome = Outcome()
        guard !self.isStopped, let feed = self.feeds[start.channel], feed.number == start.number else {
            self.departing.remove(start.number)
            return outcome
        }
        let queued = feed.queue.last.map { Mark($0) }
        outcome.effects = self.remove(start.channel)
        // Who does not wait has told it.
        if !feed.isWaiting { self.departing.remove(start.number) }
        guard let last = queued ?? self.lastPushed[start.channel], self.pulling[start.channel] == nil else {
            return outcome
        }
        self.pulling[start.channel] = last
        outcome.switchedToPull = start.channel
        return outcome
    }

    // MARK: Channels

    /// - Returns: `nil` when the channel is pushed from there on, or how far its log reaches in fact.
    mutating func caughtUp(_ channel: ChannelKey, to sequence: UInt64) -> UInt64? {
        guard let head = self.pulling[channel] else { return nil }
        if head.sequence > sequence { return head.sequence }
        self.pulling[channel] = nil
        return nil
    }

    /// Ends the channel's stream without what is queued, and knows nothing of the channel any more.
    mutating func forget(_ channel: ChannelKey) -> [SessionState.Effect] {
        self.pulling[channel] = nil
        self.lastPushed[channel] = nil
        return self.remove(channel)
    }

    mutating func stop() -> [SessionState.Effect] {
        self.isStopped = true
        return Array(self.feeds.keys).flatMap { self.remove($0) }
    }
}

/// A message on its way into the store. Whoever else sends a message with the same id sends another message.
private struct OwnMessage: Sendable, Hashable {
    let draft: Draft

    init(_ draft: Draft) {
        self.draft = draft
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(self.draft.sender)
        hasher.combine(self.draft.key)
    }

    /// What the store takes for the same message sent again; anything else with the id is refused, and acknowledged to nobody here.
    static func == (one: Self, other: Self) -> Bool {
        let (one, other) = (one.draft, other.draft)
        return one.key == other.key && one.sender == other.sender && one.channel == other.channel
            && one.type == other.type && one.flags == other.flags && one.payload == other.payload
    }
}
