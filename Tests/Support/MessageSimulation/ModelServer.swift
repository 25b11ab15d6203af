// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernMessages
import TernTesting

/// What a server refuses for the moment.
package struct ServerMood {
    package var messages: Failure?
    package var control: Failure?
    package var requests: Failure?
    /// Whoever is let in is thrown out.
    package var closesAtOnce = false

    package init() {}
}

/// A server as Docs/PROTOCOL.md describes it: one thing after the other, in the plainest way. It makes things hard for clients in
/// every way that the page allows, by a seed. Who is told what is the business of its sessions: those of the model
/// (``PlainServer``), or the server's own machines (``MachineServer``).
package struct ModelServer<Sessions: ServerSessions>: SimulatedServer {

    /// Something that waits for its commit.
    struct Operation {
        enum Kind {
            case message(stream: UInt64, OutgoingMessage)
            case request(RequestFrame)
            case receipt(Receipt, ChannelID)
        }

        let session: SessionNumber
        let device: ModelStore.Device
        let kind: Kind
    }

    package var store = ModelStore()
    package var mood = ServerMood()
    /// How long a commit takes.
    package var commitTime: Duration = .milliseconds(1)
    package var pageLimit = 4
    package var isDraining = false
    /// How often a push stream breaks when something was taken from it.
    package var feedFailure = 0.03
    /// Messages that it did not take at least once: what was written behind them was stored before them, if they are taken when they
    /// are repeated.
    package private(set) var refused: Set<ClientMessageID> = []
    package var sessions: Sessions
    /// Streams for messages of which nothing more is committed: the server ended them, or nobody read on when their connection died.
    private var endedStreams: [SessionNumber: Set<UInt64>] = [:]
    /// Control messages that were not looked at: one is served after the other.
    private var unheard: [SessionNumber: [Message]] = [:]
    /// Connections of which a receipt is being stored.
    private var storing: Set<SessionNumber> = []
    var operations: [(at: Moment, operation: Operation)] = []
    var random: SeededRandom
    private var drainEnd: Moment?
    /// Seconds that the clock on the wall is wrong.
    private var wallOffset: Int64 = 0

    package init(seed: UInt64) {
        self.sessions = Sessions(seed: seed)
        self.random = SeededRandom(seed: seed)
    }

    /// Connections of which something that came is held back.
    package var heldBack: [SessionNumber] {
        self.unheard.keys.sorted() + self.storing.sorted()
    }

    package var sessionNumbers: [SessionNumber] { self.sessions.numbers }

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
        return self.sessions.enter(session, ModelStore.Device(user: user, device: device), answer, now: now)
    }

    package mutating func disconnected(_ session: SessionNumber, now: Moment) {
        self.unheard[session] = nil
        self.sessions.leave(session, now: now)
    }

    package mutating func wallJumped(by seconds: Int64) {
        self.wallOffset += seconds
        self.sessions.wallJumped(by: seconds)
    }

    package mutating func drain(grace: Duration, now: Moment) -> [ServerEffect] {
        self.isDraining = true
        self.drainEnd = now + grace
        return self.sessions.drain(retryAfter: UInt32(grace / .milliseconds(1)), now: now)
    }

    package mutating func restart(loses: Int?, now: Moment) {
        self.sessions.restart()
        self.endedStreams = [:]
        self.operations = []
        self.unheard = [:]
        self.storing = []
        self.isDraining = false
        self.drainEnd = nil
        if let loses { self.store.loseTails(loses) }
    }

    // MARK: Control

    package mutating func controlArrived(
        _ session: SessionNumber, _ message: Message, now: Moment
    ) -> [ServerEffect] {
        guard self.sessions.device(of: session) != nil else { return [] }
        self.sessions.heard(session, now: now)
        self.unheard[session, default: []].append(message)
        return self.serveControl(of: session, now)
    }

    /// Looks at what came on a control stream, as long as answers have room there and nothing is being stored.
    private mutating func serveControl(of session: SessionNumber, _ now: Moment) -> [ServerEffect] {
        var effects: [ServerEffect] = []
        while let device = self.sessions.device(of: session), !self.storing.contains(session),
            !self.sessions.isControlFull(session), let message = self.unheard[session]?.first
        {
            self.unheard[session]?.removeFirst()
            if self.unheard[session]?.isEmpty == true { self.unheard[session] = nil }
            effects += self.serve(message, session, device, now)
        }
        return effects
    }

    private mutating func serve(
        _ message: Message, _ session: SessionNumber, _ device: ModelStore.Device, _ now: Moment
    ) -> [ServerEffect] {
        if message.type != .goOffline, let failure = self.mood.control {
            return self.sessions.send(failure.about(message.sequence, nil).message, to: session, now: now)
        }
        switch message.type {
        case .ping:
            return self.sessions.send(Message(type: .pong, sequence: message.sequence), to: session, now: now)
        case .goOffline:
            self.unheard[session] = nil
            return self.sessions.clientLeaves(session, now: now)
        case .receipt:
            guard let receipt = try? Receipt(message), let channel = message.channel else { return [] }
            guard self.sessions.isMember(device.user, of: channel, in: self.store) else {
                return self.refuse(receipt, session, now)
            }
            if self.sessions.receiptCame(receipt, in: channel, from: session, self.store) {
                self.storing.insert(session)
                self.queue(Operation(session: session, device: device, kind: .receipt(receipt, channel)), now)
            }
            return []
        default:
            return []
        }
    }

    private mutating func refuse(_ receipt: Receipt, _ session: SessionNumber, _ now: Moment) -> [ServerEffect] {
        let failure = Failure(.notAMember, "not a member", sequence: receipt.sequence)
        return self.sessions.send(failure.message, to: session, now: now)
    }

    private mutating func commit(
        _ receipt: Receipt, _ channel: ChannelID, _ session: SessionNumber, _ device: ModelStore.Device, _ now: Moment
    ) -> [ServerEffect] {
        self.storing.remove(session)
        let after = self.store.advance(receipt.kind, to: receipt.sequence.rawValue, in: channel, by: device)
        var effects: [ServerEffect] = []
        if let after {
            effects = self.sessions.receiptStored(
                receipt, in: channel, from: session, after: after, self.store, now: now)
        } else {
            self.sessions.receiptRefused(from: session)
            effects = self.refuse(receipt, session, now)
        }
        return effects + self.serveControl(of: session, now)
    }

    package mutating func datagramArrived(
        _ session: SessionNumber, _ message: Message, now: Moment
    ) -> [ServerEffect] {
        self.sessions.heard(session, now: now)
        guard let notice = try? LiveNotice(message), let channel = message.channel else { return [] }
        return self.sessions.notify(notice, in: channel, from: session, self.store, now: now)
    }

    // MARK: Messages

    package mutating func messageArrived(
        _ session: SessionNumber, stream: UInt64, _ message: OutgoingMessage, now: Moment
    ) -> [ServerEffect] {
        guard let device = self.sessions.device(of: session) else { return [] }
        self.sessions.heard(session, now: now)
        if let draft = SimulatedDraft(message, by: device) { self.sessions.beginSending(draft, by: session) }
        self.queue(Operation(session: session, device: device, kind: .message(stream: stream, message)), now)
        return []
    }

    mutating func queue(_ operation: Operation, _ now: Moment) {
        self.operations.append((max(now + self.commitTime, self.operations.last?.at ?? now), operation))
    }

    package var nextDeadline: Moment? {
        // The next commit waits until those who are connected have been told of the last one.
        let commit = self.sessions.isTelling ? nil : self.operations.first?.at
        return [commit, self.drainEnd, self.sessions.nextDeadline].compactMap { $0 }.min()
    }

    package mutating func timeout(now: Moment) -> [ServerEffect] {
        var effects = self.sessions.timeout(self.store, now: now)
        for session in self.unheard.keys.sorted() { effects += self.serveControl(of: session, now) }
        // What is there is committed together, and told in its order.
        if !self.sessions.isTelling {
            while let first = self.operations.first, first.at <= now {
                self.operations.removeFirst()
                effects += self.commit(first.operation, now)
            }
        }
        if let end = self.drainEnd, end <= now {
            self.drainEnd = nil
            for session in self.sessionNumbers {
                effects.append(.close(session, .draining))
                self.sessions.leave(session, now: now)
            }
        }
        return effects
    }

    private mutating func commit(_ operation: Operation, _ now: Moment) -> [ServerEffect] {
        let steady = UInt64(now / .milliseconds(1))
        self.store.timePassed(
            steady: steady, wall: UInt64(clamping: (1 << 40) + Int64(steady) + self.wallOffset * 1_000))
        let (session, device) = (operation.session, operation.device)
        // If its connection died meanwhile, it happens or not; and if not, then nothing behind it on its stream, which is read in order.
        if self.sessions.device(of: session) == nil, self.random.chance(0.5) {
            if case .message(let stream, _) = operation.kind { self.endedStreams[session, default: []].insert(stream) }
            self.storing.remove(session)
            return []
        }
        return switch operation.kind {
        case .message(let stream, let message): self.commit(message, session, device, stream, now)
        case .receipt(let receipt, let channel): self.commit(receipt, channel, session, device, now)
        case .request(let frame): self.commit(frame, session, device, now)
        }
    }

    private mutating func commit(
        _ message: OutgoingMessage, _ number: SessionNumber, _ device: ModelStore.Device, _ stream: UInt64,
        _ now: Moment
    ) -> [ServerEffect] {
        let draft = SimulatedDraft(message, by: device)
        if self.endedStreams[number]?.contains(stream) == true {
            return self.sessions.answer([], to: number, draft, now: now)
        }
        if let failure = self.refusal(of: message) {
            self.refused.insert(message.id)
            let answer = ServerEffect.answer(
                number, stream: stream, failure.about(message.sequence, message.id).message)
            return self.sessions.answer([answer], to: number, draft, now: now)
        }
        if self.random.chance(0.004) {
            self.endedStreams[number, default: []].insert(stream)
            return self.sessions.answer([.streamEnded(number, stream: stream)], to: number, draft, now: now)
        }
        guard let (sequence, isDuplicate) = self.store.append(message, by: device),
            let channel = ChannelID(sender: PartyID(device.user), receiver: message.receiver),
            let epoch = self.store.logs[channel]?.epoch
        else {
            self.refused.insert(message.id)
            let failure = Failure(.notAMember, "not a member", sequence: message.sequence, id: message.id)
            let answer = ServerEffect.answer(number, stream: stream, failure.message)
            return self.sessions.answer([answer], to: number, draft, now: now)
        }
        let answer = Acknowledgement(
            sender: device.user, receiver: message.receiver, sequence: MessageSequence(sequence),
            timestamp: .none, id: message.id, epoch: epoch, durability: .full, isDuplicate: isDuplicate)
        var effects: [ServerEffect] = []
        if !isDuplicate {
            effects += self.sessions.stored(sequence, of: channel, by: number, self.store, now: now)
        }
        return effects
            + self.sessions.answer([.answer(number, stream: stream, answer.message)], to: number, draft, now: now)
    }

    private mutating func refusal(of message: OutgoingMessage) -> Failure? {
        if let failure = self.mood.messages { return failure }
        return self.isDraining && self.random.chance(0.3) ? Failure(.draining, "soon") : nil
    }

    package mutating func pushTaken(_ session: SessionNumber, now: Moment) -> [ServerEffect] {
        // A push stream may break at any time.
        let breaks = self.random.chance(self.feedFailure)
        return self.sessions.pushTaken(session, breaks: breaks, self.store, now: now)
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
