// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import NIOCore
import TernMessages
import TernStore
import TernTransport
import TestTimeLimits
import Testing

@testable import TernServer

/// Valid and slightly invalid messages and requests of several users, from a seed, with a model beside the server: logs, offsets,
/// members and pages are what the model says, and nothing of what was counted is left at the end.
@Suite(.untilItHangs)
struct ServerModelFuzzTests {
    private static let payloadLimit = 1_000
    private static let pageLimit = 7
    private static let pageBytes = 2_000

    /// `TERN_MESSAGE_SEEDS=200` looks harder.
    private static let seeds = ProcessInfo.processInfo.environment["TERN_MESSAGE_SEEDS"].flatMap { UInt64($0) } ?? 4

    @Test(arguments: 1...seeds)
    func theServerAgreesWithTheModel(seed: UInt64) async throws {
        try await Harness.run(configure: {
            $0.maximumPayloadLength = Self.payloadLimit
            $0.maximumPageCount = Self.pageLimit
            $0.maximumPageBytes = Self.pageBytes
            $0.maximumRequestLength = 128
            $0.maximumQueuedPushBytes = 16 << 10
            $0.maximumResponseBytes = 16 << 10
            $0.maximumPendingBytes = 16 << 10
            $0.quotas.groupsCreated = 3
            $0.quotas.groupMembers = 2
        }) { harness async throws in
            var world = World(seed: seed, quotas: harness.server.configuration.quotas)
            for name in ["alice", "bob", "carol"] { world.clients.append(try await harness.client(name)) }
            let eve = try await harness.client("eve")
            for step in 0..<160 {
                if step % 4 == 0 { try await world.disturb(eve) }
                try await world.step()
            }
            try await world.checkEverything()
            // Nothing that was taken for a message or a response is kept.
            for client in world.clients {
                for session in harness.server.hub.sessions(of: client.user) {
                    while session.responseRoom.taken + session.sendRoom.taken + session.requestSlots.taken > 0 {
                        await Task.yield()
                    }
                }
            }
            for client in world.clients + [eve] { await client.close() }
            while harness.server.connectionCount > 0 { await Task.yield() }
            for client in world.clients { #expect(harness.server.hub.sessions(of: client.user).isEmpty) }
        }
    }

    /// What should be so.
    private struct World {
        struct Entry {
            var sender: UserID
            var id: ClientMessageID
            var payload: ByteBuffer
        }

        private struct Sent: Hashable {
            var sender: UserID
            var id: ClientMessageID
        }

        var clients: [TestClient] = []
        var random: HostileTests.Random
        let quotas: UserQuotas
        var logs: [ChannelID: [Entry]] = [:]
        var members: [GroupID: Set<UserID>] = [:]
        var rules: [GroupID: GroupRules] = [:]
        var invited: [GroupID: Set<UserID>] = [:]
        /// Where members begin to read.
        private var firsts: [GroupID: [UserID: UInt64]] = [:]
        var groupNames: [GroupID: Name] = [:]
        var created: [UserID: Int] = [:]
        var offsets: [ChannelID: [UserID: TernStore.Offsets]] = [:]
        private var places: [Sent: (channel: ChannelID, index: Int)] = [:]

        init(seed: UInt64, quotas: UserQuotas) {
            self.random = HostileTests.Random(state: seed &* 0x9e37_79b9_7f4a_7c15)
            self.quotas = quotas
        }

        private mutating func pick<Element>(_ elements: [Element]) throws -> Element {
            try #require(elements.randomElement(using: &self.random))
        }

        mutating func step() async throws {
            let client = try self.pick(self.clients)
            switch Int.random(in: 0..<10, using: &self.random) {
            case 0...3: try await self.send(client)
            case 4...5: try await self.tell(client)
            case 6: try await self.changeGroups(client)
            case 7: try await self.readOffsets(client)
            default: try await self.readHistory(client)
            }
        }

        // MARK: Channels

        private mutating func receiver(_ client: TestClient) throws -> PartyID {
            var all = self.clients.map { PartyID($0.user) } + self.members.keys.sorted().map { PartyID($0) }
            // Nobody, the server, a group that is none, and the largest number.
            all += [9_999, 0, 1 << 40, PartyID.maximumRawValue].compactMap { PartyID(rawValue: $0) }
            return try self.pick(all)
        }

        private func mayUse(_ channel: ChannelID, _ user: UserID) -> Bool {
            if let group = channel.group { return self.members[group]?.contains(user) == true }
            return channel.peer(of: user) != nil
        }

        private func first(_ channel: ChannelID, _ user: UserID) -> UInt64 {
            channel.group.flatMap { self.firsts[$0]?[user] } ?? 1
        }

        private func exists(_ channel: ChannelID) -> Bool {
            guard let (one, other) = channel.users else {
                return channel.group.map { self.members[$0] != nil } ?? false
            }
            let known = self.clients.map(\.user)
            return known.contains(one) && known.contains(other)
        }

        // MARK: Sending

        private mutating func send(_ client: TestClient) async throws {
            let receiver = try self.receiver(client)
            let size = try self.pick([0, 1, 10, 400, ServerModelFuzzTests.payloadLimit, 1_001, 5_000])
            let payload = ByteBuffer(repeating: UInt8.random(in: 0...255, using: &self.random), count: size)
            let old = self.places.keys.filter { $0.sender == client.user }.map(\.id).sorted { $0.low < $1.low }
            let repeats = Int.random(in: 0..<4, using: &self.random) == 0
            let id = repeats ? old.randomElement(using: &self.random) : nil
            let message = OutgoingMessage(
                sender: client.user, receiver: receiver, id: id ?? .random(using: &self.random), payload: payload)
            let stream = try await client.sender()
            try await stream.write(message.message)
            let answer = try await stream.message()
            try await stream.stream.finish()
            self.check(answer, to: message, from: client)
        }

        private mutating func check(_ answer: Message, to message: OutgoingMessage, from client: TestClient) {
            let channel = ChannelID(sender: PartyID(client.user), receiver: message.receiver)
            guard message.payload.readableBytes <= ServerModelFuzzTests.payloadLimit else {
                return self.expect(answer, [.payloadTooLarge])
            }
            guard let channel else { return self.expect(answer, [.malformed]) }
            guard self.mayUse(channel, client.user) else { return self.expect(answer, [.notAMember]) }
            guard self.exists(channel) else { return self.expect(answer, [.noSuchUser, .conflict]) }
            let sent = Sent(sender: client.user, id: message.id)
            if let place = self.places[sent] {
                let known = self.logs[place.channel]?[place.index]
                guard place.channel == channel, known?.payload == message.payload else {
                    return self.expect(answer, [.conflict])
                }
                let again = try? Acknowledgement(answer)
                #expect(again?.isDuplicate == true)
                #expect(again?.sequence.rawValue == UInt64(place.index + 1))
                return
            }
            let index = self.logs[channel]?.count ?? 0
            let acknowledgement = try? Acknowledgement(answer)
            #expect(acknowledgement?.sequence.rawValue == UInt64(index + 1), "\(answer)")
            #expect(acknowledgement?.isDuplicate == false)
            guard acknowledgement != nil else { return }
            self.places[sent] = (channel, index)
            self.logs[channel, default: []].append(
                Entry(sender: client.user, id: message.id, payload: message.payload))
        }

        private func expect(_ answer: Message, _ codes: [ErrorCode]) {
            let failure = try? Failure(answer)
            #expect(failure.map { codes.contains($0.code) } == true, "\(answer) instead of \(codes)")
        }

        // MARK: Receipts

        private mutating func tell(_ client: TestClient) async throws {
            let receiver = try self.receiver(client)
            let channel = ChannelID(sender: PartyID(client.user), receiver: receiver)
            let head = UInt64(channel.flatMap { self.logs[$0]?.count } ?? 0)
            let sequence = try self.pick([0, 1, head / 2, head, head + 1, 1 << 32, MessageSequence.maximumRawValue])
            let kind = try self.pick([1, 2, 2, 3, 0] as [UInt8])
            let receipt = Receipt(
                kind: .init(rawValue: kind), sender: client.user, receiver: receiver,
                sequence: MessageSequence(rawValue: sequence) ?? .zero)
            try await client.control.write(receipt.message)
            try await client.control.write(Message(type: .ping))
            // Receipts and notices of others come in between.
            while true {
                let type = try await client.control.message().type
                if type == .pong { break }
                #expect([MessageType.error, .receipt, .inbox].contains(type))
            }
            guard let channel, kind == 1 || kind == 2, self.mayUse(channel, client.user), head > 0 else { return }
            var own = self.offsets[channel]?[client.user] ?? TernStore.Offsets()
            let told = min(sequence, head)
            guard told >= self.first(channel, client.user) else { return }
            if kind == 2 { own.read = max(own.read, told) }
            own.delivered = max(own.delivered, told)
            guard own != TernStore.Offsets() else { return }
            self.offsets[channel, default: [:]][client.user] = own
        }

        private mutating func readOffsets(_ client: TestClient) async throws {
            guard let channel = self.logs.keys.sorted().randomElement(using: &self.random) else { return }
            let limit = try self.pick([0, 1, 2, 3, .max] as [UInt16])
            var found: [UserID: TernStore.Offsets] = [:]
            var last: (UserID, DeviceID)?
            while true {
                let request = TernMessages.Offsets(
                    channel: channel, afterUser: last?.0, afterDevice: last?.1, limit: limit)
                let response = try await client.ask(frame: request.frame(identifier: 7))
                guard self.mayUse(channel, client.user) else {
                    #expect(response.status == .notAMember)
                    return
                }
                let page = try TernMessages.Offsets.answer(in: response)
                #expect(page.entries.count <= (limit == 0 ? Int.max : Int(limit)))
                for entry in page.entries {
                    found[entry.user] = TernStore.Offsets(
                        delivered: entry.delivered.rawValue, read: entry.read.rawValue)
                }
                last = page.entries.last.map { ($0.user, $0.device) } ?? last
                guard page.hasMore else { break }
            }
            let first = self.first(channel, client.user)
            let visible = (self.offsets[channel] ?? [:]).filter { $0.value.delivered >= first }.mapValues { offsets in
                TernStore.Offsets(delivered: offsets.delivered, read: offsets.read < first ? 0 : offsets.read)
            }
            #expect(found == visible)
        }

        // MARK: History

        private mutating func readHistory(_ client: TestClient) async throws {
            guard let channel = self.logs.keys.sorted().randomElement(using: &self.random) else { return }
            let log = self.logs[channel] ?? []
            let head = UInt64(log.count)
            let from = try self.pick([
                0, 1, head / 2, head, head + 1, 1 << 32, 1 << 33, MessageSequence.maximumRawValue,
            ])
            let direction = try self.pick([History.Direction.forward, .backward])
            let limit = try self.pick([0, 1, 3, .max] as [UInt16])
            let request = History(
                channel: channel, from: MessageSequence(rawValue: from) ?? .zero, direction: direction, limit: limit)
            let response = try await client.ask(frame: request.frame(identifier: 7))
            guard self.mayUse(channel, client.user) else {
                #expect(response.status == .notAMember)
                return
            }
            let page = try History.answer(in: response)
            #expect(page.head.rawValue == head)
            #expect(page.messages.count <= min(limit == 0 ? .max : Int(limit), ServerModelFuzzTests.pageLimit))
            let bytes = page.messages.reduce(0) { $0 + $1.payload.readableBytes }
            #expect(bytes <= ServerModelFuzzTests.pageBytes || page.messages.count == 1)
            let isForward = direction == .forward
            let earliest = self.first(channel, client.user)
            #expect(page.first.rawValue == earliest)
            let first = isForward ? max(from, earliest) : (from == 0 ? head : min(from, head))
            let isEmpty = isForward ? first > head : first < earliest
            #expect(page.messages.isEmpty == isEmpty)
            let edge = isForward ? page.messages.first : page.messages.last
            #expect(isEmpty || edge?.sequence.rawValue == first)
            for (offset, message) in page.messages.enumerated() {
                let sequence = (page.messages.first?.sequence.rawValue ?? 0) + UInt64(offset)
                #expect(message.sequence.rawValue == sequence)
                let entry = log[Int(sequence) - 1]
                #expect(message.payload == entry.payload && message.id == entry.id && message.sender == entry.sender)
            }
            guard let last = isForward ? page.messages.last : page.messages.first else { return }
            #expect(page.hasMore == (isForward ? last.sequence.rawValue < head : last.sequence.rawValue > earliest))
        }

        // MARK: Groups

        private mutating func changeGroups(_ client: TestClient) async throws {
            let user = client.user
            guard let group = self.members.keys.sorted().randomElement(using: &self.random),
                Int.random(in: 0..<4, using: &self.random) > 0
            else { return try await self.createGroup(client) }
            if self.members[group]?.contains(user) == true {
                if Bool.random(using: &self.random) { return try await self.invite(by: client, to: group) }
                _ = try await client.ask(LeaveGroup(group: group))
                self.members[group]?.remove(user)
                self.firsts[group]?[user] = nil
                self.offsets[ChannelID(group: group)]?[user] = nil
                return
            }
            let response = try await client.ask(frame: JoinGroup(group: group).frame(identifier: 7))
            guard self.rules[group]?.isOpen == true || self.invited[group]?.contains(user) == true else {
                #expect(response.status == .notInvited)
                return
            }
            guard (self.members[group]?.count ?? 0) < self.quotas.groupMembers else {
                #expect(response.status == .groupFull)
                return
            }
            self.members[group]?.insert(user)
            self.invited[group]?.remove(user)
            let head = UInt64(self.logs[ChannelID(group: group)]?.count ?? 0)
            self.firsts[group, default: [:]][user] = self.rules[group]?.sharesHistory == true ? 1 : head + 1
            let state = try JoinGroup.answer(in: response)
            #expect(state.isMember && Int(state.memberCount) == self.members[group]?.count)
        }

        private mutating func invite(by client: TestClient, to group: GroupID) async throws {
            let user = try self.pick(self.clients).user
            _ = try await client.ask(InviteMember(group: group, user: user))
            guard self.rules[group]?.isOpen == false, self.members[group]?.contains(user) == false else { return }
            self.invited[group, default: []].insert(user)
        }

        private mutating func createGroup(_ client: TestClient) async throws {
            let rules = GroupRules(
                isOpen: Bool.random(using: &self.random), sharesHistory: Bool.random(using: &self.random))
            let name = try Name("g\(UInt64.random(in: .min ... .max, using: &self.random))")
            let request = CreateGroup(name: name, isOpen: rules.isOpen, sharesHistory: rules.sharesHistory)
            let response = try await client.ask(frame: request.frame(identifier: 7))
            guard self.created[client.user, default: 0] < self.quotas.groupsCreated else {
                #expect(response.status == .quotaExceeded)
                return
            }
            let state = try CreateGroup.answer(in: response)
            self.created[client.user, default: 0] += 1
            self.members[state.group] = [client.user]
            self.rules[state.group] = rules
            self.groupNames[state.group] = name
        }

        // MARK: The whole

        mutating func checkEverything() async throws {
            for client in self.clients {
                var states: [ChannelID: ChannelState] = [:]
                var cursor: UInt64 = 0
                repeat {
                    let page = try await client.ask(SyncIndex(cursor: cursor, limit: 2))
                    #expect(page.channels.count <= 2)
                    for state in page.channels { states[state.channel] = state }
                    cursor = page.next
                } while cursor != 0
                let own = self.logs.keys.filter { self.mayUse($0, client.user) }
                let groups = self.members.filter { $0.value.contains(client.user) }.keys.map { ChannelID(group: $0) }
                #expect(Set(states.keys) == Set(own).union(groups))
                for (channel, state) in states {
                    #expect(state.head.rawValue == UInt64(self.logs[channel]?.count ?? 0))
                    #expect(state.first.rawValue == self.first(channel, client.user))
                    let told = self.offsets[channel]?[client.user] ?? TernStore.Offsets()
                    #expect(state.read.rawValue == told.read && state.delivered.rawValue == told.delivered)
                    #expect(state == (try await client.ask(ReadChannelState(channel: channel))))
                }
            }
            for (group, users) in self.members {
                let user = self.clients[0].user
                let request = FindGroup(name: try #require(self.groupNames[group])).frame(identifier: 7)
                let response = try await self.clients[0].ask(frame: request)
                let isInvited = self.invited[group]?.contains(user) == true
                guard self.rules[group]?.isOpen == true || users.contains(user) || isInvited else {
                    #expect(response.status == .noSuchChannel)
                    continue
                }
                let state = try FindGroup.answer(in: response)
                #expect(state.isInvited == isInvited && state.isOpen == self.rules[group]?.isOpen)
                #expect(Int(state.memberCount) == users.count)
                #expect(state.isMember == users.contains(user))
            }
        }

        // MARK: Noise

        /// Bytes that are nearly right, of somebody who has no part in the model.
        mutating func disturb(_ eve: TestClient) async throws {
            let channel = ChannelID(direct: eve.user, eve.user)
            let cursor = UInt64.random(in: .min ... .max, using: &self.random)
            let frames = [
                History(channel: channel, from: .zero).frame(identifier: 1),
                TernMessages.Offsets(channel: channel).frame(identifier: 1),
                SyncIndex(cursor: cursor, limit: .max).frame(identifier: 1),
                UserNames(users: [eve.user]).frame(identifier: 1),
                ReadChannelState(channel: channel).frame(identifier: 1),
            ]
            var frame = try self.pick(frames)
            for _ in 0..<Int.random(in: 0...3, using: &self.random) where frame.body.readableBytes > 0 {
                let index = Int.random(in: 0..<frame.body.readableBytes, using: &self.random)
                let byte = UInt8.random(in: 0...255, using: &self.random)
                frame.body.setInteger(byte, at: frame.body.readerIndex + index)
            }
            if Bool.random(using: &self.random) {
                let count = Int.random(in: 0...frame.body.readableBytes, using: &self.random)
                frame.body = frame.body.getSlice(at: frame.body.readerIndex, length: count) ?? frame.body
            }
            let response = try await eve.ask(frame: frame)
            #expect(response.identifier == 1 && response.resource == frame.resource)
            // A message to herself, whose extensions or lengths are wrong; the stream says so, or waits for what never comes.
            var bytes = try eve.text("hello", to: PartyID(eve.user), id: .random(using: &self.random)).encoded()
            let index = Int.random(in: 16..<bytes.readableBytes, using: &self.random)
            bytes.setInteger(UInt8.random(in: 0...255, using: &self.random), at: index)
            let stream = try await eve.sender()
            try await stream.stream.finish(bytes)
            while let answer = try await stream.next() {
                #expect([MessageType.acknowledgement, .error].contains(answer.type))
            }
        }
    }
}
