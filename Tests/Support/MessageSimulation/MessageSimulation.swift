// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import MessageJudgementSupport
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
            guard device.account.headsBefore == nil else { return }
            let identity = ModelStore.Device(user: device.user, device: device.device)
            let channels = server.store.channels(of: device.user).map(\.channel)
            device.account.headsBefore = Dictionary(
                uniqueKeysWithValues: channels.compactMap { channel in
                    guard var state = server.store.state(of: channel, for: identity) else { return nil }
                    // What is being told may reach whoever comes meanwhile.
                    if let untold = server.sessions.firstUntold(of: channel) {
                        state.head = MessageSequence(min(state.head.rawValue, untold - 1))
                    }
                    return (channel, state)
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
        let logs = world.server.store.logTruths
        var failures = world.devices.flatMap { device in
            device.account.refused = world.server.refused
            return RestJudgement(device, world.server.store).failures
                + Judgement(device.account, world.server.store.truth(for: device, logs)).failures
        }
        failures += Self.judge(world)
        failures += Self.judgeLeftovers(world)
        Self.mark(world)
        failures += LastMarks(world: world).failures
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
        for (channel, log) in world.server.store.logs.sorted(by: { $0.key < $1.key }) {
            let ids = log.messages.compactMap { stored in
                stored.map { [$0.message.sender.rawValue, $0.message.id.low] }
            }
            if Set(ids).count != ids.count { failures.append("\(channel) has a message twice") }
        }
        return failures
    }

    /// Everybody reads everything, and asks what is unread then.
    private static func mark<Sessions: ServerSessions>(_ world: MessageWorld<ModelServer<Sessions>>) {
        for (index, device) in world.devices.enumerated() {
            for (channel, received) in device.account.received.sorted(by: { $0.key < $1.key }) {
                guard received.epoch == world.server.store.logs[channel]?.epoch, let last = received.sequences.last,
                    world.server.store.isMember(device.user, of: channel), !device.account.hasLeft.contains(channel)
                else { continue }
                if last > received.lastRead { device.lastMarks[channel] = last }
                device.account.received[channel]?.lastRead = max(last, received.lastRead)
                world.tell(index) {
                    $0.markRead(channel, upTo: MessageSequence(last), epoch: received.epoch, now: $1)
                }
            }
            world.run(until: world.now + .milliseconds(300))
        }
        world.run(until: world.now + .seconds(1))
        for (index, device) in world.devices.enumerated() {
            for (_, channel) in world.server.store.channels(of: device.user) {
                device.statesAsked[world.request(ReadChannelState(channel: channel), by: index)] = channel
            }
        }
        world.run(until: world.now + .seconds(2))
    }

    /// A ping may be on its way; but not for long.
    private static func judgeLeftovers<Sessions: ServerSessions>(
        _ world: MessageWorld<ModelServer<Sessions>>
    ) -> [String] {
        if !(world.server.sessions.leftovers.isEmpty && world.server.heldBack.isEmpty) {
            world.run(until: world.now + .milliseconds(200))
        }
        return world.server.sessions.leftovers
            + world.server.heldBack.map { "something of session \($0) is held back" }
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
            failures += device.account.failures
            if !device.hasEnded { failures.append("\(device.name): it was closed, and goes on") }
            if device.machine.nextDeadline != nil { failures.append("\(device.name): a timer is left") }
        }
        failures += world.server.sessions.failures
        if !world.server.sessions.isEmpty { failures.append("the server keeps something of those who went") }
        if !world.server.sessionNumbers.isEmpty { failures.append("sessions are left: \(world.server.sessionNumbers)") }
        return failures
    }
}

/// Whether a device has nothing left to do.
private struct RestJudgement {
    private let device: SimulatedDevice
    private let store: ModelStore
    private(set) var failures: [String] = []

    private var identity: ModelStore.Device { ModelStore.Device(user: self.device.user, device: self.device.device) }

    init(_ device: SimulatedDevice, _ store: ModelStore) {
        self.device = device
        self.store = store
        self.judge()
    }

    private mutating func fail(_ text: String) { self.failures.append("\(self.device.name): \(text)") }

    private mutating func judge() {
        let machine = self.device.machine
        if self.device.hasEnded { self.fail("it ended: \(String(describing: self.device.endError))") }
        if machine.unacknowledgedCount > 0 { self.fail("\(machine.unacknowledgedCount) messages are left") }
        if machine.openRequestCount > 0 { self.fail("\(machine.openRequestCount) requests are left") }
        if machine.waitingUpdateCount > 0 { self.fail("\(machine.waitingUpdateCount) updates are left") }
        if machine.hasUnsentReceipts { self.fail("receipts are left") }
        if !self.device.openRequests.isEmpty { self.fail("no answer to \(self.device.openRequests)") }
        for (_, result) in self.device.results.sorted(by: { $0.key < $1.key }) {
            guard case .failure(let error) = result else { continue }
            // The first time it was the connection. That the second one died as well, nobody knows in time.
            if error.code == .timedOut, self.device.silentLosses > 1 { continue }
            self.fail("a request failed: \(error)")
        }
        for (tag, name) in self.device.made {
            // It asked once, its group it is and was all the time, and yet it was told that there was one.
            guard case .success(let frame) = self.device.results[tag], frame.status == .alreadyExists,
                self.device.made.values.count(where: { $0 == name }) == 1,
                let group = self.store.group(named: name), group.creator == self.identity,
                group.members[self.identity.user] != nil,
                !self.device.account.hasLeft.contains(ChannelID(group: group.id))
            else { continue }
            self.fail("its own group was refused to it")
        }
    }
}

extension ModelStore {
    var logTruths: [ChannelID: DeviceTruth.Log] {
        self.logs.mapValues { log in DeviceTruth.Log(epoch: log.epoch, ids: log.messages.map { $0?.message.id }) }
    }

    func truth(for device: SimulatedDevice, _ logs: [ChannelID: DeviceTruth.Log]) -> DeviceTruth {
        let identity = ModelStore.Device(user: device.user, device: device.device)
        var parts: [ChannelID: DeviceTruth.Part] = [:]
        for (_, channel) in self.channels(of: device.user) {
            let offsets = self.offsets[identity]?[channel] ?? ModelStore.Offsets()
            parts[channel] = DeviceTruth.Part(
                first: self.first(in: channel, for: device.user),
                since: channel.group.flatMap { self.groups[$0]?.members[device.user] },
                delivered: offsets.delivered, read: offsets.read, wasRestarted: self.restarted.contains(channel))
        }
        return DeviceTruth(logs: logs, parts: parts)
    }
}
