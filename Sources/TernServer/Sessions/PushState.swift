// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import NIOCore
internal import TernMessages
internal import TernStore

/// One push stream in the life of a session.
struct FeedStart: Sendable, Hashable {
    var channel: ChannelKey
    /// Tells it from earlier and later streams of the same channel.
    var number: Int
}

/// What waits to be pushed to one session, and which of its channels are pushed at all.
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
        var lastUse = 0
        var waiter: CheckedContinuation<Void, Never>?
    }

    struct Outcome: Sendable {
        var waiter: CheckedContinuation<Void, Never>?
        var start: FeedStart?
        var switchedToPull: [ChannelKey] = []
    }

    enum Batch: Sendable {
        case messages([ChannelMessage])
        case wait
        case ended
    }

    /// What was pushed last of a channel.
    struct Mark: Sendable, Hashable {
        var sequence: UInt64
        var epoch: UInt32
    }

    /// A message costs this much beside its payload.
    static let overhead = 256
    /// A batch is closed when it has this many bytes.
    static let batchBytes = 64 << 10

    let maximumBytes: Int
    let maximumFeeds: Int
    var feeds: [ChannelKey: Feed] = [:]
    /// Channels that are not pushed, and how far their logs reach.
    var pulling: [ChannelKey: UInt64] = [:]
    /// The last message of each channel that was given to a push stream.
    var lastPushed: [ChannelKey: Mark] = [:]
    /// Messages that this session is storing itself.
    var ownMessages: [IdempotencyKey: Int] = [:]
    private var bytes = 0
    private var uses = 0
    private var isStopped = false

    init(maximumBytes: Int, maximumFeeds: Int) {
        self.maximumBytes = maximumBytes
        self.maximumFeeds = maximumFeeds
    }

    mutating func offer(_ message: CommittedMessage) -> Outcome {
        var outcome = Outcome()
        let channel = message.draft.channel
        guard !self.isStopped, self.ownMessages[message.draft.key] == nil else { return outcome }
        guard self.pulling[channel] == nil else {
            self.pulling[channel] = message.receipt.sequence
            return outcome
        }
        if self.feeds[channel] == nil {
            guard self.makeRoomForFeed(&outcome) else {
                self.pulling[channel] = message.receipt.sequence
                outcome.switchedToPull = [channel]
                return outcome
            }
            self.uses += 1
            self.feeds[channel] = Feed(number: self.uses)
            outcome.start = FeedStart(channel: channel, number: self.uses)
        }
        self.enqueue(message)
        if self.bytes > self.maximumBytes { self.shed(&outcome) }
        if outcome.waiter == nil { outcome.waiter = self.feeds[channel]?.waiter.take() }
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

    /// Ends the feed that was idle for longest when there are too many.
    ///
    /// - Returns: `false` when all are busy.
    private mutating func makeRoomForFeed(_ outcome: inout Outcome) -> Bool {
        guard self.feeds.count >= self.maximumFeeds else { return true }
        let idle = self.feeds.filter { $0.value.queue.isEmpty && !$0.value.isWriting }
        guard let oldest = idle.min(by: { $0.value.lastUse < $1.value.lastUse })?.key else { return false }
        outcome.waiter = self.feeds.removeValue(forKey: oldest)?.waiter
        return true
    }

    /// Switches the fullest channel to pull.
    private mutating func shed(_ outcome: inout Outcome) {
        guard let (channel, feed) = self.feeds.max(by: { $0.value.bytes < $1.value.bytes }),
            let last = feed.queue.last
        else { return }
        self.drop(channel)
        self.pulling[channel] = last.receipt.sequence
        outcome.switchedToPull.append(channel)
    }

    private mutating func drop(_ channel: ChannelKey) {
        self.bytes -= self.feeds[channel]?.bytes ?? 0
        self.feeds[channel]?.queue = []
        self.feeds[channel]?.bytes = 0
    }

    mutating func takeBatch(for start: FeedStart) -> Batch {
        guard var feed = self.feeds[start.channel], feed.number == start.number else { return .ended }
        feed.isWriting = !feed.queue.isEmpty
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
            self.lastPushed[start.channel] = Mark(sequence: receipt.sequence, epoch: receipt.epoch)
        }
        feed.bytes -= taken
        self.bytes -= taken
        self.feeds[start.channel] = feed
        return messages.isEmpty ? .wait : .messages(messages)
    }

    /// - Returns: whether the continuation is kept; otherwise the caller resumes it.
    mutating func wait(
        for start: FeedStart, _ continuation: CheckedContinuation<Void, Never>, isCancelled: Bool
    ) -> Bool {
        guard !isCancelled, let feed = self.feeds[start.channel], feed.number == start.number, feed.queue.isEmpty
        else { return false }
        self.feeds[start.channel]?.waiter = continuation
        return true
    }

    mutating func end(_ start: FeedStart) -> CheckedContinuation<Void, Never>? {
        guard self.feeds[start.channel]?.number == start.number else { return nil }
        self.drop(start.channel)
        return self.feeds.removeValue(forKey: start.channel)?.waiter
    }

    /// - Returns: the channel's epoch, if the channel was switched to pull by this.
    mutating func fail(_ start: FeedStart) -> UInt32? {
        guard !self.isStopped, let feed = self.feeds[start.channel], feed.number == start.number else { return nil }
        let queued = feed.queue.last.map { Mark(sequence: $0.receipt.sequence, epoch: $0.receipt.epoch) }
        _ = self.end(start)
        guard let last = queued ?? self.lastPushed[start.channel], self.pulling[start.channel] == nil else {
            return nil
        }
        self.pulling[start.channel] = last.sequence
        return last.epoch
    }

    mutating func caughtUp(_ channel: ChannelKey, to sequence: UInt64) -> UInt64? {
        guard let head = self.pulling[channel] else { return nil }
        if head > sequence { return head }
        self.pulling[channel] = nil
        return nil
    }

    /// Ends the channel's stream without what is queued, and knows nothing of the channel any more.
    mutating func forget(_ channel: ChannelKey) -> CheckedContinuation<Void, Never>? {
        self.drop(channel)
        self.pulling[channel] = nil
        self.lastPushed[channel] = nil
        return self.feeds.removeValue(forKey: channel)?.waiter
    }

    mutating func stop() -> [CheckedContinuation<Void, Never>] {
        self.isStopped = true
        defer { self.feeds = [:] }
        self.bytes = 0
        return self.feeds.values.compactMap(\.waiter)
    }
}
