// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernMessages
import TernStore
import TernTransport
import TestTimeLimits
import Testing

@testable import TernServer

@Suite(.untilItHangs) struct ReceiptForwardingTests {
    private func receipt(
        _ kind: TernMessages.Receipt.Kind, _ sequence: UInt64, from client: TestClient, to receiver: PartyID
    ) -> Message {
        TernMessages.Receipt(
            kind: kind, sender: client.user, receiver: receiver,
            sequence: MessageSequence(rawValue: sequence) ?? .zero
        ).message
    }

    /// A member says the same again and again, or less: nobody else hears it twice.
    @Test func onlyWhatAdvancedIsForwarded() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            let bob = try await harness.client("bob")
            let toBob = PartyID(bob.user)
            for index in 1...10 { try await alice.send("\(index)", to: toBob) }
            for sequence: UInt64 in [10, 10, 1, 9, 10, 1 << 40, 5] {
                try await bob.control.write(self.receipt(.read, sequence, from: bob, to: PartyID(alice.user)))
            }
            // Read includes delivered: that is no news either.
            try await bob.control.write(self.receipt(.delivered, 7, from: bob, to: PartyID(alice.user)))
            try await bob.control.write(Message(type: .ping))
            #expect(try await bob.control.message().type == .pong)
            try await alice.send("11", to: toBob)
            try await bob.control.write(self.receipt(.read, 11, from: bob, to: PartyID(alice.user)))
            var heard: [UInt64] = []
            while heard.last != 11 {
                let receipt = try TernMessages.Receipt(try await alice.control.message())
                #expect(receipt.kind == .read)
                heard.append(receipt.sequence.rawValue)
            }
            // They may be merged, but never go back, and never repeat.
            #expect(heard == [10, 11] || heard == [11])
        }
    }

    /// The store answers a question of a membership that is over: what is learned is not kept, and goes nowhere.
    @Test func whatWasAskedBeforeALeaveIsNotKnownAfterIt() async throws {
        let group = try #require(GroupID(rawValue: 1 << 36))
        let other = try #require(GroupID(rawValue: 1 << 36 + 1))
        let sender = try #require(UserID(rawValue: 1))
        let phone = try #require(DeviceID(rawValue: 1))
        let receipt = TernMessages.Receipt(
            kind: .read, sender: sender, receiver: PartyID(group), sequence: MessageSequence.zero.next)
        let told = Offsets(told: receipt)
        var state = ReceiptState()
        func moment(_ channel: ChannelKey) throws -> ReceiptState.Moment {
            guard case .compare(nil, let moment) = state.came(told, in: channel) else {
                throw Failure(.internal, "known")
            }
            return moment
        }
        func store(_ read: UInt64, in group: GroupID, asOf moment: ReceiptState.Moment) -> ReceiptState.Place? {
            state.stored(
                receipt, in: ChannelID(group: group), from: phone, before: Offsets(delivered: 0, read: 0),
                after: Offsets(delivered: read, read: read), asOf: moment)
        }
        func take(_ place: ReceiptState.Place) -> TernMessages.Receipt? { state.take(place) }
        let asked = try moment(.group(group.rawValue))
        let place = try #require(store(1, in: group, asOf: asked))
        state.forget(.group(group.rawValue))
        #expect(take(place) == nil)
        #expect(store(9, in: group, asOf: asked) == nil)
        let isMore = state.found(Offsets(delivered: 9, read: 9), told: told, in: .group(group.rawValue), asOf: asked)
        #expect(!isMore)
        let later = try moment(.group(group.rawValue))
        // Another channel has nothing to do with it, nor has what is asked from now on.
        let elsewhere = try #require(store(8, in: other, asOf: asked))
        #expect(state.came(Offsets(delivered: 8, read: 8), in: .group(other.rawValue)) == .nothing)
        #expect(take(elsewhere)?.sequence.rawValue == 8)
        #expect(store(1, in: group, asOf: later) == place)
        #expect(state.came(told, in: .group(group.rawValue)) == .nothing)
        #expect(take(place)?.senderDevice == phone)
        #expect(state.isIdle)
    }

    /// With more copies than the rate allows, what waits becomes one, and the last one comes.
    @Test func receiptsWaitForTheirTurnAndBecomeOne() async throws {
        try await Harness.run(configure: { $0.fanOutRate = RateLimit(rate: 100, burst: 1) }) { harness in
            let alice = try await harness.client("alice")
            let bob = try await harness.client("bob")
            let total: UInt64 = 50
            for index in 1...total { try await alice.send("\(index)", to: PartyID(bob.user)) }
            for sequence in 1...total {
                try await bob.control.write(self.receipt(.read, sequence, from: bob, to: PartyID(alice.user)))
            }
            var heard: [UInt64] = []
            while heard.last != total {
                heard.append(try TernMessages.Receipt(try await alice.control.message()).sequence.rawValue)
            }
            #expect(heard == heard.sorted())
            #expect(Set(heard).count == heard.count)
        }
    }

    /// A receipt waits until its sender may cause so many copies; meanwhile one of the members leaves.
    @Test func whoeverLeavesHearsNoReceiptThatWaited() async throws {
        try await Harness.run(configure: { $0.fanOutRate = RateLimit(rate: 1, burst: 1) }) { harness in
            let alice = try await harness.client("alice")
            let (bob, carol) = (try await harness.client("bob"), try await harness.client("carol"))
            let group = try await alice.ask(CreateGroup(name: try Name("team"), isOpen: true)).group
            for other in [bob, carol] { _ = try await other.ask(JoinGroup(group: group)) }
            for text in ["1", "2"] { try await alice.send(text, to: PartyID(group)) }
            // Two copies, which leave a debt.
            try await bob.control.write(self.receipt(.read, 1, from: bob, to: PartyID(group)))
            #expect(try TernMessages.Receipt(try await carol.control.message()).sequence.rawValue == 1)
            try await bob.control.write(self.receipt(.read, 2, from: bob, to: PartyID(group)))
            try await bob.control.write(Message(type: .ping))
            #expect(try await bob.control.message().type == .pong)
            _ = try await carol.ask(LeaveGroup(group: group))
            while try TernMessages.Receipt(try await alice.control.message()).sequence.rawValue != 2 {}
            try await carol.control.write(Message(type: .ping))
            #expect(try await carol.control.message().type == .pong)
        }
    }

    /// A message to many counts as several against the rate of its sender.
    @Test func aMessageWeighsWhatItsDeliveryCosts() async throws {
        try await Harness.run(configure: {
            $0.messageRate = RateLimit(rate: 0.000_1, burst: 10)
            $0.deliveriesPerMessage = 1
        }) { harness in
            let alice = try await harness.client("alice")
            let group = try await alice.ask(CreateGroup(name: try Name("team"), isOpen: true)).group
            let others = [try await harness.client("bob"), try await harness.client("carol")]
            for other in others { _ = try await other.ask(JoinGroup(group: group)) }
            // One for the group; each message is one, and three for those who hear it.
            for text in ["1", "2"] { try await alice.send(text, to: PartyID(group)) }
            let refused = await #expect(throws: Failure.self) { try await alice.send("3", to: PartyID(group)) }
            #expect(refused?.code == .rateLimited)
            #expect(refused?.retryAfter ?? 0 > 0)
            for other in others { await other.close() }
        }
    }
}
