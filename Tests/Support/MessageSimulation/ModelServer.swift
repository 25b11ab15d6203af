// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernMessages
import TernTesting

/// A server as Docs/PROTOCOL.md describes it: one thing after the other, in the plainest way. It makes things hard for clients in
/// every way that the page allows, by a seed.
package struct ModelServer: SimulatedServer {
    /// What the server refuses for the moment.
    package struct Mood {
        package var messages: Failure?
        package var control: Failure?
        package var requests: Failure?
        /// Whoever is let in is thrown out.
        package var closesAtOnce = false

        package init() {}
    }

    struct Session {
        let device: ModelStore.Device
        var isLeaving = false
        /// Channels that are not pushed.
        var pulling: Set<ChannelID> = []
        var feeds: [ChannelID: UInt64] = [:]
        var lastPushed: [ChannelID: UInt64] = [:]
        /// Streams for messages that the server ended.
        var endedStreams: Set<UInt64> = []
        /// Pushed and not taken.
        var unread = 0
    }

    /// Something that waits for its commit.
    enum Operation {
        case message(SessionNumber, stream: UInt64, OutgoingMessage)
        case request(SessionNumber, RequestFrame)
    }

    package var store = ModelStore()
    package var mood = Mood()
    /// How long a commit takes.
    package var commitTime: Duration = .milliseconds(1)
    package var pageLimit = 4
    package var pushLimit = 4
    package var isDraining = false
    /// How often a push stream breaks when something was taken from it.
    package var feedFailure = 0.03
    /// Messages that it could not take for the moment.
    package private(set) var refused: Set<ClientMessageID> = []
    var sessions: [SessionNumber: Session] = [:]
    var operations: [(at: Moment, operation: Operation)] = []
    var random: SeededRandom
    private var drainEnd: Moment?
    private var lastStream: UInt64 = 0

    package init(seed: UInt64) {
        self.random = SeededRandom(seed: seed)
    }

    package var sessionNumbers: [SessionNumber] { self.sessions.keys.sorted() }

    // MARK: Sessions

    package mutating func connected(
        _ session: SessionNumber, user: UserID, device: DeviceID, now: Moment
    ) -> [ServerEffect] {
        guard !self.isDraining else {
            return [.refused(session, Failure(.draining, "the server is about to stop", retryAfter: 300))]
        }
        guard let name = try? Name("n") else { return [] }
        let answer = AuthenticationAnswer(
            user: user, device: device, maximumPayloadLength: 65_536, maximumRequestLength: 65_536,
            maximumPageCount: 500, idempotencyWindow: 604_800, durability: .full, serverName: name,
            userName: name, deviceName: name, serverTime: .none)
        if self.mood.closesAtOnce { return [.authenticated(session, answer), .close(session, .internalError)] }
        self.sessions[session] = Session(device: ModelStore.Device(user: user, device: device))
        return [.authenticated(session, answer)]
    }

    package mutating func disconnected(_ session: SessionNumber, now: Moment) {
        self.sessions[session] = nil
    }

    package mutating func drain(grace: Duration, now: Moment) -> [ServerEffect] {
        self.isDraining = true
        self.drainEnd = now + grace
        let notice = GoOffline(retryAfter: UInt32(grace / .milliseconds(1))).message
        return self.sessionNumbers.map { .control($0, notice) }
    }

    package mutating func restart(loses: Int?, now: Moment) {
        self.sessions = [:]
        self.operations = []
        self.isDraining = false
        self.drainEnd = nil
        if let loses { self.store.loseTails(loses) }
    }

    // MARK: Control

    package mutating func controlArrived(
        _ session: SessionNumber, _ message: Message, now: Moment
    ) -> [ServerEffect] {
        guard let device = self.sessions[session]?.device else { return [] }
        if message.type != .goOffline, let failure = self.mood.control {
            return [.control(session, failure.about(message.sequence, nil).message)]
        }
        switch message.type {
        case .ping:
            return [.control(session, Message(type: .pong, sequence: message.sequence))]
        case .goOffline:
            self.sessions[session]?.isLeaving = true
            return [.controlEnded(session)]
        case .receipt:
            guard let receipt = try? Receipt(message), let channel = message.channel else { return [] }
            guard self.store.isMember(device.user, of: channel) else {
                let failure = Failure(.notAMember, "not a member", sequence: message.sequence)
                return [.control(session, failure.message)]
            }
            return self.advance(receipt, channel, device, except: session)
        default:
            return []
        }
    }

    private mutating func advance(
        _ receipt: Receipt, _ channel: ChannelID, _ device: ModelStore.Device, except session: SessionNumber
    ) -> [ServerEffect] {
        guard let after = self.store.advance(receipt.kind, to: receipt.sequence.rawValue, in: channel, by: device)
        else { return [] }
        var forwarded = receipt
        forwarded.senderDevice = device.device
        forwarded.sequence = MessageSequence(receipt.kind == .read ? after.read : after.delivered)
        return self.sessions(of: channel).filter { $0 != session }.map { .control($0, forwarded.message) }
    }

    func sessions(of channel: ChannelID) -> [SessionNumber] {
        let members = self.store.members(of: channel)
        return self.sessionNumbers.filter { number in
            guard let session = self.sessions[number] else { return false }
            return members.contains(session.device.user) && !session.isLeaving
        }
    }

    // MARK: Messages

    package mutating func messageArrived(
        _ session: SessionNumber, stream: UInt64, _ message: OutgoingMessage, now: Moment
    ) -> [ServerEffect] {
        self.queue(.message(session, stream: stream, message), now)
        return []
    }

    mutating func queue(_ operation: Operation, _ now: Moment) {
        self.operations.append((max(now + self.commitTime, self.operations.last?.at ?? now), operation))
    }

    package var nextDeadline: Moment? {
        [self.operations.first?.at, self.drainEnd].compactMap { $0 }.min()
    }

    package mutating func timeout(now: Moment) -> [ServerEffect] {
        var effects: [ServerEffect] = []
        while let first = self.operations.first, first.at <= now {
            self.operations.removeFirst()
            switch first.operation {
            case .message(let session, let stream, let message): effects += self.commit(message, session, stream)
            case .request(let session, let frame): effects += self.commit(frame, session)
            }
        }
        if let end = self.drainEnd, end <= now {
            self.drainEnd = nil
            for session in self.sessionNumbers { effects.append(.close(session, .draining)) }
            self.sessions = [:]
        }
        return effects
    }

    private mutating func commit(
        _ message: OutgoingMessage, _ number: SessionNumber, _ stream: UInt64
    ) -> [ServerEffect] {
        guard let session = self.sessions[number] else {
            // Its connection died meanwhile; the commit happens or not, as the server likes.
            return []
        }
        if self.sessions[number]?.endedStreams.contains(stream) != false { return [] }
        if let failure = self.mood.messages {
            self.refused.insert(message.id)
            return [.answer(number, stream: stream, failure.about(message.sequence, message.id).message)]
        }
        if self.isDraining, self.random.chance(0.3) {
            self.refused.insert(message.id)
            let failure = Failure(.draining, "soon", sequence: message.sequence, id: message.id)
            return [.answer(number, stream: stream, failure.message)]
        }
        if self.random.chance(0.004) {
            self.sessions[number]?.endedStreams.insert(stream)
            return [.streamEnded(number, stream: stream)]
        }
        guard let (sequence, isDuplicate) = self.store.append(message, by: session.device),
            let channel = ChannelID(sender: PartyID(session.device.user), receiver: message.receiver),
            let epoch = self.store.logs[channel]?.epoch
        else {
            let failure = Failure(.notAMember, "not a member", sequence: message.sequence, id: message.id)
            return [.answer(number, stream: stream, failure.message)]
        }
        let answer = Acknowledgement(
            sender: session.device.user, receiver: message.receiver, sequence: MessageSequence(sequence),
            timestamp: .none, id: message.id, epoch: epoch, durability: .full, isDuplicate: isDuplicate)
        var effects: [ServerEffect] = [.answer(number, stream: stream, answer.message)]
        if !isDuplicate {
            for other in self.sessions(of: channel) where other != number {
                effects += self.offer(sequence, of: channel, to: other)
            }
        }
        return effects
    }

    // MARK: Pushes

    private mutating func offer(
        _ sequence: UInt64, of channel: ChannelID, to number: SessionNumber
    ) -> [ServerEffect] {
        guard var session = self.sessions[number], !session.pulling.contains(channel),
            let message = self.store.pushed(sequence, in: channel, previous: session.lastPushed[channel])
        else { return [] }
        guard session.unread < self.pushLimit, !self.random.chance(0.02) else {
            session.pulling.insert(channel)
            session.feeds[channel] = nil
            self.sessions[number] = session
            return self.notice(of: channel, to: number, mustPull: true)
        }
        // Another stream now and then: what is on it may overtake the one before.
        if session.feeds[channel] == nil || self.random.chance(0.15) {
            self.lastStream += 1
            session.feeds[channel] = self.lastStream
        }
        session.unread += 1
        session.lastPushed[channel] = sequence
        self.sessions[number] = session
        return [.push(number, stream: session.feeds[channel] ?? 0, message)]
    }

    func notice(of channel: ChannelID, to number: SessionNumber, mustPull: Bool) -> [ServerEffect] {
        guard let session = self.sessions[number], let log = self.store.logs[channel],
            let notice = InboxNotice(
                to: session.device.user, channel: channel, head: MessageSequence(log.head), epoch: log.epoch,
                mustPull: mustPull)
        else { return [] }
        return [.control(number, notice.message)]
    }

    package mutating func pushTaken(_ session: SessionNumber, now: Moment) -> [ServerEffect] {
        self.sessions[session]?.unread -= 1
        // A push stream may break at any time: without a new message, the channel is not pushed any more.
        guard let feeds = self.sessions[session]?.feeds, self.random.chance(self.feedFailure),
            let channel = feeds.keys.sorted().first
        else { return [] }
        self.sessions[session]?.feeds[channel] = nil
        self.sessions[session]?.pulling.insert(channel)
        return self.notice(of: channel, to: session, mustPull: true)
    }
}

extension Failure {
    /// The same, for one message.
    func about(_ sequence: MessageSequence, _ id: ClientMessageID?) -> Failure {
        var failure = self
        failure.sequence = sequence
        failure.id = id
        return failure
    }
}
