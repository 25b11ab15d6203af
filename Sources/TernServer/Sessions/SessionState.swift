// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernMessages
package import TernStore

/// What one session is told and owed, as a value without clock, task or lock: ``Session`` holds it behind its mutex and does what it
/// returns; a simulation drives it alone.
///
/// The store's commits come through ``offer(_:)`` and ``membershipChanged(_:isMember:)``, in their order. What the client did comes
/// through the others, whenever it did it.
package struct SessionState: Sendable {
    /// What is to be done, in this order.
    package enum Effect: Sendable, Hashable {
        /// Open a push stream, and serve it with ``takeBatch(for:)``.
        case open(FeedStart)
        /// Whoever serves this push stream asks again.
        case wake(FeedStart)
        /// Whoever writes the control stream asks again.
        case wakeControl
        /// Close the connection.
        case close(CloseCode, reason: String)
    }

    package struct Limits: Sendable, Hashable {
        /// Memory of what waits to be pushed.
        package var queuedPushBytes: Int
        package var pushStreams: Int
        /// Memory of answers on the control stream above which nothing is asked that needs one.
        package var controlBytes: Int

        package init(queuedPushBytes: Int = 4 << 20, pushStreams: Int = 60, controlBytes: Int = 256 << 10) {
            self.queuedPushBytes = queuedPushBytes
            self.pushStreams = pushStreams
            self.controlBytes = controlBytes
        }
    }

    /// The next messages of a push stream.
    package enum Batch: Sendable {
        case messages([ChannelMessage])
        /// None yet: ``Effect/wake(_:)`` will follow.
        case wait
        /// None any more: the stream is to be finished.
        case ended
    }

    /// The next messages of the control stream.
    package enum ControlBatch: Sendable {
        case messages([Message])
        /// None yet: ``Effect/wakeControl`` will follow.
        case wait
        case ended
    }

    package let user: UserID
    package let device: DeviceID
    private let limits: Limits
    private(set) var pushes: PushState
    private(set) var control = ControlQueue()
    private var isDraining = false
    private var token: TokenEnd?
    private var isClosed = false

    /// - Parameter token: when the token ends with which the session began; `nil` for one that does not end.
    package init(user: UserID, device: DeviceID, limits: Limits = Limits(), token: TokenEnd? = nil) {
        self.user = user
        self.device = device
        self.limits = limits
        self.token = token
        self.pushes = PushState(maximumBytes: limits.queuedPushBytes, maximumFeeds: limits.pushStreams)
    }

    // MARK: What the store tells

    /// A message was stored in a channel of the user.
    package mutating func offer(_ message: CommittedMessage) -> [Effect] {
        var outcome = self.pushes.offer(message)
        if let channel = outcome.switchedToPull { outcome.effects += self.announcePull(of: channel) }
        return outcome.effects
    }

    /// The user joined or left the channel.
    ///
    /// What was on its way to the session, or known of it, belongs to the membership that was: it is dropped, and the channel
    /// begins anew with what is stored after a join.
    package mutating func membershipChanged(_ channel: ChannelKey, isMember: Bool) -> [Effect] {
        self.control.forget(channel)
        return self.pushes.forget(channel)
    }

    // MARK: What the session sends

    /// These messages are being stored for this session: it gets acknowledgements for them, not copies.
    package mutating func beginSending(_ drafts: [Draft]) {
        self.pushes.beginSending(drafts)
    }

    package mutating func endSending(_ drafts: [Draft]) {
        self.pushes.endSending(drafts)
    }

    // MARK: Push streams

    package mutating func takeBatch(for start: FeedStart) -> Batch {
        switch self.pushes.takeBatch(for: start) {
        case .messages(let messages): .messages(messages)
        case .wait: .wait
        case .ended: .ended
        }
    }

    /// Whether nothing was there for this stream, and nothing has come since.
    package func isWaiting(_ start: FeedStart) -> Bool { self.pushes.isWaiting(start) }

    /// Nobody serves the stream any more.
    package mutating func feedEnded(_ start: FeedStart) -> [Effect] {
        self.pushes.end(start)
    }

    /// The push stream broke or was refused by the client: the channel waits until the client pulls.
    package mutating func feedFailed(_ start: FeedStart) -> [Effect] {
        let outcome = self.pushes.fail(start)
        guard let channel = outcome.switchedToPull else { return outcome.effects }
        return outcome.effects + self.announcePull(of: channel)
    }

    /// The client read a channel's history up to `sequence`, where it ended.
    ///
    /// Where the page began, and whether the client will ever see it, says nothing of what was dropped: a notice that it does not have
    /// yet still says how far the log reaches, and only no longer that it must be read.
    ///
    /// - Returns: `nil` when the channel is pushed from there on, or the head that it grew to in the meantime.
    package mutating func caughtUp(_ channel: ChannelKey, to sequence: UInt64) -> UInt64? {
        var notice = Self.pullNotice(of: channel, to: self.user, self.pushes)
        if let head = self.pushes.caughtUp(channel, to: sequence) { return head }
        notice?.mustPull = false
        if let notice { self.control.replaceNotice(of: channel, by: notice) }
        return nil
    }

    private mutating func announcePull(of channel: ChannelKey) -> [Effect] {
        guard let notice = Self.pullNotice(of: channel, to: self.user, self.pushes) else { return [] }
        self.control.offer(notice, of: channel)
        return [.wakeControl]
    }

    private static func pullNotice(of channel: ChannelKey, to user: UserID, _ pushes: PushState) -> InboxNotice? {
        guard let head = pushes.pulling[channel], let id = ChannelID(channel) else { return nil }
        return InboxNotice(
            to: user, channel: id, head: MessageSequence(stored: head.sequence),
            epoch: Epoch(rawValue: UInt64(head.epoch)), mustPull: true)
    }

    // MARK: The control stream

    /// Whether so much waits that answers are held back.
    package var isControlFull: Bool { !self.control.isFinished && self.control.bytes >= self.limits.controlBytes }

    package mutating func send(_ message: Message) -> [Effect] {
        self.control.append(message)
        return [.wakeControl]
    }

    package mutating func tell(_ notice: InboxNotice, of channel: ChannelKey) -> [Effect] {
        self.control.offer(notice, of: channel)
        return [.wakeControl]
    }

    package mutating func tell(_ receipt: TernMessages.Receipt, in channel: ChannelID) -> [Effect] {
        self.control.offer(receipt, in: channel)
        return [.wakeControl]
    }

    package mutating func takeControl() -> ControlBatch {
        guard !self.control.isEmpty else { return self.control.isFinished ? .ended : .wait }
        let (user, pushes) = (self.user, self.pushes)
        let messages = self.control.takeAll { channel, notice in
            // It tells how things are when it is written, not when it was noted.
            Self.pullNotice(of: channel, to: user, pushes).map { notice.merged(with: $0) } ?? notice
        }
        return messages.isEmpty ? self.takeControl() : .messages(messages)
    }

    /// Whether nothing waits to be written, and more may come.
    package var isControlIdle: Bool { self.control.isEmpty && !self.control.isFinished }

    /// Nothing more is told; what waits is still written.
    package mutating func finishControl() -> [Effect] {
        self.control.finish()
        return [.wakeControl]
    }

    // MARK: The end

    /// The server is about to stop. The client is told once.
    package mutating func drain(retryAfter milliseconds: UInt32) -> [Effect] {
        guard !self.isDraining else { return [] }
        self.isDraining = true
        return self.send(GoOffline(retryAfter: milliseconds).message)
    }

    /// Nothing more is pushed; the streams are finished after what is queued was dropped.
    package mutating func stopPushing() -> [Effect] {
        self.pushes.stop()
    }

    /// When ``timeout(now:)`` is to be called.
    package func nextDeadline(after now: ServerTime) -> ContinuousClock.Instant? {
        self.isClosed ? nil : self.token?.nextCheck(after: now)
    }

    package mutating func timeout(now: ServerTime) -> [Effect] {
        guard !self.isClosed, self.token?.isOver(at: now) == true else { return [] }
        return self.close(.tokenExpired, reason: "the token expired")
    }

    /// The connection is to end; later reasons do not matter.
    package mutating func close(_ code: CloseCode, reason: String) -> [Effect] {
        guard !self.isClosed else { return [] }
        self.isClosed = true
        return [.close(code, reason: reason)]
    }

    /// Whether nothing is kept for the client; for tests.
    package var holdsNothing: Bool {
        self.pushes.feeds.values.allSatisfy(\.queue.isEmpty) && !self.pushes.hasOwnMessages
            && self.control.holdsNothing
    }
}
