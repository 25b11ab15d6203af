// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernMessages

/// Tells one connection of a client from those before and after it.
package typealias LinkNumber = UInt64
/// Tells one stream for messages from all others of a client.
package typealias StreamNumber = UInt64
/// What somebody waits for.
package typealias RequestTag = UInt64

/// Everything that a client decides: when to connect, what to write, what to ask, what to deliver and what to repeat. A pure machine:
/// facts in, effects out, in their order. It knows neither a clock, nor a socket, nor a task; the randomness is a seed.
///
/// Facts that come from a connection carry its number, and those of an old one change nothing. After every call
/// ``nextDeadline`` says when ``timeout(now:)`` is due.
package struct ClientMachine: Sendable {
    package typealias Instant = ContinuousClock.Instant

    /// What is to be done.
    package enum Effect: Sendable {
        /// Open a connection. ``ClientMachine/carrierCameUp(_:now:)`` or ``ClientMachine/linkEnded(_:_:now:)`` answers.
        case connect(LinkNumber)
        /// Open the control stream and say who we are; the answer is ``ClientMachine/authenticated(_:_:over:now:)``.
        case authenticate(LinkNumber)
        /// Say how much went over it so far: ``ClientMachine/measured(_:_:now:)`` is the answer.
        case measure(LinkNumber)
        /// Close it, or give up opening it. Nothing is to be told of it any more.
        case closeLink(LinkNumber, CloseCode)
        /// ``ClientMachine/controlWritten(_:now:)`` follows when they were taken by the connection.
        case writeControl(LinkNumber, [Message])
        case openSendStream(LinkNumber, StreamNumber)
        case writeMessages(LinkNumber, StreamNumber, [OutgoingMessage])
        case finishSendStream(LinkNumber, StreamNumber)
        case writeRequest(LinkNumber, RequestFrame)
        case sendDatagram(LinkNumber, Message)
        /// ``ClientMachine/takeUpdate(now:)`` has something, after a time in which it had nothing.
        case updatesWait
        /// Pushes may be read again.
        case roomForPushes
        /// A message has its place in the outbox.
        case accepted(ClientMessageID)
        case completeSend(ClientMessageID, Result<SentMessage, ClientError>)
        case completeRequest(RequestTag, Result<RequestFrame, ClientError>)
        case completeIdentity(RequestTag, Result<AuthenticationAnswer, ClientError>)
        /// The last one.
        case end(ClientError?)
    }

    enum Life: Sendable {
        case idle
        case running
        /// Everything is to be acknowledged first, until then at most.
        case closing(until: Instant)
        case ended(ClientError?)
    }

    let configuration: ClientConfiguration
    var life = Life.idle
    /// ``start(now:)`` was called.
    var hasStarted = false
    var link: LinkState?
    var reconnecting: Reconnecting
    var lanes: SendLanes
    /// `nil` for a client that only sends.
    var channels: ChannelBook?
    var receipts = ReceiptBook()
    /// The epochs that this link's server told. What is not confirmed is neither asked for nor told of.
    var confirmed: [ChannelID: Epoch] = [:]
    /// Channels of which a receipt may have been refused: whether we are in them is asked before the next one.
    var doubted: Set<ChannelID> = []
    /// Channels whose state is on its way.
    var statesAsked: Set<ChannelID> = []
    var requests = RequestTable()
    var updates: UpdateBuffer
    /// The life of each log that whoever takes the updates has seen last.
    var seenEpochs: [ChannelID: Epoch] = [:]
    var timers = Timers()
    var random: Jitter
    private var effects: [Effect] = []
    private var lastNumber: UInt64 = 0

    package init(_ configuration: ClientConfiguration, seed: UInt64) {
        self.configuration = configuration
        self.reconnecting = Reconnecting(configuration.reconnecting)
        self.lanes = SendLanes(capacity: configuration.outboxCapacity, window: configuration.messagesInFlight)
        self.channels = configuration.receives.map { ChannelBook(start: $0) }
        self.updates = UpdateBuffer(capacity: configuration.updateCapacity)
        self.random = Jitter(seed: seed)
    }

    // MARK: What it has

    /// When to call ``timeout(now:)``; it may be too early, and never is too late.
    package var nextDeadline: Instant? { self.timers.next }

    /// Whether whoever reads pushes may go on.
    package var hasRoomForPushes: Bool { self.updates.hasRoom }

    package var isOpen: Bool {
        switch self.life {
        case .idle, .running: true
        case .closing, .ended: false
        }
    }

    package var hasEnded: Bool {
        if case .ended = self.life { return true }
        return false
    }

    /// Messages that are not acknowledged, with those that wait for a place.
    package var unacknowledgedCount: Int { self.lanes.count + self.lanes.outside.count }
    /// What somebody still waits for, or a page that is on its way.
    package var openRequestCount: Int {
        self.requests.inFlight.count + self.requests.waiting.count + self.requests.postponed.count
            + self.requests.identities.count
    }
    package var waitingUpdateCount: Int { self.updates.count }
    /// Receipts that no server was told of.
    package var hasUnsentReceipts: Bool { self.receipts.hasUnsent }

    /// Why nothing is taken any more; `nil` while something is.
    package var closedError: ClientError? {
        switch self.life {
        case .idle, .running: nil
        case .closing: ClientError(.closed, message: "the client is closing")
        case .ended(let error): error ?? ClientError(.closed, message: "the client was closed")
        }
    }

    // MARK: Effects

    mutating func emit(_ effect: Effect) {
        self.effects.append(effect)
    }

    mutating func takeEffects() -> [Effect] {
        defer { self.effects.removeAll(keepingCapacity: false) }
        return self.effects
    }

    mutating func makeNumber() -> UInt64 {
        self.lastNumber += 1
        return self.lastNumber
    }

    // MARK: Updates

    /// The next update, and what follows from its being taken: a message that was taken counts as received.
    package mutating func takeUpdate(now: Instant) -> (ClientUpdate?, [Effect]) {
        let hadRoom = self.updates.hasRoom
        guard let update = self.updates.take() else { return (nil, []) }
        switch update {
        case .message(let message):
            self.seenEpochs[message.channel] = message.epoch
            if self.configuration.sendsDeliveredReceipts {
                self.mark(message.sequence, of: message.channel, .delivered, epoch: message.epoch, now)
            }
        case .channelRestarted(let channel, let epoch):
            self.seenEpochs[channel] = epoch
        default:
            break
        }
        if !hadRoom, self.updates.hasRoom {
            self.emit(.roomForPushes)
            self.askForPages(now)
        }
        return (update, self.takeEffects())
    }

    mutating func deliver(_ change: (inout UpdateBuffer) -> Void) {
        let wasEmpty = self.updates.isEmpty
        change(&self.updates)
        if wasEmpty, !self.updates.isEmpty { self.emit(.updatesWait) }
    }

    // MARK: Time

    package mutating func timeout(now: Instant) -> [Effect] {
        for key in self.timers.due(at: now) {
            guard !self.hasEnded else { break }
            switch key {
            case .rest: self.connect(now)
            case .giveUp: self.giveUp(now)
            case .authentication: self.lose(ClientError(.timedOut, message: self.silentAuthentication), now)
            case .measurement: self.measure()
            case .health: self.checkHealth(now)
            case .moving: self.part(now)
            case .parting: self.parted(now)
            case .closing: self.finish(nil)
            case .receipts: self.sendReceipts(now)
            case .index: self.askForIndex(now)
            case .pages: self.askForPages(now)
            case .lane(let receiver): self.serve(receiver, now)
            case .log(let channel): self.readAgain(channel, now)
            case .request(let identifier): self.requestTimedOut(identifier, now)
            case .again(let tag): self.askAgain(tag, now)
            }
        }
        return self.takeEffects()
    }

    private var silentAuthentication: String {
        "the server did not answer the authentication within \(self.configuration.requestTimeout)"
    }
}
