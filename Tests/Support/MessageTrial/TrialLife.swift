// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import MessageJudgementSupport
import NIOCore
import TernClient
import TernMessages
import TernTesting

/// What users do, one thing after the other, until their time is over.
struct TrialLife {
    let board: TrialBoard
    /// By user.
    let people: [[TrialDevice]]
    let end: Duration

    private var isOver: Bool { self.board.now >= self.end || Task.isCancelled }

    // MARK: A device

    func live(on device: TrialDevice) async {
        await device.settleIn()
        var random = SeededRandom(seed: device.plan.seed &+ 1)
        while !self.isOver {
            await self.step(device, &random)
            try? await Task.sleep(for: random.milliseconds(5...150))
        }
    }

    private func step(_ device: TrialDevice, _ random: inout SeededRandom) async {
        let choice = random.pick(64)
        switch random.pick(100) {
        case ..<38:
            let peer = self.people[choice % self.people.count][0].user
            await device.send(to: PartyID(peer), count: 1 + random.pick(8), size: 40 + random.pick(200))
        case ..<70:
            await self.sendToGroup(device, choice, &random)
        case ..<80: device.pauseReading(for: random.milliseconds(50...1_500))
        case ..<86: _ = await device.ask("the index") { try await $0.channels() }
        case ..<92:
            guard let channel = device.account.received.keys.sorted().first else { return }
            let codes: [ErrorCode] = [.notAMember]
            _ = await device.ask("history", orElse: codes) { try await $0.history(of: channel, from: .zero) }
        case ..<96:
            let peer = self.people[choice % self.people.count][0].user
            await device.client.notify(.typing, .on, to: PartyID(peer))
        default: await self.giveUpOnRequest(device)
        }
    }

    /// To one that the user is in, mostly; otherwise it is refused.
    private func sendToGroup(_ device: TrialDevice, _ choice: Int, _ random: inout SeededRandom) async {
        let groups = self.board.groups
        let own = groups.filter { group in
            self.board.stays(of: device.user, in: group.id).last.map { $0.leaveAskedAt == nil } ?? false
        }
        let candidates = own.isEmpty || random.chance(0.04) ? groups : own
        guard !candidates.isEmpty else { return }
        let size = random.chance(0.2) ? 2_000 : 40 + random.pick(300)
        let receiver = PartyID(candidates[choice % candidates.count].id)
        await device.send(to: receiver, count: 1 + random.pick(10), size: size)
    }

    /// Nobody waits for the answer any more: whoever else waits for one gets it.
    private func giveUpOnRequest(_ device: TrialDevice) async {
        let question = Task { _ = try await device.client.channels() }
        await Task.yield()
        question.cancel()
        await device.waiting("the end of a question that was taken back") { _ = await question.result }
    }

    // MARK: A user

    /// Makes groups, invites, joins and leaves, on any device of the user, one after the other.
    func live(as number: Int, seed: UInt64) async {
        var random = SeededRandom(seed: seed)
        let devices = self.people[number]
        let user = devices[0].user
        if number == 0 || number == 1 { await self.makeGroup(devices[0], isOpen: number == 1, sharesHistory: false) }
        while !self.isOver {
            try? await Task.sleep(for: random.milliseconds(20...400))
            let device = devices[random.pick(devices.count)]
            let groups = self.board.groups
            let choice = random.pick(64)
            guard !groups.isEmpty, device.plan.start < self.board.now else { continue }
            let group = groups[choice % groups.count]
            let isIn = self.board.stays(of: user, in: group.id).last.map { $0.leaveAskedAt == nil } ?? false
            switch random.pick(100) {
            case ..<5 where groups.count < 8:
                await self.makeGroup(device, isOpen: random.chance(0.4), sharesHistory: random.chance(0.3))
            case ..<35 where isIn: await self.invite(choice, to: group, by: device)
            case ..<55 where isIn: await self.leave(group, devices, on: device)
            case _ where !isIn: await self.join(group, on: device)
            default: break
            }
        }
    }

    private func makeGroup(_ device: TrialDevice, isOpen: Bool, sharesHistory: Bool) async {
        let askedAt = self.board.now
        guard let name = try? Name("group \(self.board.makeNumber())") else { return }
        let answer = await device.ask("to make \(name)") {
            try await $0.createGroup(name, isOpen: isOpen, sharesHistory: sharesHistory)
        }
        guard case .answer(let state) = answer else { return }
        if !state.isMember || state.isOpen != isOpen || state.sharesHistory != sharesHistory {
            device.fail("\(name) is not as it was asked for: \(state)")
        }
        let group = TrialBoard.Group(id: state.group, isOpen: isOpen, sharesHistory: sharesHistory)
        self.board.made(group, by: device.user, askedAt: askedAt)
    }

    private func invite(_ choice: Int, to group: TrialBoard.Group, by device: TrialDevice) async {
        // The last user is never invited, and finds no way in.
        let guests = self.people.dropLast().map { $0[0].user }
        let guest = guests[choice / 8 % guests.count]
        self.board.invited(guest, to: group.id)
        _ = await device.ask("to invite", orElse: [.notAMember]) { try await $0.inviteToGroup(group.id, guest) }
    }

    private func join(_ group: TrialBoard.Group, on device: TrialDevice) async {
        let codes: [ErrorCode] = group.isOpen ? [] : [.notInvited]
        let wasNeverIn = self.board.stays(of: device.user, in: group.id).isEmpty
        self.board.joins(device.user, group.id)
        switch await device.ask("to join \(group.id)", orElse: codes, { try await $0.joinGroup(group.id) }) {
        case .answer(let state):
            let isStranger = wasNeverIn && !group.isOpen && !self.board.wasInvited(device.user, to: group.id)
            if isStranger { device.fail("joined \(group.id), which is closed, without an invitation") }
            if !state.isMember { device.fail("joined \(group.id), and is not in it") }
            self.board.joined(device.user, group.id, isIn: true)
        case .refused: self.board.joined(device.user, group.id, isIn: false)
        case .notNow: self.board.joined(device.user, group.id, isIn: nil)
        }
    }

    private func leave(_ group: TrialBoard.Group, _ devices: [TrialDevice], on device: TrialDevice) async {
        for device in devices { device.leaves(group.channel) }
        self.board.leaves(device.user, group.id)
        let answer = await device.ask("to leave \(group.id)") { try await $0.leaveGroup(group.id) }
        if case .answer = answer { self.board.left(device.user, group.id) }
    }
}
