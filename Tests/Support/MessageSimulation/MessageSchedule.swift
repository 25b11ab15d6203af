// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import MessageJudgementSupport
import NIOCore
import TernClient
import TernMessages
import TernTesting

/// Who is there and what happens, from a seed.
struct MessageSchedule<Sessions: ServerSessions> {
    /// Until then things happen; then all is well, and everybody gets to rest.
    static var busy: Duration { .seconds(8) }
    static var quiet: Duration { .seconds(30) }

    private var random: SeededRandom
    private let world: MessageWorld<ModelServer<Sessions>>

    init(seed: UInt64, world: MessageWorld<ModelServer<Sessions>>) {
        self.random = SeededRandom(seed: seed)
        self.world = world
    }

    /// 0 ..< count.
    private mutating func pick(_ count: Int) -> Int { Int(self.random.next() >> 1) % max(count, 1) }

    private mutating func milliseconds(_ range: ClosedRange<Int>) -> Duration {
        .milliseconds(range.lowerBound + self.pick(range.count))
    }

    // MARK: Who

    mutating func fill() {
        let users = 2 + self.pick(2)
        for number in 1...users {
            for device in 1...(1 + self.pick(2)) { self.addDevice(device, of: number) }
        }
        for _ in 0..<(15 + self.pick(25)) {
            let moment = self.milliseconds(0...Int(Self.busy / .milliseconds(1)) - 1)
            self.addAction(at: moment)
        }
        self.world.schedule(at: Self.busy) { world in
            world.isReachable = true
            world.serve { server, _ in
                server.mood = ServerMood()
                server.commitTime = .milliseconds(1)
                return []
            }
            for index in world.devices.indices { world.resumeReading(index) }
        }
    }

    private mutating func addDevice(_ device: Int, of number: Int) {
        guard let user = UserID(rawValue: UInt64(number)), let id = DeviceID(rawValue: UInt32(device)) else { return }
        let starts: [ReceiveStart?] = [.live, .live, .live, .sequence(1), .sequence(1), .sequence(3), nil]
        var configuration = ClientConfiguration(token: "", receives: starts[self.pick(starts.count)])
        configuration.outboxCapacity = 1 + self.pick(20)
        configuration.messagesInFlight = 1 + self.pick(8)
        configuration.updateCapacity = 1 + self.pick(12)
        configuration.requestTimeout = .seconds(3)
        configuration.reconnecting.initialDelay = .milliseconds(50)
        configuration.reconnecting.maximumDelay = .seconds(2)
        configuration.reconnecting.retriesFirstConnection = true
        let added = SimulatedDevice(
            name: "user \(number) device \(device)", user: user, device: id, configuration: configuration,
            seed: self.random.next())
        let index = self.world.devices.count
        self.world.add(added)
        let start = self.random.chance(0.6) ? self.milliseconds(0...300) : self.milliseconds(300...6_000)
        self.world.schedule(at: start) { $0.tell(index) { $0.start(now: $1) } }
    }

    // MARK: What

    private mutating func addAction(at moment: Moment) {
        let index = self.pick(self.world.devices.count)
        switch self.pick(100) {
        case ..<36: self.addMessages(from: index, at: moment)
        case ..<38: self.addTyping(by: index, at: moment)
        case ..<40: self.addJump(at: moment)
        case ..<54: self.addGroupRequest(of: index, at: moment)
        case ..<70: self.addCut(at: moment)
        case ..<80: self.addMood(at: moment)
        case ..<83: self.addOutage(at: moment)
        case ..<87: self.addRestart(at: moment)
        case ..<89: self.addDrain(at: moment)
        case ..<94: self.addPause(of: index, at: moment)
        case ..<95: self.addSlowCommits(at: moment)
        case ..<96: self.addYoungDeaths(at: moment)
        case ..<97: self.addStaleMark(of: index, at: moment)
        default: self.addCancel(of: index, at: moment)
        }
    }

    private mutating func addMessages(from index: Int, at moment: Moment) {
        let toGroup = self.random.chance(0.4)
        let target = self.pick(8)
        let count = 1 + self.pick(6)
        self.world.schedule(at: moment) { world in
            let groups = world.server.store.groups.keys.sorted { $0.rawValue < $1.rawValue }
            let receiver: PartyID
            if toGroup, !groups.isEmpty {
                receiver = PartyID(groups[target % groups.count])
            } else if let user = UserID(rawValue: UInt64(1 + target % 3)) {
                receiver = PartyID(user)
            } else {
                return
            }
            for _ in 0..<count { world.enqueue(from: index, to: receiver) }
        }
    }

    private mutating func addGroupRequest(of index: Int, at moment: Moment) {
        let kind = self.pick(12)
        let target = self.pick(3)
        let isOpen = self.random.chance(0.6)
        let sharesHistory = self.random.chance(0.5)
        self.world.schedule(at: moment) { world in
            let groups = world.server.store.groups.keys.sorted { $0.rawValue < $1.rawValue }
            if groups.isEmpty || kind < 3 {
                guard let name = try? Name("g\(target)") else { return }
                world.request(CreateGroup(name: name, isOpen: isOpen, sharesHistory: sharesHistory), by: index)
            } else if kind < 8 {
                world.request(JoinGroup(group: groups[target % groups.count]), by: index)
            } else if kind < 10 {
                guard let user = UserID(rawValue: UInt64(1 + target)) else { return }
                world.request(InviteMember(group: groups[target % groups.count], user: user), by: index)
            } else {
                let group = groups[target % groups.count]
                for device in world.devices where device.user == world.devices[index].user {
                    device.account.hasLeft.insert(ChannelID(group: group))
                }
                world.request(LeaveGroup(group: group), by: index)
            }
        }
    }

    /// Somebody types in a channel, their own or not.
    private mutating func addTyping(by index: Int, at moment: Moment) {
        let target = self.pick(6)
        self.world.schedule(at: moment) { world in
            let groups = world.server.store.groups.keys.sorted { $0.rawValue < $1.rawValue }
            let user = UserID(rawValue: UInt64(1 + target % 3)).map { PartyID($0) }
            let receiver = target < 3 || groups.isEmpty ? user : PartyID(groups[target % groups.count])
            guard let receiver else { return }
            world.tell(index) { machine, _ in machine.notify(.typing, .on, to: receiver) }
        }
    }

    /// Somebody sets the clock on the wall of the server's machine, by seconds or by years.
    private mutating func addJump(at moment: Moment) {
        let seconds = Int64(1 + self.pick(5)) * [1, 10, 100_000, 30_000_000][self.pick(4)]
        let jump = self.random.chance(0.5) ? seconds : -seconds
        self.world.schedule(at: moment) { world in
            world.serve { server, _ in
                server.wallJumped(by: jump)
                return []
            }
        }
    }

    private mutating func addCut(at moment: Moment) {
        let choice = self.pick(64)
        // Sometimes nobody says so: only the silence tells.
        let isSilent = self.random.chance(0.2)
        let client = isSilent ? Duration.seconds(3_600) : self.milliseconds(0...2_500)
        let server = self.milliseconds(0...(isSilent && self.random.chance(0.5) ? 18_000 : 3_000))
        self.world.schedule(at: moment) { world in
            let open = world.openSessions
            guard !open.isEmpty else { return }
            world.cut(open[choice % open.count], clientHearsAfter: client, serverHearsAfter: server)
        }
    }

    private mutating func addMood(at moment: Moment) {
        let rate = Failure(.rateLimited, "too much", retryAfter: UInt32(100 + self.pick(500)))
        let failures = [rate, rate, Failure(.storageFull, "full"), Failure(.internal, "failed")]
        let failure = failures[self.pick(failures.count)]
        let kind = self.pick(4)
        self.world.schedule(at: moment) { world in
            world.serve { server, _ in
                if kind == 0 || kind == 3 { server.mood.messages = failure }
                if kind == 1 || kind == 3 { server.mood.control = failure }
                if kind == 2 || kind == 3 { server.mood.requests = failure }
                return []
            }
        }
        self.world.schedule(at: moment + self.milliseconds(50...1_200)) { world in
            world.serve { server, _ in
                let closesAtOnce = server.mood.closesAtOnce
                server.mood = ServerMood()
                server.mood.closesAtOnce = closesAtOnce
                return []
            }
        }
    }

    private mutating func addOutage(at moment: Moment) {
        self.world.schedule(at: moment) { $0.isReachable = false }
        self.world.schedule(at: moment + self.milliseconds(100...2_000)) { $0.isReachable = true }
    }

    private mutating func addRestart(at moment: Moment) {
        let loses: Int? = self.random.chance(0.5) ? self.pick(4) : nil
        let damaged = self.random.chance(0.3) ? UInt64(1 + self.pick(8)) : nil
        let delays = (0..<8).map { _ in self.milliseconds(0...1_500) }
        self.world.schedule(at: moment) { world in
            world.restart(loses: loses, delays: delays)
            guard let damaged else { return }
            world.serve { server, _ in
                for channel in server.store.logs.keys.sorted() { server.store.damage(channel, at: damaged) }
                return []
            }
        }
    }

    private mutating func addDrain(at moment: Moment) {
        let grace = self.milliseconds(2_000...3_000)
        let delays = (0..<8).map { _ in self.milliseconds(0...500) }
        self.world.schedule(at: moment) { world in
            world.serve { server, now in server.isDraining ? [] : server.drain(grace: grace, now: now) }
        }
        self.world.schedule(at: moment + grace + .milliseconds(100)) { $0.restart(loses: nil, delays: delays) }
    }

    private mutating func addPause(of index: Int, at moment: Moment) {
        self.world.schedule(at: moment) { $0.devices[index].isReading = false }
        self.world.schedule(at: moment + self.milliseconds(100...4_000)) { $0.resumeReading(index) }
    }

    private mutating func addSlowCommits(at moment: Moment) {
        let end = self.milliseconds(self.random.chance(0.3) ? 1_500...6_000 : 300...1_500)
        for (wait, time) in [(Duration.zero, 300), (end, 2)] {
            self.world.schedule(at: moment + wait) { world in
                world.serve { server, _ in
                    server.commitTime = .milliseconds(time)
                    return []
                }
            }
        }
    }

    /// A server that lets clients in and throws them out at once.
    private mutating func addYoungDeaths(at moment: Moment) {
        let delays = [Duration.zero]
        self.world.schedule(at: moment) { world in
            world.restart(loses: nil, delays: delays)
            world.serve { server, _ in
                server.mood.closesAtOnce = true
                return []
            }
        }
        self.world.schedule(at: moment + self.milliseconds(500...2_500)) { world in
            world.serve { server, _ in
                server.mood.closesAtOnce = false
                return []
            }
        }
    }

    /// An application that marks what it saw long ago.
    private mutating func addStaleMark(of index: Int, at moment: Moment) {
        self.world.schedule(at: moment) { world in
            let device = world.devices[index]
            for channel in device.account.received.keys.sorted() {
                guard let received = device.account.received[channel], let first = received.sequences.first else {
                    continue
                }
                device.account.received[channel]?.lastRead = max(received.lastRead, first)
                world.tell(index) {
                    $0.markRead(channel, upTo: MessageSequence(first), epoch: received.epoch, now: $1)
                }
            }
        }
    }

    private mutating func addCancel(of index: Int, at moment: Moment) {
        self.world.schedule(at: moment) { world in
            let device = world.devices[index]
            if let tag = device.openRequests.keys.min() {
                device.openRequests[tag] = nil
                world.tell(index) { $0.cancelRequest(tag, now: $1) }
            }
            for id in device.account.sent.keys.sorted(by: { $0.low < $1.low })
            where device.account.sent[id]?.result == nil {
                let waits = !device.accepted.contains(id)
                if device.machine.cancelEnqueue(id) != waits { device.fail("a message could not be taken back") }
                if waits { device.account.sent[id] = nil }
            }
        }
    }
}

extension MessageWorld {
    func enqueue(from index: Int, to receiver: PartyID) {
        let device = self.devices[index]
        let id = self.makeID(device.user)
        device.nextMessage += 1
        device.account.sent[id] = DeviceAccount.Sent(receiver: receiver, number: device.nextMessage)
        self.tell(index) { $0.enqueue(ByteBuffer(), to: receiver, type: .text, id: id, now: $1) }
    }

    @discardableResult
    func request<Body: RequestBody>(_ body: Body, by index: Int) -> RequestTag {
        let device = self.devices[index]
        let tag = self.makeID(device.user).low
        device.openRequests[tag] = Body.resource
        if let made = body as? CreateGroup { device.made[tag] = made.name }
        self.tell(index) { $0.request(tag, Body.resource, body.encodedBody(), now: $1) }
        return tag
    }

    func resumeReading(_ index: Int) {
        self.devices[index].isReading = true
        if self.devices[index].wantsToRead { self.takeUpdates(index) }
    }

    /// The server's process is killed and comes back.
    func restart(loses: Int?, delays: [Duration]) {
        for session in self.openSessions {
            let wait = delays[Int(session) % delays.count]
            self.cut(session, clientHearsAfter: wait, serverHearsAfter: wait)
        }
        self.serve { server, now in
            server.restart(loses: loses, now: now)
            return []
        }
    }
}
