// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernMessages
import TernTransport

@testable import TernClient

/// A client's machine on the bench: no server, no time but what the test lets pass.
struct Bench {
    var machine: ClientMachine
    var now = ContinuousClock.now
    /// What was wanted since it was looked at.
    var effects: [ClientMachine.Effect] = []
    /// Of the connection that is opened last.
    var link: LinkNumber = 0

    static let alice = UserID(rawValue: 1)!
    static let bob = UserID(rawValue: 2)!
    static let direct = ChannelID(direct: alice, bob)
    static let group = ChannelID(group: GroupID(rawValue: 1 << 36)!)
    static let epoch = Epoch(rawValue: 5)

    init(receives: ReceiveStart? = .live, _ edit: (inout ClientConfiguration) -> Void = { _ in }) {
        var configuration = ClientConfiguration(token: "dev:alice", receives: receives)
        configuration.reconnecting.retriesFirstConnection = true
        configuration.reconnecting.jitter = 0
        edit(&configuration)
        self.machine = ClientMachine(configuration, seed: 1)
        self.tell { $0.start(now: $1) }
    }

    mutating func tell(_ fact: (inout ClientMachine, ContinuousClock.Instant) -> [ClientMachine.Effect]) {
        for effect in fact(&self.machine, self.now) {
            if case .connect(let link) = effect { self.link = link }
            self.effects.append(effect)
        }
    }

    /// Lets time pass, with everything that is due.
    mutating func wait(_ duration: Duration) {
        let end = self.now + duration
        while let next = self.machine.nextDeadline, next <= end {
            self.now = max(self.now, next)
            self.tell { $0.timeout(now: $1) }
        }
        self.now = end
    }

    /// The effects so far, which are forgotten.
    mutating func take() -> [ClientMachine.Effect] {
        defer { self.effects = [] }
        return self.effects
    }

    // MARK: The server

    static func answer() throws -> AuthenticationAnswer {
        AuthenticationAnswer(
            user: alice, device: DeviceID(rawValue: 1)!, maximumPayloadLength: 65_536, maximumRequestLength: 65_536,
            maximumPageCount: 500, idempotencyWindow: 604_800, durability: .full, serverName: try Name("tern"),
            userName: try Name("alice"), deviceName: try Name("default"), serverTime: .none)
    }

    /// The connection comes up, and the server takes the token.
    mutating func open() throws {
        let (link, answer) = (self.link, try Self.answer())
        self.tell { $0.carrierCameUp(link, now: $1) }
        self.tell { $0.authenticated(link, answer, over: .quic, now: $1) }
    }

    /// The same, and the index is answered.
    mutating func open(index states: [ChannelState]) throws {
        try self.open()
        try self.answerIndex(states)
    }

    mutating func answerIndex(_ states: [ChannelState]) throws {
        guard let frame = self.lastRequest(.syncIndex) else { throw Missing() }
        self.respond(to: frame, SyncIndex.Answer(next: 0, channels: states))
    }

    struct Missing: Error {}

    mutating func lose(_ message: String = "gone") {
        let link = self.link
        self.tell { $0.linkEnded(link, TransportError(.idleTimeout, message: message), now: $1) }
    }

    mutating func control(_ message: Message) {
        let link = self.link
        self.tell { $0.controlArrived(link, message, now: $1) }
    }

    mutating func respond(to frame: RequestFrame, _ body: some WireBody) {
        let (link, bytes) = (self.link, body.encodedBody())
        self.tell {
            $0.responded(
                link, RequestFrame(identifier: frame.identifier, resource: frame.resource, body: bytes), now: $1)
        }
    }

    mutating func refuse(_ frame: RequestFrame, _ failure: Failure) {
        let (link, bytes) = (self.link, RequestFailure(failure).encodedBody())
        self.tell {
            $0.responded(
                link,
                RequestFrame(
                    identifier: frame.identifier, resource: frame.resource, status: failure.code, body: bytes), now: $1)
        }
    }

    mutating func push(_ sequence: UInt64, of channel: ChannelID = direct, epoch: Epoch = epoch) {
        let (link, message) = (self.link, Self.message(sequence, of: channel, epoch: epoch))
        self.tell { $0.pushed(link, message, now: $1) }
    }

    mutating func acknowledge(_ message: OutgoingMessage, on stream: StreamNumber, as sequence: UInt64) {
        let link = self.link
        let answer = Acknowledgement(
            sender: message.sender, receiver: message.receiver, sequence: MessageSequence(rawValue: sequence)!,
            timestamp: .none, id: message.id, epoch: Self.epoch, durability: .full, isDuplicate: false)
        self.tell { $0.answered(link, stream, answer.message, now: $1) }
    }

    /// Whoever waits for a place gives up.
    mutating func cancelEnqueue(_ id: ClientMessageID) -> Bool { self.machine.cancelEnqueue(id) }

    // MARK: Values

    static func message(_ sequence: UInt64, of channel: ChannelID, epoch: Epoch = epoch) -> ChannelMessage {
        ChannelMessage(
            type: .text, sender: bob, senderDevice: nil, receiver: channel.group.map { PartyID($0) } ?? PartyID(alice),
            channel: channel, epoch: epoch, sequence: MessageSequence(rawValue: sequence)!, timestamp: .none,
            id: ClientMessageID(high: 9, low: sequence), payload: ByteBuffer())
    }

    static func state(
        _ head: UInt64, of channel: ChannelID = direct, epoch: Epoch = epoch, since: UInt64? = nil
    ) throws -> ChannelState {
        ChannelState(
            channel: channel, epoch: epoch, head: MessageSequence(rawValue: head)!,
            first: MessageSequence(rawValue: 1)!, delivered: .zero, read: .zero, unread: 0, timestamp: .none,
            name: try Name("x"), since: since.flatMap { MessageSequence(rawValue: $0) })
    }

    static func page(
        _ sequences: [UInt64], of channel: ChannelID = direct, head: UInt64, more: Bool = false, epoch: Epoch = epoch
    ) -> History.Answer {
        History.Answer(
            hasMore: more, epoch: epoch, head: MessageSequence(rawValue: head)!, first: MessageSequence(rawValue: 1)!,
            messages: sequences.map { self.message($0, of: channel, epoch: epoch) })
    }

    // MARK: What was wanted

    func lastRequest(_ resource: Resource) -> RequestFrame? { self.requests(resource).last }

    func requests(_ resource: Resource) -> [RequestFrame] {
        self.effects.compactMap { effect in
            if case .writeRequest(_, let frame) = effect, frame.resource == resource { return frame }
            return nil
        }
    }

    var connects: Int { self.effects.count { if case .connect = $0 { true } else { false } } }
    var closed: [(LinkNumber, CloseCode)] {
        self.effects.compactMap { if case .closeLink(let link, let code) = $0 { (link, code) } else { nil } }
    }

    var control: [Message] {
        self.effects.flatMap { effect -> [Message] in
            if case .writeControl(_, let messages) = effect { messages } else { [] }
        }
    }

    var receipts: [Receipt] { self.control.compactMap { try? Receipt($0) } }

    var written: [(stream: StreamNumber, message: OutgoingMessage)] {
        self.effects.flatMap { effect -> [(StreamNumber, OutgoingMessage)] in
            if case .writeMessages(_, let stream, let messages) = effect { return messages.map { (stream, $0) } }
            return []
        }
    }

    var hasEnded: Bool { self.effects.contains { if case .end = $0 { true } else { false } } }

    /// Takes all updates, as an application does.
    mutating func takeUpdates() -> [ClientUpdate] {
        var updates: [ClientUpdate] = []
        while true {
            var taken: ClientUpdate?
            self.tell { machine, now in
                let (update, effects) = machine.takeUpdate(now: now)
                taken = update
                return effects
            }
            guard let taken else { return updates }
            updates.append(taken)
        }
    }

    /// Takes all updates.
    ///
    /// - Returns: the sequences of the messages of a channel.
    mutating func takeSequences(of channel: ChannelID = direct) -> [UInt64] {
        self.takeUpdates().compactMap {
            if case .message(let message) = $0, message.channel == channel { message.sequence.rawValue } else { nil }
        }
    }

    mutating func enqueue(_ count: Int, to receiver: PartyID = PartyID(bob)) -> [ClientMessageID] {
        (0..<count).map { _ in
            let id = ClientMessageID.random()
            self.tell { $0.enqueue(ByteBuffer(), to: receiver, type: .text, id: id, now: $1) }
            return id
        }
    }
}
