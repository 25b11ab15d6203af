// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import Synchronization
internal import TernMessages
internal import TernStore
internal import TernTransport

/// One authenticated connection of a device: what is on its way to it.
///
/// A device may have several connections; each is a session of its own and is pushed everything but what it sent
/// itself.
final class Session: Sendable {
    let user: UserID
    let device: DeviceID
    let connection: Connection
    let control: ControlOutbox
    /// Typing and presence on their way out; the oldest is dropped when they are not taken in time.
    let datagrams = Inlet<ByteBuffer>(capacity: 128)
    /// Channels for which a push stream is to be opened.
    let feedStarts = Inlet<FeedStart>()
    /// Requests that may be worked on at once, on all streams together.
    let requestSlots: Slots
    /// Bytes of messages that are to be stored or answered, on all streams together.
    let sendRoom: Slots
    /// Bytes of responses that are being made or wait to be read, on all streams together.
    let responseRoom: Slots
    /// Receipts of this connection on their way to the others of their channels.
    let forwarding = ReceiptForwarding()
    private let pushes: Mutex<PushState>
    private let buckets: Mutex<Buckets>

    private struct Buckets: Sendable {
        var messages: TokenBucket
        var datagrams: TokenBucket
        var fanOut: TokenBucket
    }

    init(user: UserID, device: DeviceID, connection: Connection, configuration: ServerConfiguration) {
        self.user = user
        self.device = device
        self.connection = connection
        self.control = ControlOutbox()
        self.requestSlots = Slots(count: configuration.maximumRequestsInFlight)
        self.sendRoom = Slots(count: configuration.maximumPendingBytes)
        self.responseRoom = Slots(count: configuration.maximumResponseBytes)
        self.pushes = Mutex(
            PushState(
                maximumBytes: configuration.maximumQueuedPushBytes, maximumFeeds: configuration.maximumPushStreams))
        let now = ContinuousClock.now
        self.buckets = Mutex(
            Buckets(
                messages: TokenBucket(configuration.messageRate, now: now),
                datagrams: TokenBucket(configuration.datagramRate, now: now),
                fanOut: TokenBucket(configuration.fanOutRate, now: now)))
    }

    var deviceKey: DeviceKey { DeviceKey(user: self.user.rawValue, device: self.device.rawValue) }

    // MARK: Limits

    /// `nil` when one more message or request is allowed, which counts as `cost`, else the refusal.
    func refuseAboveRate(
        cost: Int = 1, sequence: MessageSequence = .zero, id: ClientMessageID? = nil
    ) -> Failure? {
        guard let wait = self.buckets.withLock({ $0.messages.take(Double(cost), now: .now) }) else { return nil }
        let milliseconds = UInt32(clamping: Int64((wait / .milliseconds(1)).rounded(.up)))
        return Failure(
            .rateLimited, "too many messages or requests", sequence: sequence, id: id, retryAfter: milliseconds)
    }

    func allowsDatagram() -> Bool {
        self.buckets.withLock { $0.datagrams.take(now: .now) } == nil
    }

    /// `nil` when this connection may cause so many copies more, else how long it takes until it may.
    func waitForCopies(_ count: Int) -> Duration? {
        count == 0 ? nil : self.buckets.withLock { $0.fanOut.take(Double(count), now: .now) }
    }

    // MARK: Pushing

    /// These messages are being stored for this session: it gets acknowledgements for them, not copies.
    func beginSending(_ keys: [IdempotencyKey]) {
        self.pushes.withLock { state in
            for key in keys { state.ownMessages[key, default: 0] += 1 }
        }
    }

    func endSending(_ keys: [IdempotencyKey]) {
        self.pushes.withLock { state in
            for key in keys {
                let count = state.ownMessages[key, default: 1] - 1
                state.ownMessages[key] = count > 0 ? count : nil
            }
        }
    }

    /// A message was stored in a channel of the user. Returns at once; called in the order of each log.
    func offer(_ message: CommittedMessage) {
        let outcome = self.pushes.withLock { $0.offer(message) }
        outcome.waiter?.resume()
        if let start = outcome.start { self.feedStarts.push(start) }
        for channel in outcome.switchedToPull { self.announcePull(of: channel, epoch: message.receipt.epoch) }
    }

    /// The next messages for a push stream, encoded; `nil` when the stream is to be finished.
    func nextPush(for feed: FeedStart) async -> ByteBuffer? {
        while true {
            switch self.pushes.withLock({ $0.takeBatch(for: feed) }) {
            case .messages(let messages):
                var buffer = ByteBuffer()
                for message in messages { try? message.message.encode(into: &buffer) }
                return buffer
            case .ended:
                return nil
            case .wait:
                await self.untilPushable(feed)
            }
        }
    }

    private func untilPushable(_ feed: FeedStart) async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let mustWait = self.pushes.withLock { $0.wait(for: feed, continuation, isCancelled: Task.isCancelled) }
                if !mustWait { continuation.resume() }
            }
        } onCancel: {
            self.pushes.withLock { $0.end(feed) }?.resume()
        }
    }

    /// The push stream broke or was refused by the client: the channel waits until the client pulls.
    func feedFailed(_ feed: FeedStart) {
        guard let epoch = self.pushes.withLock({ $0.fail(feed) }) else { return }
        self.announcePull(of: feed.channel, epoch: epoch)
    }

    /// The client read a channel's history up to `sequence`, where it ended.
    ///
    /// - Returns: `nil` when the channel is pushed from there on, or the head that it grew to in the meantime.
    func caughtUp(_ channel: ChannelKey, to sequence: UInt64) -> UInt64? {
        self.pushes.withLock { $0.caughtUp(channel, to: sequence) }
    }

    private func announcePull(of channel: ChannelKey, epoch: UInt32) {
        guard let head = self.pushes.withLock({ $0.pulling[channel] }), let id = ChannelID(channel),
            let notice = InboxNotice(
                to: self.user, channel: id, head: MessageSequence(stored: head), epoch: Epoch(rawValue: UInt64(epoch)),
                mustPull: true)
        else { return }
        self.control.offer(notice, of: channel)
    }

    /// The user joined or left the channel. Called in the order of the commits, also with respect to ``offer(_:)``.
    ///
    /// What was on its way to the session, or known of it, belongs to the membership that was: it is dropped, and the channel
    /// begins anew with what is stored after a join.
    func membershipChanged(_ channel: ChannelKey, isMember: Bool) {
        self.pushes.withLock { $0.forget(channel) }?.resume()
        self.control.forget(channel)
        self.forwarding.forget(channel)
    }

    /// Nothing more is pushed, and nothing more forwarded; the streams are finished after what is queued was dropped.
    func stopPushing() {
        let waiters = self.pushes.withLock { $0.stop() }
        for waiter in waiters { waiter.resume() }
        self.feedStarts.end()
        self.forwarding.finish()
    }
}
