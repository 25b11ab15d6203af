// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import Synchronization
internal import TernMessages
internal import TernStore
internal import TernTransport

/// One authenticated connection of a device: what is on its way to it, as ``SessionState`` says; this class holds the state behind its
/// mutex and does what it returns.
///
/// A device may have several connections; each is a session of its own and is pushed everything but what it sent
/// itself.
final class Session: Sendable {
    /// Why the server ends the connection.
    struct Ending: Sendable, Hashable {
        var code: CloseCode
        var reason: String
    }

    private struct Buckets: Sendable {
        var messages: TokenBucket
        var datagrams: TokenBucket
        var fanOut: TokenBucket
    }

    private struct Silence: Sendable {
        var since: ContinuousClock.Instant
        /// Streams that are not read now.
        var deafness = 0
    }

    fileprivate struct Shell: Sendable {
        var state: SessionState
        /// By number of the feed.
        var feeds: [Int: CheckedContinuation<Void, Never>] = [:]
        var control: CheckedContinuation<Void, Never>?
        /// Who has something for the control stream and waits for room.
        var room: [Int: CheckedContinuation<Void, Never>] = [:]
        var nextTicket = 0
    }

    let user: UserID
    let device: DeviceID
    let connection: Connection
    /// Typing and presence on their way out; the oldest is dropped when they are not taken in time.
    let datagrams = Inlet<ByteBuffer>(capacity: 128)
    /// Channels for which a push stream is to be opened.
    let feedStarts = Inlet<FeedStart>()
    /// One element, when the server wants the connection to end.
    let endings = Inlet<Ending>()
    /// Requests that may be worked on at once, on all streams together.
    let requestSlots: Slots
    /// Bytes of messages that are to be stored or answered, on all streams together.
    let sendRoom: Slots
    /// Bytes of responses that are being made or wait to be read, on all streams together.
    let responseRoom: Slots
    /// Receipts of this connection on their way to the others of their channels.
    let forwarding = ReceiptForwarding()
    private let shell: Mutex<Shell>
    private let buckets: Mutex<Buckets>
    private let hearing: Mutex<Silence>

    init(
        user: UserID, device: DeviceID, connection: Connection, configuration: ServerConfiguration,
        token: TokenEnd? = nil
    ) {
        self.user = user
        self.device = device
        self.connection = connection
        self.requestSlots = Slots(count: configuration.maximumRequestsInFlight)
        self.sendRoom = Slots(count: configuration.maximumPendingBytes)
        self.responseRoom = Slots(count: configuration.maximumResponseBytes)
        let limits = SessionState.Limits(
            queuedPushBytes: configuration.maximumQueuedPushBytes, pushStreams: configuration.maximumPushStreams)
        self.shell = Mutex(Shell(state: SessionState(user: user, device: device, limits: limits, token: token)))
        let now = ContinuousClock.now
        self.hearing = Mutex(Silence(since: now))
        self.buckets = Mutex(
            Buckets(
                messages: TokenBucket(configuration.messageRate, now: now),
                datagrams: TokenBucket(configuration.datagramRate, now: now),
                fanOut: TokenBucket(configuration.fanOutRate, now: now)))
    }

    var deviceKey: DeviceKey { DeviceKey(user: self.user.rawValue, device: self.device.rawValue) }
    /// What is to be written on the control stream.
    var control: ControlOutbox { ControlOutbox(session: self) }

    // MARK: Limits

    /// `nil` when one more message or request is allowed, which counts as `cost`, else the refusal.
    func refuseAboveRate(
        cost: Int = 1, sequence: MessageSequence = .zero, id: ClientMessageID? = nil
    ) -> Failure? {
        guard let wait = self.buckets.withLock({ $0.messages.take(Double(cost), now: .now) }) else { return nil }
        return Failure(
            .rateLimited, "too many messages or requests", sequence: sequence, id: id,
            retryAfter: wait.wholeMilliseconds)
    }

    func allowsDatagram() -> Bool {
        self.buckets.withLock { $0.datagrams.take(now: .now) } == nil
    }

    /// `nil` when this connection may cause so many copies more, else how long it takes until it may.
    func waitForCopies(_ count: Int) -> Duration? {
        count == 0 ? nil : self.buckets.withLock { $0.fanOut.take(Double(count), now: .now) }
    }

    /// Something came from the client.
    func heard() {
        let now = ContinuousClock.now
        self.hearing.withLock { $0.since = max($0.since, now) }
    }

    /// For how long nothing came from the client, which could have come: what is not read is not heard.
    func silence(at now: ContinuousClock.Instant) -> Duration {
        self.hearing.withLock { $0.deafness > 0 ? .zero : $0.since.duration(to: now) }
    }

    /// A stream of the client is not read while `work` lasts. That is not the client's silence.
    @discardableResult
    func withoutReading<Value>(_ work: () async -> Value) async -> Value {
        self.hearing.withLock { $0.deafness += 1 }
        let value = await work()
        let now = ContinuousClock.now
        self.hearing.withLock { silence in
            silence.deafness -= 1
            silence.since = max(silence.since, now)
        }
        return value
    }

    // MARK: Pushing

    /// These messages are being stored for this session: it gets acknowledgements for them, not copies.
    func beginSending(_ drafts: [Draft]) {
        self.shell.withLock { $0.state.beginSending(drafts) }
    }

    func endSending(_ drafts: [Draft]) {
        self.shell.withLock { $0.state.endSending(drafts) }
    }

    /// A message was stored in a channel of the user. Returns at once; called in the order of each log.
    func offer(_ message: CommittedMessage) {
        self.apply { $0.offer(message) }
    }

    /// The user joined or left the channel. Called in the order of the commits, also with respect to ``offer(_:)``.
    func membershipChanged(_ channel: ChannelKey, isMember: Bool) {
        self.apply { $0.membershipChanged(channel, isMember: isMember) }
        self.forwarding.forget(channel)
    }

    /// The next messages for a push stream, encoded; `nil` when the stream is to be finished.
    func nextPush(for feed: FeedStart) async -> ByteBuffer? {
        while true {
            switch self.shell.withLock({ $0.state.takeBatch(for: feed) }) {
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
                let mustWait = self.shell.withLock { shell in
                    guard !Task.isCancelled, shell.state.isWaiting(feed) else { return false }
                    shell.feeds[feed.number] = continuation
                    return true
                }
                if !mustWait { continuation.resume() }
            }
        } onCancel: {
            self.apply { $0.feedEnded(feed) }
        }
    }

    /// The push stream broke or was refused by the client: the channel waits until the client pulls.
    func feedFailed(_ feed: FeedStart) {
        self.apply { $0.feedFailed(feed) }
    }

    /// The client read a channel's history up to `sequence`, where it ended.
    ///
    /// - Returns: `nil` when the channel is pushed from there on, or the head that it grew to in the meantime.
    func caughtUp(_ channel: ChannelKey, to sequence: UInt64) -> UInt64? {
        self.shell.withLock { $0.state.caughtUp(channel, to: sequence) }
    }

    // MARK: The control stream

    /// Everything that is to be written now; `nil` at the end. One task calls it.
    func nextControl() async -> [Message]? {
        while true {
            let (batch, waiters) = self.shell.withLock { shell in
                defer { shell.room = [:] }
                return (shell.state.takeControl(), Array(shell.room.values))
            }
            for waiter in waiters { waiter.resume() }
            switch batch {
            case .messages(let messages): return messages
            case .ended: return nil
            case .wait: await self.untilControl()
            }
        }
    }

    private func untilControl() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let mustWait = self.shell.withLock { shell in
                    guard !Task.isCancelled, shell.state.isControlIdle else { return false }
                    shell.control = continuation
                    return true
                }
                if !mustWait { continuation.resume() }
            }
        } onCancel: {
            // Who is cancelled wants to end: nothing more will be taken.
            self.apply { $0.finishControl() }
        }
    }

    /// Waits while so much is to be written that the client has to read first.
    func untilControlHasRoom() async {
        let ticket = self.shell.withLock { shell in
            shell.nextTicket += 1
            return shell.nextTicket
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let mustWait = self.shell.withLock { shell in
                    guard !Task.isCancelled, shell.state.isControlFull else { return false }
                    shell.room[ticket] = continuation
                    return true
                }
                if !mustWait { continuation.resume() }
            }
        } onCancel: {
            self.shell.withLock { $0.room.removeValue(forKey: ticket) }?.resume()
        }
    }

    // MARK: The end

    /// The server is about to stop.
    func drain(retryAfter milliseconds: UInt32) {
        self.apply { $0.drain(retryAfter: milliseconds) }
    }

    /// Nothing more is pushed, and nothing more forwarded; the streams are finished after what is queued was dropped.
    func stopPushing() {
        self.apply { $0.stopPushing() }
        self.feedStarts.end()
        self.forwarding.finish()
    }

    /// The connection is to end.
    func end(_ code: CloseCode, reason: String) {
        self.apply { $0.close(code, reason: reason) }
    }

    /// Ends the connection with the token that it began with. Returns when there is none, or it was cancelled.
    func endWithToken(clock: @Sendable () -> ServerTime) async {
        while let next = self.shell.withLock({ $0.state.nextDeadline(after: clock()) }) {
            guard (try? await Task.sleep(until: next, clock: .continuous)) != nil else { return }
            self.apply { $0.timeout(now: clock()) }
        }
    }

    // MARK: Effects

    func apply(_ change: (inout SessionState) -> [SessionState.Effect]) {
        let (effects, waiters) = self.shell.withLock { shell in
            let effects = change(&shell.state)
            var waiters = effects.compactMap { shell.take($0) }
            if !effects.isEmpty, !shell.state.isControlFull {
                waiters += shell.room.values
                shell.room = [:]
            }
            return (effects, waiters)
        }
        for waiter in waiters { waiter.resume() }
        for effect in effects {
            switch effect {
            case .open(let start): self.feedStarts.push(start)
            case .close(let code, let reason): self.endings.push(Ending(code: code, reason: reason))
            case .wake, .wakeControl: break
            }
        }
    }
}

extension Session.Shell {
    /// Who waits for this.
    fileprivate mutating func take(_ effect: SessionState.Effect) -> CheckedContinuation<Void, Never>? {
        switch effect {
        case .wake(let start): self.feeds.removeValue(forKey: start.number)
        case .wakeControl: self.control.take()
        case .open, .close: nil
        }
    }
}

extension Duration {
    /// Rounded up.
    var wholeMilliseconds: UInt32 { UInt32(clamping: Int64((self / .milliseconds(1)).rounded(.up))) }
}
