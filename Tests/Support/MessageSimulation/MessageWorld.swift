// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import MessageJudgementSupport
import NIOCore
package import TernClient
package import TernMessages
import TernTesting
import TernTransport

/// Devices, a server, and the network between them: each stream keeps its order, streams overtake each other, connections are cut at any
/// moment, and both ends hear of it late. One thread, virtual time, everything from a seed.
package final class MessageWorld<Server: SimulatedServer> {
    /// One connection.
    struct Wire {
        let device: Int
        let link: LinkNumber
        let session: SessionNumber
        /// From then on nothing arrives.
        var cutAt: Moment?
        var isUp = false
        var wasRefused = false
        var isClosedByClient = false
        var isClosedByServer = false
        /// When the last thing on a stream arrives.
        var lastArrival: [Lane: Moment] = [:]
        /// Pushes that the client does not read for the moment, by their streams.
        var unread: [UInt64: [ChannelMessage]] = [:]
    }

    enum Lane: Hashable {
        case controlUp, controlDown, requestsUp, requestsDown
        case datagramsUp, datagramsDown
        case sendUp(UInt64)
        case sendDown(UInt64)
        case push(UInt64)
    }

    enum Upward {
        case open
        case control([Message])
        case message(stream: UInt64, OutgoingMessage)
        case request(RequestFrame)
        case datagram(Message)
        case closed
    }

    enum Downward {
        case up
        case effect(ServerEffect)
        case written
        case closed(any Error)
    }

    enum Event {
        case timer(device: Int)
        case serverTimer
        case up(SessionNumber, Upward)
        case down(SessionNumber, Downward)
        case connectFailed(device: Int, LinkNumber)
        case late(device: Int, LinkNumber, ServerEffect)
        case act(Int)
        case read(device: Int)
        case measured(device: Int, LinkNumber, SessionNumber)
    }

    package private(set) var server: Server
    package private(set) var devices: [SimulatedDevice] = []
    package private(set) var now = Moment.zero
    var random: SeededRandom
    /// How long things take on their way, at most.
    package var delay: Duration = .milliseconds(5)
    /// Whether a connection can be had.
    package var isReachable = true
    var wires: [SessionNumber: Wire] = [:]
    /// Of each device, its present connection.
    var sessions: [Int: [LinkNumber: SessionNumber]] = [:]
    private var events = EventQueue<Event>()
    private var timers: [Int: Moment] = [:]
    private var serverTimer: Moment?
    private var lastSession: SessionNumber = 0
    private var lastIDs: [UserID: UInt64] = [:]
    package var actions: [(MessageWorld<Server>) -> Void] = []
    package private(set) var eventCount = 0
    /// A device is about to be let in.
    package var onLogin: ((SimulatedDevice, Server) -> Void)?
    /// What happens, for a seed that failed.
    package var trace: ((String) -> Void)?
    private let base = ContinuousClock.now

    package init(server: Server, seed: UInt64) {
        self.server = server
        self.random = SeededRandom(seed: seed)
    }

    // MARK: Running

    package func add(_ device: SimulatedDevice) { self.devices.append(device) }

    package func schedule(at moment: Moment, _ action: @escaping (MessageWorld<Server>) -> Void) {
        self.actions.append(action)
        self.events.add(.act(self.actions.count - 1), at: moment)
    }

    package func run(until end: Moment, maximumEvents: Int = 200_000) {
        while let next = self.events.nextTime, next <= end, self.eventCount < maximumEvents,
            let (at, event) = self.events.pop()
        {
            self.now = max(self.now, at)
            self.eventCount += 1
            self.handle(event)
        }
        self.now = end
    }

    private func handle(_ event: Event) {
        switch event {
        case .timer(let index):
            guard let due = self.timers[index], due <= self.now else { return }
            self.timers[index] = nil
            self.tell(index) { $0.timeout(now: $1) }
        case .serverTimer:
            guard let due = self.serverTimer, due <= self.now else { return }
            self.serverTimer = nil
            self.serve { $0.timeout(now: $1) }
        case .up(let session, let what): self.arrived(what, at: session)
        case .down(let session, let what): self.arrived(what, from: session)
        case .connectFailed(let index, let link):
            let error = TransportError(.unreachable, message: "nobody is there")
            self.tell(index) { $0.linkEnded(link, error, now: $1) }
        case .late(let index, let link, let effect): self.arrivedLate(effect, index, link)
        case .act(let index): self.actions[index](self)
        case .read(let index): self.takeUpdates(index)
        case .measured(let index, let link, let session): self.measured(index, link, session)
        }
    }

    // MARK: The client's side

    package func instant(_ moment: Moment) -> ContinuousClock.Instant { self.base + moment }

    package func tell(
        _ index: Int, _ fact: (inout ClientMachine, ContinuousClock.Instant) -> [ClientMachine.Effect]
    ) {
        let device = self.devices[index]
        let effects = fact(&device.machine, self.instant(self.now))
        device.count(effects.count, at: self.now)
        for effect in effects { self.execute(effect, index, device) }
        self.setTimer(index)
    }

    private func setTimer(_ index: Int) {
        guard let next = self.devices[index].machine.nextDeadline else {
            self.timers[index] = nil
            return
        }
        let moment = max(next - self.base, self.now)
        if let present = self.timers[index], present <= moment { return }
        self.timers[index] = moment
        self.events.add(.timer(device: index), at: moment)
    }

    private func execute(_ effect: ClientMachine.Effect, _ index: Int, _ device: SimulatedDevice) {
        if device.hasEnded { device.fail("\(effect) after the end") }
        switch effect {
        case .connect(let link): self.connect(index, link)
        case .authenticate(let link): self.up(index, link, .controlUp, .open)
        case .measure(let link):
            guard let session = self.sessions[index]?[link] else { return device.fail("a closed link is measured") }
            self.events.add(.measured(device: index, link, session), at: self.now)
        case .closeLink(let link, _): self.close(index, link)
        case .writeControl(let link, let messages):
            self.up(index, link, .controlUp, .control(messages))
            self.checkReceipts(messages, device)
        case .openSendStream, .finishSendStream: break
        case .writeMessages(let link, let stream, let messages):
            for message in messages {
                self.checkWrite(message, device)
                self.up(index, link, .sendUp(stream), .message(stream: stream, message))
            }
        case .writeRequest(let link, let frame): self.up(index, link, .requestsUp, .request(frame))
        case .sendDatagram(let link, let message):
            if !self.random.chance(0.2) { self.up(index, link, .datagramsUp, .datagram(message)) }
        case .updatesWait:
            if device.isReading {
                self.events.add(.read(device: index), at: self.now)
            } else {
                device.wantsToRead = true
            }
        case .roomForPushes: self.readPushes(index)
        case .accepted(let id): device.accepted.insert(id)
        case .completeSend(let id, let result): device.account.completed(id, result)
        case .completeRequest(let tag, let result): device.completed(tag, result)
        case .completeIdentity: break
        case .end(let error):
            device.hasEnded = true
            device.endError = error
        }
    }

    /// Now and then something is on its way, and comes back unless the connection is cut.
    private func measured(_ index: Int, _ link: LinkNumber, _ session: SessionNumber) {
        func bytes(_ moment: Moment) -> UInt64 { UInt64(moment / .seconds(4)) }
        let volume = LinkVolume(
            carrier: .quic, sent: bytes(self.now), received: bytes(self.wires[session]?.cutAt ?? self.now))
        self.tell(index) { $0.measured(link, volume, now: $1) }
    }

    private func checkWrite(_ message: OutgoingMessage, _ device: SimulatedDevice) {
        device.account.sent[message.id]?.writes += 1
        if let hold = device.holds[message.receiver], self.now < hold {
            device.fail("wrote to \(message.receiver) \(hold - self.now) before the server's retry-after")
        }
    }

    private func checkReceipts(_ messages: [Message], _ device: SimulatedDevice) {
        // A good-bye takes what there is along.
        guard messages.contains(where: { $0.type == .receipt }), !messages.contains(where: { $0.type == .goOffline }),
            let hold = device.receiptHold, self.now < hold
        else { return }
        device.fail("a receipt \(hold - self.now) before the server's retry-after")
    }

    package func takeUpdates(_ index: Int) {
        let device = self.devices[index]
        device.wantsToRead = false
        while true {
            var taken: ClientUpdate?
            self.tell(index) { machine, now in
                let (update, effects) = machine.takeUpdate(now: now)
                taken = update
                return effects
            }
            guard let update = taken else { return }
            let reads = self.random.chance(0.3)
            if let message = device.took(update, reads: reads) {
                let epoch = self.random.chance(0.5) ? message.epoch : nil
                self.tell(index) { machine, now in
                    machine.markRead(message.channel, upTo: message.sequence, epoch: epoch, now: now)
                }
            }
        }
    }

    /// Several users give the same ones.
    package func makeID(_ user: UserID) -> ClientMessageID {
        self.lastIDs[user, default: 0] += 1
        return ClientMessageID(high: 1, low: self.lastIDs[user, default: 0])
    }

    // MARK: Connections

    private func connect(_ index: Int, _ link: LinkNumber) {
        let device = self.devices[index]
        device.account.connects(at: self.now)
        guard self.isReachable else {
            return self.events.add(.connectFailed(device: index, link), at: self.now + self.someDelay())
        }
        self.lastSession += 1
        let session = self.lastSession
        self.trace?("\(self.now) \(device.name)/\(session) connects")
        self.wires[session] = Wire(device: index, link: link, session: session)
        self.sessions[index, default: [:]][link] = session
        self.send(session, .controlDown, .down(session, .up))
    }

    private func close(_ index: Int, _ link: LinkNumber) {
        self.devices[index].account.linksLost += 1
        guard let session = self.sessions[index]?.removeValue(forKey: link), self.wires[session] != nil else { return }
        self.checkClose(session, self.devices[index])
        self.wires[session]?.isClosedByClient = true
        self.wires[session]?.unread = [:]
        self.send(session, .controlUp, .up(session, .closed))
    }

    /// No server of ours gives a reason to leave a connection that works.
    private func checkClose(_ session: SessionNumber, _ device: SimulatedDevice) {
        guard let wire = self.wires[session], wire.isUp, wire.cutAt == nil, !wire.isClosedByServer, !wire.wasRefused,
            !device.machine.hasEnded, device.toldToGo[session] == nil
        else { return }
        device.fail("left a connection that works, at \(self.now)")
    }

    /// Nothing arrives any more, in either direction; each end hears of it when it does.
    package func cut(_ session: SessionNumber, clientHearsAfter: Duration, serverHearsAfter: Duration) {
        guard let wire = self.wires[session], wire.cutAt == nil else { return }
        self.wires[session]?.cutAt = self.now
        if clientHearsAfter > .seconds(60) { self.devices[wire.device].silentLosses += 1 }
        let error = TransportError(.idleTimeout, message: "the cable is out")
        // A carrier that does not come up gives up by itself.
        let wait = wire.isUp ? clientHearsAfter : min(clientHearsAfter, .seconds(10))
        self.events.add(.down(session, .closed(error)), at: self.now + wait)
        self.events.add(.up(session, .closed), at: self.now + serverHearsAfter)
    }

    package var openSessions: [SessionNumber] {
        self.wires.filter { $0.value.cutAt == nil && !$0.value.isClosedByClient && !$0.value.isClosedByServer }.keys
            .sorted()
    }

    package func device(of session: SessionNumber) -> SimulatedDevice? {
        self.wires[session].map { self.devices[$0.device] }
    }

    // MARK: The network

    func someDelay() -> Duration {
        let part = Double(self.random.next() >> 11) * 0x1p-53
        return self.delay * (0.1 + 0.9 * part)
    }

    /// Behind what is on the same stream already.
    private func send(_ session: SessionNumber, _ lane: Lane, _ event: Event) {
        guard var wire = self.wires[session] else { return }
        let arrival = max(self.now + self.someDelay(), wire.lastArrival[lane] ?? .zero)
        wire.lastArrival[lane] = arrival
        self.wires[session] = wire
        self.events.add(event, at: arrival)
    }

    private func up(_ index: Int, _ link: LinkNumber, _ lane: Lane, _ what: Upward) {
        guard let session = self.sessions[index]?[link] else {
            return self.devices[index].fail("\(what) on a connection that is closed")
        }
        self.send(session, lane, .up(session, what))
        if case .control = what { self.events.add(.down(session, .written), at: self.now + .microseconds(100)) }
    }

    private func arrived(_ what: Upward, at session: SessionNumber) {
        guard let wire = self.wires[session] else { return }
        if case .closed = what {
            self.serve { server, now in
                server.disconnected(session, now: now)
                return []
            }
            return
        }
        guard wire.cutAt == nil, !wire.isClosedByServer else { return }
        let device = self.devices[wire.device]
        if case .open = what { self.onLogin?(device, self.server) }
        self.trace?("\(self.now) \(device.name)/\(session) > \(what)")
        self.serve { server, now in
            switch what {
            case .open: return server.connected(session, user: device.user, device: device.device, now: now)
            case .control(let messages):
                return messages.flatMap { server.controlArrived(session, $0, now: now) }
            case .message(let stream, let message):
                return server.messageArrived(session, stream: stream, message, now: now)
            case .request(let frame): return server.requestArrived(session, frame, now: now)
            case .datagram(let message): return server.datagramArrived(session, message, now: now)
            case .closed: return []
            }
        }
    }

    // MARK: The server's side

    package func serve(_ fact: (inout Server, Moment) -> [ServerEffect]) {
        for effect in fact(&self.server, self.now) { self.execute(effect) }
        guard let next = self.server.nextDeadline else {
            self.serverTimer = nil
            return
        }
        if let present = self.serverTimer, present <= next { return }
        self.serverTimer = next
        self.events.add(.serverTimer, at: max(next, self.now))
    }

    private func execute(_ effect: ServerEffect) {
        let (session, lane): (SessionNumber, Lane) =
            switch effect {
            case .authenticated(let session, _), .refused(let session, _), .control(let session, _),
                .controlEnded(let session), .close(let session, _):
                (session, .controlDown)
            case .answer(let session, let stream, _), .streamEnded(let session, let stream):
                (session, .sendDown(stream))
            case .response(let session, _): (session, .requestsDown)
            case .push(let session, let stream, _): (session, .push(stream))
            case .datagram(let session, _): (session, .datagramsDown)
            }
        self.send(session, lane, .down(session, .effect(effect)))
    }

    private func arrived(_ what: Downward, from session: SessionNumber) {
        guard let wire = self.wires[session] else { return }
        let (index, link) = (wire.device, wire.link)
        guard !wire.isClosedByClient else {
            // Its tasks may have it in their hands, and tell it late.
            guard case .effect(let effect) = what, self.random.chance(0.5) else { return }
            return self.events.add(.late(device: index, link, effect), at: self.now + self.someDelay() * 10)
        }
        self.trace?("\(self.now) \(self.devices[index].name)/\(session) < \(what)")
        switch what {
        case .closed(let error):
            self.wires[session]?.isClosedByServer = true
            self.tell(index) { $0.linkEnded(link, error, now: $1) }
        case .written: self.tell(index) { $0.controlWritten(link, now: $1) }
        case .up:
            guard wire.cutAt == nil else { return }
            self.wires[session]?.isUp = true
            self.tell(index) { $0.carrierCameUp(link, now: $1) }
        case .effect(let effect):
            guard wire.cutAt == nil, !wire.isClosedByServer else { return }
            self.arrived(effect, from: session, index, link)
        }
    }

    private func arrived(_ effect: ServerEffect, from session: SessionNumber, _ index: Int, _ link: LinkNumber) {
        let device = self.devices[index]
        switch effect {
        case .authenticated(_, let answer):
            device.indexPass = [:]
            self.tell(index) { $0.authenticated(link, answer, over: .quic, now: $1) }
        case .refused(_, let failure):
            self.wires[session]?.wasRefused = true
            let error = ClientError(.refused, message: failure.text, failure: failure)
            self.tell(index) { $0.linkEnded(link, error, now: $1) }
        case .control(_, let message):
            self.note(message, device, session)
            self.tell(index) { $0.controlArrived(link, message, now: $1) }
        case .controlEnded: self.tell(index) { $0.controlEnded(link, now: $1) }
        case .answer(_, let stream, let message):
            self.noteAnswer(message, device)
            self.tell(index) { $0.answered(link, stream, message, now: $1) }
        case .streamEnded(_, let stream):
            device.account.streamsEnded += 1
            self.tell(index) { $0.sendStreamEnded(link, stream, now: $1) }
        case .response(_, let frame):
            self.note(frame, device)
            self.tell(index) { $0.responded(link, frame, now: $1) }
        case .push(_, let stream, let message): self.pushArrived(message, stream, session, index)
        case .datagram(_, let notice): self.tell(index) { $0.noticed(link, notice, now: $1) }
        case .close(_, let code):
            if code == .draining { self.wasClosed(device, session) }
            self.wires[session]?.isClosedByServer = true
            let error = TransportError(.application, message: "the server closed", wireCode: code.rawValue)
            self.tell(index) { $0.linkEnded(link, error, now: $1) }
        }
    }

    private func arrivedLate(_ effect: ServerEffect, _ index: Int, _ link: LinkNumber) {
        switch effect {
        case .control(_, let message): self.tell(index) { $0.controlArrived(link, message, now: $1) }
        case .controlEnded: self.tell(index) { $0.controlEnded(link, now: $1) }
        case .answer(_, let stream, let message): self.tell(index) { $0.answered(link, stream, message, now: $1) }
        case .response(_, let frame): self.tell(index) { $0.responded(link, frame, now: $1) }
        case .push(_, _, let message): self.tell(index) { $0.pushed(link, message, now: $1) }
        case .authenticated, .refused, .streamEnded, .datagram, .close: break
        }
    }

    private func pushArrived(_ message: ChannelMessage, _ stream: UInt64, _ session: SessionNumber, _ index: Int) {
        self.wires[session]?.unread[stream, default: []].append(message)
        self.readPushes(index)
    }

    /// Reads the streams of pushes while there is room for updates.
    private func readPushes(_ index: Int) {
        let device = self.devices[index]
        for (link, session) in (self.sessions[index] ?? [:]).sorted(by: { $0.key < $1.key }) {
            for stream in (self.wires[session]?.unread.keys).map({ $0.sorted() }) ?? [] {
                while device.machine.hasRoomForPushes, let message = self.wires[session]?.unread[stream]?.first {
                    self.wires[session]?.unread[stream]?.removeFirst()
                    self.tell(index) { $0.pushed(link, message, now: $1) }
                    self.serve { $0.pushTaken(session, now: $1) }
                }
            }
        }
    }

    // MARK: Accounts

    /// Whoever heard of it in time, and had nothing to do, should have been gone.
    private func wasClosed(_ device: SimulatedDevice, _ session: SessionNumber) {
        guard let toldAt = device.toldToGo[session], self.now - toldAt > .milliseconds(1_600) else { return }
        if device.machine.unacknowledgedCount == 0, device.openRequests.isEmpty {
            device.fail("was told to go at \(toldAt), and is there until the end")
        }
    }

    private func note(_ message: Message, _ device: SimulatedDevice, _ session: SessionNumber) {
        if message.type == .goOffline { device.toldToGo[session] = self.now }
        guard message.type == .error, let failure = try? Failure(message), failure.isRetryable,
            let wait = failure.retryAfter
        else { return }
        device.receiptHold = self.now + .milliseconds(Int(wait))
    }

    private func noteAnswer(_ message: Message, _ device: SimulatedDevice) {
        guard message.type == .error, let failure = try? Failure(message), failure.isRetryable, let id = failure.id,
            let receiver = device.account.sent[id]?.receiver
        else { return }
        device.account.sent[id]?.refusals += 1
        if let wait = failure.retryAfter { device.holds[receiver] = self.now + .milliseconds(Int(wait)) }
    }

    /// Which channels the first whole index had, and how far they went.
    private func note(_ frame: RequestFrame, _ device: SimulatedDevice) {
        guard frame.resource == .syncIndex, frame.status == .none, device.account.baseline == nil else { return }
        var body = frame.body
        guard let page = try? SyncIndex.Answer(decoding: &body) else { return }
        for state in page.channels { device.indexPass[state.channel] = state }
        if page.next == 0 { device.account.baseline = device.indexPass }
    }
}
