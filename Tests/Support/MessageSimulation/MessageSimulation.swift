// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import TernClient
import TernMessages
import TernTesting

/// Runs schedules and judges them.
package enum MessageSimulation {
    /// Which server the clients have.
    package enum Kind: String, CaseIterable, Sendable {
        /// A model that is as plain as Docs/PROTOCOL.md.
        case model
        /// The machines of the real one.
        case machines

        /// Each has half of the schedules.
        package init(seed: UInt64) { self = seed % 2 == 0 ? .machines : .model }
    }

    /// What went wrong with this seed; empty when nothing did.
    package static func run(seed: UInt64, _ kind: Kind, trace: ((String) -> Void)? = nil) -> [String] {
        switch kind {
        case .model: self.run(PlainServer.self, seed, trace)
        case .machines: self.run(MachineServer.self, seed, trace)
        }
    }

    private static func run<Sessions: ServerSessions>(
        _: ModelServer<Sessions>.Type, _ seed: UInt64, _ trace: ((String) -> Void)?
    ) -> [String] {
        var random = SeededRandom(seed: seed)
        var server = ModelServer<Sessions>(seed: seed &* 31 &+ 7)
        server.pageLimit = 1 + Int(random.next() % 6)
        server.sessions.pushLimit = 1 + Int(random.next() % 8)
        server.commitTime = .microseconds(Int(random.next() % 8_000))
        if seed % 4 == 0 { server.feedFailure = 0.5 }
        let world = MessageWorld(server: server, seed: seed &* 17 &+ 3)
        world.trace = trace
        world.delay = [.milliseconds(2), .milliseconds(15), .milliseconds(80)][Int(random.next() % 3)]
        world.onLogin = { device, server in
            guard device.headsBefore == nil else { return }
            let identity = ModelStore.Device(user: device.user, device: device.device)
            let channels = server.store.channels(of: device.user).map(\.channel)
            device.headsBefore = Dictionary(
                uniqueKeysWithValues: channels.compactMap { channel in
                    server.store.state(of: channel, for: identity).map { (channel, $0) }
                })
        }
        var schedule = MessageSchedule(seed: seed, world: world)
        schedule.fill()
        let end = MessageSchedule<Sessions>.busy + MessageSchedule<Sessions>.quiet
        world.run(until: end - .seconds(6))
        let before = world.devices.map(\.effectCount)
        world.run(until: end)
        for (device, count) in zip(world.devices, before) where device.effectCount - count > 20 {
            device.fail("\(device.effectCount - count) effects in six seconds in which nothing happens")
        }
        var failures = world.devices.flatMap { Judgement(device: $0, server: world.server).failures }
        failures += Self.judge(world)
        failures += Self.judgeLeftovers(world)
        failures += Self.close(world, whileAway: seed % 3 == 0)
        return failures
    }

    private static func judge<Sessions: ServerSessions>(_ world: MessageWorld<ModelServer<Sessions>>) -> [String] {
        var failures: [String] = []
        if world.openSessions.count != world.devices.count {
            failures.append("\(world.devices.count) devices have \(world.openSessions.count) connections")
        }
        if world.server.sessionNumbers != world.openSessions {
            failures.append("sessions \(world.server.sessionNumbers), and connections \(world.openSessions)")
        }
        return failures
    }

    /// A ping may be on its way; but not for long.
    private static func judgeLeftovers<Sessions: ServerSessions>(
        _ world: MessageWorld<ModelServer<Sessions>>
    ) -> [String] {
        if !world.server.sessions.leftovers.isEmpty { world.run(until: world.now + .milliseconds(200)) }
        return world.server.sessions.leftovers
    }

    /// Closes everybody, and sees that nothing is left.
    private static func close<Sessions: ServerSessions>(
        _ world: MessageWorld<ModelServer<Sessions>>, whileAway: Bool
    ) -> [String] {
        var failures: [String] = []
        let end = world.now
        if whileAway {
            world.isReachable = false
            for session in world.openSessions { world.cut(session, clientHearsAfter: .zero, serverHearsAfter: .zero) }
            world.run(until: end + .milliseconds(200))
        }
        for index in world.devices.indices { world.tell(index) { $0.close(timeout: .seconds(2), now: $1) } }
        for device in world.devices where whileAway && !device.hasEnded {
            failures.append("\(device.name): it has nothing to send, and does not end at once")
        }
        world.isReachable = true
        world.run(until: end + .seconds(5))
        for device in world.devices {
            failures += device.failures
            if !device.hasEnded { failures.append("\(device.name): it was closed, and goes on") }
            if device.machine.nextDeadline != nil { failures.append("\(device.name): a timer is left") }
        }
        failures += world.server.sessions.failures
        if !world.server.sessions.isEmpty { failures.append("the server keeps something of those who went") }
        if !world.server.sessionNumbers.isEmpty { failures.append("sessions are left: \(world.server.sessionNumbers)") }
        return failures
    }
}

/// What one device has, beside what it should have.
private struct Judgement {
    let device: SimulatedDevice
    let store: ModelStore
    let refused: Set<ClientMessageID>
    private(set) var failures: [String] = []

    private var identity: ModelStore.Device { ModelStore.Device(user: self.device.user, device: self.device.device) }

    init(device: SimulatedDevice, server: ModelServer<some ServerSessions>) {
        self.device = device
        self.store = server.store
        self.refused = server.refused
        self.judgeRest()
        self.judgeSent()
        if device.configuration.receives != nil {
            if device.baseline == nil { self.fail("it has no index") }
            for (_, channel) in store.channels(of: device.user) { self.judgeLog(of: channel) }
        }
    }

    private mutating func fail(_ text: String) { self.failures.append("\(self.device.name): \(text)") }

    private mutating func judgeRest() {
        let machine = self.device.machine
        if self.device.hasEnded { self.fail("it ended: \(String(describing: self.device.endError))") }
        if machine.unacknowledgedCount > 0 { self.fail("\(machine.unacknowledgedCount) messages are left") }
        if machine.openRequestCount > 0 { self.fail("\(machine.openRequestCount) requests are left") }
        if machine.waitingUpdateCount > 0 { self.fail("\(machine.waitingUpdateCount) updates are left") }
        if machine.hasUnsentReceipts { self.fail("receipts are left") }
        if !self.device.openRequests.isEmpty { self.fail("no answer to \(self.device.openRequests)") }
        for (_, result) in self.device.results.sorted(by: { $0.key < $1.key }) {
            guard case .failure(let error) = result else { continue }
            self.fail("a request failed: \(error)")
        }
        for (tag, name) in self.device.made {
            // It asked once, its group it is, and yet it was told that there was one.
            guard case .success(let frame) = self.device.results[tag], frame.status == .alreadyExists,
                self.device.made.values.count(where: { $0 == name }) == 1,
                self.store.group(named: name)?.creator == self.identity,
                self.store.group(named: name)?.members[self.identity.user] != nil
            else { continue }
            self.fail("its own group was refused to it")
        }
    }

    // MARK: Sent

    private mutating func judgeSent() {
        var last: [PartyID: UInt64] = [:]
        let refused = Set(self.device.sent.filter { self.refused.contains($0.key) }.map(\.value.receiver))
        for (id, sent) in self.device.sent.sorted(by: { $0.value.number < $1.value.number }) {
            guard let result = sent.result else {
                self.fail("message \(sent.number) has no answer")
                continue
            }
            let allowed = 1 + self.device.linksLost + sent.refusals + self.device.streamsEnded
            if sent.writes > allowed { self.fail("message \(sent.number) was written \(sent.writes) times") }
            guard case .success(let stored) = result else { continue }
            guard let log = self.store.logs[stored.channel], log.epoch == stored.epoch else { continue }
            let index = Int(stored.sequence.rawValue) - 1
            guard index < log.messages.count else {
                self.fail("message \(sent.number) was acknowledged, and is not in the log")
                continue
            }
            if let found = log.messages[index], found.message.id != id {
                self.fail("message \(sent.number) was acknowledged as \(stored.sequence), which is another")
            }
            if !refused.contains(sent.receiver) {
                if stored.sequence.rawValue < last[sent.receiver] ?? 0 {
                    self.fail("message \(sent.number) is out of order")
                }
                last[sent.receiver] = stored.sequence.rawValue
            }
        }
    }

    // MARK: Received

    private mutating func judgeLog(of channel: ChannelID) {
        guard let log = self.store.logs[channel] else { return }
        let received = self.device.received[channel]
        let isPresent = received?.epoch == log.epoch
        let got = isPresent ? Set(received?.sequences ?? []) : []
        let missing = isPresent ? Set(received?.missing ?? []) : []
        let from = self.firstWanted(of: channel, log, wasRestarted: isPresent && received?.wasRestarted == true)
        let lacking = (from <= log.head ? Array(from...log.head) : []).filter {
            !got.contains($0) && log.messages[Int($0) - 1] != nil
        }
        if !lacking.isEmpty {
            self.fail("\(channel) \(log.epoch): lacks \(lacking) of \(from)...\(log.head), has \(got.sorted())")
        }
        for sequence in missing where log.messages[Int(min(sequence, log.head)) - 1] != nil || sequence > log.head {
            self.fail("\(channel): \(sequence) is said to be missing, and is not")
        }
        guard isPresent, let received, let first = received.sequences.first else { return }
        self.judgeBeginning(of: channel, first, log, received)
        for (sequence, id) in received.ids.sorted(by: { $0.key < $1.key }) {
            guard sequence <= log.head, let stored = log.messages[Int(sequence) - 1] else { continue }
            if stored.message.id != id { self.fail("\(channel): \(sequence) is another message") }
        }
        if !self.device.hasLeft.contains(channel) {
            let holes = Array(first...log.head).filter { !got.contains($0) && !missing.contains($0) }
            if !holes.isEmpty { self.fail("\(channel): \(holes) were passed by without a word") }
            self.judgeReceipts(of: channel, received)
        }
    }

    /// From where everything has to be there.
    private func firstWanted(of channel: ChannelID, _ log: ModelStore.Log, wasRestarted: Bool) -> UInt64 {
        let first = self.store.first(in: channel, for: self.device.user)
        let since = channel.group.flatMap { self.store.groups[$0]?.members[self.device.user] } ?? 1
        let floor = self.device.hasLeft.contains(channel) ? max(first, since) : first
        if wasRestarted { return floor }
        switch self.device.configuration.receives {
        case .sequence(let sequence): return max(sequence, floor)
        case .live, nil:
            guard let state = self.device.baseline?[channel] else { return max(since, floor) }
            return max(state.epoch == log.epoch ? state.head.rawValue + 1 : 1, floor)
        }
    }

    /// Nothing old is delivered to whoever wanted only what is new.
    private mutating func judgeBeginning(
        of channel: ChannelID, _ first: UInt64, _ log: ModelStore.Log, _ received: SimulatedDevice.Received
    ) {
        guard self.device.configuration.receives == .live, !received.wasRestarted,
            !self.device.hasLeft.contains(channel)
        else { return }
        if let before = self.device.headsBefore?[channel] {
            if before.epoch == log.epoch, first <= before.head.rawValue {
                self.fail("\(channel): begins with \(first), and \(before.head) was there before the login")
            }
        } else if let since = channel.group.flatMap({ self.store.groups[$0]?.members[self.device.user] }),
            !self.store.restarted.contains(channel), first < since
        {
            self.fail("\(channel): begins with \(first), and we joined at \(since)")
        }
    }

    private mutating func judgeReceipts(of channel: ChannelID, _ received: SimulatedDevice.Received) {
        let offsets = self.store.offsets[self.identity]?[channel] ?? ModelStore.Offsets()
        let delivered = received.sequences.last ?? 0
        if offsets.delivered != delivered {
            self.fail("\(channel): received up to \(delivered), and the server knows of \(offsets.delivered)")
        }
        if offsets.read != received.lastRead {
            self.fail("\(channel): read up to \(received.lastRead), and the server knows of \(offsets.read)")
        }
    }
}
