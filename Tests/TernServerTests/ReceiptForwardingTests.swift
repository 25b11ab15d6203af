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
        let forwarding = ReceiptForwarding()
        let receipt = TernMessages.Receipt(
            kind: .read, sender: sender, receiver: PartyID(group), sequence: MessageSequence.zero.next)
        let asked = forwarding.now
        forwarding.offer(receipt, in: ChannelID(group: group), asOf: asked)
        forwarding.forget(.group(group.rawValue))
        forwarding.remember(TernStore.Offsets(delivered: 9, read: 9), in: .group(group.rawValue), asOf: asked)
        forwarding.offer(receipt, in: ChannelID(group: group), asOf: asked)
        #expect(forwarding.stored(in: .group(group.rawValue)) == nil)
        // Another channel has nothing to do with it, nor has what is asked from now on.
        forwarding.remember(TernStore.Offsets(delivered: 8, read: 8), in: .group(other.rawValue), asOf: asked)
        forwarding.offer(receipt, in: ChannelID(group: other), asOf: asked)
        #expect(forwarding.stored(in: .group(other.rawValue))?.read == 8)
        forwarding.remember(TernStore.Offsets(delivered: 1, read: 0), in: .group(group.rawValue), asOf: forwarding.now)
        #expect(forwarding.stored(in: .group(group.rawValue))?.delivered == 1)
        forwarding.finish()
        var forwarded: [ChannelID] = []
        await forwarding.run { _, channel in forwarded.append(channel) }
        #expect(forwarded == [ChannelID(group: other)])
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
