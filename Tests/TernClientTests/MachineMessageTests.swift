// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernMessages
import TernTransport
import Testing

@testable import TernClient

@Suite("The client's machine: messages")
struct MachineMessageTests {
    // MARK: From now on

    @Test func whatTheIndexHasIsOldAndTheRestIsNew() throws {
        var bench = Bench()
        try bench.open(index: [try Bench.state(5)])
        bench.push(6)
        #expect(bench.takeSequences() == [6])
    }

    /// Index head 1, while away.
    @Test func aConversationThatBeganWhileAwayIsDeliveredWhole() throws {
        var bench = Bench()
        try bench.open(index: [])
        bench.lose()
        bench.wait(.seconds(1))
        try bench.open(index: [try Bench.state(1)])
        bench.respond(to: try #require(bench.lastRequest(.history)), Bench.page([1], head: 1))
        #expect(bench.takeSequences() == [1])
    }

    /// A notice with head 1.
    @Test func aConversationThatIsAnnouncedIsDeliveredWhole() throws {
        var bench = Bench()
        try bench.open(index: [])
        let notice = InboxNotice(
            to: Bench.alice, channel: Bench.direct, head: MessageSequence(rawValue: 1)!, epoch: Bench.epoch,
            mustPull: true)
        bench.control(try #require(notice).message)
        bench.respond(to: try #require(bench.lastRequest(.history)), Bench.page([1], head: 1))
        #expect(bench.takeSequences() == [1])
    }

    /// Both write first: ours is the second message, and is acknowledged before the first one is pushed.
    @Test func whoWasFirstIsDeliveredFirst() throws {
        var bench = Bench()
        try bench.open(index: [])
        _ = bench.enqueue(1)
        let (stream, message) = try #require(bench.written.last)
        bench.acknowledge(message, on: stream, as: 2)
        #expect(bench.takeSequences().isEmpty)
        bench.push(1)
        #expect(bench.takeSequences() == [1, 2])
    }

    @Test func pushesBeforeTheIndexAreNotPassedByIt() throws {
        var bench = Bench()
        try bench.open()
        bench.push(7)
        #expect(bench.takeSequences().isEmpty, "where to begin is not known")
        try bench.answerIndex([try Bench.state(8)])
        bench.respond(to: try #require(bench.lastRequest(.history)), Bench.page([7, 8], head: 8))
        #expect(bench.takeSequences() == [7, 8])
    }

    @Test func aPushThatIsBehindTheIndexIsOld() throws {
        var bench = Bench()
        try bench.open(index: [try Bench.state(8)])
        bench.push(8)
        bench.push(9)
        #expect(bench.takeSequences() == [9])
    }

    /// More receivers than streams: whoever waits for one gets it as soon as one has nothing to do.
    @Test func manyReceiversShareTheStreamsWithoutWaiting() throws {
        var bench = Bench(receives: nil)
        try bench.open()
        for number: UInt64 in 1...1000 { _ = bench.enqueue(1, to: PartyID(UserID(rawValue: number + 10)!)) }
        #expect(bench.written.count == 64)
        var answered = 0
        while true {
            let written = bench.written
            _ = bench.take()
            guard !written.isEmpty else { break }
            for (stream, message) in written {
                answered += 1
                bench.acknowledge(message, on: stream, as: 1)
            }
        }
        #expect(answered == 1000, "no time passed")
    }

    /// Nobody asks again and again for a stream that is not there.
    @Test func whoWaitsForAStreamSleeps() throws {
        var bench = Bench(receives: nil)
        try bench.open()
        for number: UInt64 in 1...1000 { _ = bench.enqueue(1, to: PartyID(UserID(rawValue: number + 10)!)) }
        let link = bench.link
        var refused = 0
        // A full disk, for everybody.
        while true {
            let written = bench.written
            _ = bench.take()
            guard !written.isEmpty else { break }
            for (stream, message) in written {
                refused += 1
                let failure = Failure(
                    .storageFull, "full", sequence: message.sequence, id: message.id, retryAfter: 10_000)
                bench.tell { $0.answered(link, stream, failure.message, now: $1) }
            }
        }
        #expect(refused == 1000, "a receiver that has to wait gives its stream away")
        let end = bench.now + .seconds(1)
        var calls = 0
        while let next = bench.machine.nextDeadline, next <= end {
            bench.now = max(bench.now, next)
            bench.tell { $0.timeout(now: $1) }
            calls += 1
        }
        #expect(calls < 20)
    }

    /// The state is asked for after the join, and tells of what is still being pushed.
    @Test func aGroupBeginsWhereWeJoined() throws {
        var bench = Bench()
        try bench.open(index: [])
        let group = GroupID(rawValue: 1 << 36)!
        bench.tell { $0.request(1, .joinGroup, JoinGroup(group: group).encodedBody(), now: $1) }
        let state = GroupState(group: group, isMember: true, memberCount: 2, name: try Name("team"))
        bench.respond(to: try #require(bench.lastRequest(.joinGroup)), state)
        let asked = try #require(bench.lastRequest(.channelState))
        bench.respond(to: asked, try Bench.state(42, of: Bench.group, since: 41))
        bench.push(41, of: Bench.group)
        bench.push(42, of: Bench.group)
        bench.push(43, of: Bench.group)
        #expect(bench.takeSequences(of: Bench.group) == [41, 42, 43])
    }

    /// Which groups are old, the index says: a join waits for it, so that one of long ago is told from one of now.
    @Test(arguments: [true, false])
    func aGroupIsJoinedWhenTheIndexIsRead(isOld: Bool) throws {
        var bench = Bench()
        try bench.open()
        let index = try #require(bench.lastRequest(.syncIndex))
        let group = GroupID(rawValue: 1 << 36)!
        bench.tell { $0.request(1, .joinGroup, JoinGroup(group: group).encodedBody(), now: $1) }
        #expect(bench.lastRequest(.joinGroup) == nil)
        let known = try Bench.state(42, of: Bench.group, since: isOld ? 1 : 41)
        bench.respond(to: index, SyncIndex.Answer(next: 0, channels: isOld ? [known] : []))
        let state = GroupState(group: group, isMember: true, memberCount: 2, name: try Name("team"))
        bench.respond(to: try #require(bench.lastRequest(.joinGroup)), state)
        bench.respond(to: try #require(bench.lastRequest(.channelState)), known)
        for sequence: UInt64 in (isOld ? 43 : 41)...43 { bench.push(sequence, of: Bench.group) }
        #expect(bench.takeSequences(of: Bench.group) == (isOld ? [43] : [41, 42, 43]))
    }

    /// Where the server does not say when we joined.
    @Test(arguments: [true, false])
    func aGroupWithoutABeginning(isJoinedHere: Bool) throws {
        var bench = Bench()
        try bench.open(index: [])
        if isJoinedHere {
            let group = GroupID(rawValue: 1 << 36)!
            bench.tell { $0.request(1, .joinGroup, JoinGroup(group: group).encodedBody(), now: $1) }
            let state = GroupState(group: group, isMember: true, memberCount: 2, name: try Name("team"))
            bench.respond(to: try #require(bench.lastRequest(.joinGroup)), state)
        } else {
            bench.push(43, of: Bench.group)
        }
        bench.respond(to: try #require(bench.lastRequest(.channelState)), try Bench.state(42, of: Bench.group))
        if isJoinedHere {
            bench.push(43, of: Bench.group)
            #expect(bench.takeSequences(of: Bench.group) == [43])
        } else {
            var body = try #require(bench.lastRequest(.history)).body
            #expect(try History(decoding: &body).from.rawValue == 1)
        }
    }

    /// Nothing is known of the group yet, and nothing may be pushed of it for long.
    @Test func theStateOfANewGroupThatIsRefusedForNowIsAskedForAgain() throws {
        var bench = Bench(receives: .sequence(1))
        try bench.open(index: [])
        let group = GroupID(rawValue: 1 << 36)!
        bench.tell { $0.request(1, .joinGroup, JoinGroup(group: group).encodedBody(), now: $1) }
        let state = GroupState(group: group, isMember: true, memberCount: 2, name: try Name("team"))
        bench.respond(to: try #require(bench.lastRequest(.joinGroup)), state)
        let asked = try #require(bench.lastRequest(.channelState))
        _ = bench.take()
        bench.refuse(asked, Failure(.rateLimited, "", retryAfter: 300))
        bench.wait(.seconds(1))
        bench.respond(to: try #require(bench.lastRequest(.channelState)), try Bench.state(2, of: Bench.group, since: 3))
        var body = try #require(bench.lastRequest(.history)).body
        #expect(try History(decoding: &body).from.rawValue == 1)
    }

    @Test func theStateOfAnOldLinkIsNotApplied() throws {
        var bench = Bench()
        try bench.open(index: [])
        let group = GroupID(rawValue: 1 << 36)!
        bench.tell { $0.request(1, .joinGroup, JoinGroup(group: group).encodedBody(), now: $1) }
        let state = GroupState(group: group, isMember: true, memberCount: 2, name: try Name("team"))
        bench.respond(to: try #require(bench.lastRequest(.joinGroup)), state)
        let (asked, old) = (try #require(bench.lastRequest(.channelState)), bench.link)
        bench.lose()
        bench.wait(.seconds(1))
        try bench.open()
        let late = try Bench.state(99, of: Bench.group).encodedBody()
        bench.tell {
            $0.responded(
                old, RequestFrame(identifier: asked.identifier, resource: .channelState, body: late), now: $1)
        }
        try bench.answerIndex([try Bench.state(3, of: Bench.group, since: 3)])
        bench.push(3, of: Bench.group)
        #expect(bench.takeSequences(of: Bench.group) == [3])
    }

    // MARK: Pages

    @Test func aPageThatIsRefusedForNowIsAskedForInItsTime() throws {
        var bench = Bench(receives: .sequence(1))
        try bench.open(index: [try Bench.state(2)])
        let first = try #require(bench.lastRequest(.history))
        _ = bench.take()
        bench.refuse(first, Failure(.rateLimited, "", retryAfter: 3_000))
        bench.wait(.milliseconds(2_990))
        #expect(bench.requests(.history).isEmpty)
        bench.wait(.milliseconds(1_600))
        bench.respond(to: try #require(bench.lastRequest(.history)), Bench.page([1, 2], head: 2))
        #expect(bench.takeSequences() == [1, 2])
    }

    @Test func aPageThatIsRefusedForGoodWaitsForNews() throws {
        var bench = Bench(receives: .sequence(1))
        try bench.open(index: [try Bench.state(2)])
        let first = try #require(bench.lastRequest(.history))
        _ = bench.take()
        bench.refuse(first, Failure(.notAMember, ""))
        bench.wait(.seconds(4))
        #expect(bench.requests(.history).isEmpty)
        bench.push(3)
        bench.wait(.milliseconds(60))
        #expect(bench.requests(.history).count == 1)
    }

    /// The page was made before the server stopped to push: it has to hear that we are at the end.
    @Test func aPageFromBeforeAPullNoticeDoesNotEndThePull() throws {
        var bench = Bench(receives: .sequence(1))
        try bench.open(index: [try Bench.state(2)])
        let before = try #require(bench.lastRequest(.history))
        let notice = InboxNotice(
            to: Bench.alice, channel: Bench.direct, head: MessageSequence(rawValue: 2)!, epoch: Bench.epoch,
            mustPull: true)
        bench.control(try #require(notice).message)
        _ = bench.take()
        bench.respond(to: before, Bench.page([1, 2], head: 2))
        bench.wait(.seconds(1))
        let again = try #require(bench.lastRequest(.history))
        _ = bench.take()
        bench.respond(to: again, Bench.page([], head: 2))
        bench.wait(.seconds(4))
        #expect(bench.requests(.history).isEmpty)
    }

    @Test func aHoleIsAskedForOnceMoreAndThenTold() throws {
        var bench = Bench(receives: .sequence(1))
        try bench.open(index: [try Bench.state(5)])
        let first = try #require(bench.lastRequest(.history))
        _ = bench.take()
        bench.respond(to: first, Bench.page([4, 5], head: 5))
        #expect(bench.requests(.history).isEmpty, "not without a pause")
        #expect(bench.takeSequences().isEmpty)
        bench.wait(.milliseconds(200))
        let second = try #require(bench.lastRequest(.history))
        _ = bench.take()
        bench.respond(to: second, Bench.page([4, 5], head: 5))
        let updates = bench.takeUpdates()
        let missing = updates.compactMap { update -> ClosedRange<MessageSequence>? in
            if case .messagesMissing(Bench.direct, Bench.epoch, let range) = update { range } else { nil }
        }
        #expect(missing.map { $0.lowerBound.rawValue...$0.upperBound.rawValue } == [1...3])
        let sequences = updates.compactMap {
            if case .message(let message) = $0 { message.sequence.rawValue } else { nil }
        }
        #expect(sequences == [4, 5])
        bench.wait(.seconds(4))
        #expect(bench.requests(.history).isEmpty)
    }

    /// A head that no page confirms.
    @Test func aPromiseThatIsNotKeptIsNotAskedForWithoutEnd() throws {
        var bench = Bench(receives: .sequence(1))
        try bench.open(index: [try Bench.state(5)])
        var asked = 0
        for _ in 0..<200 {
            if let frame = bench.lastRequest(.history) {
                asked += 1
                _ = bench.take()
                bench.respond(to: frame, Bench.page([], head: 0))
            }
            bench.wait(.milliseconds(100))
            bench.control(Message(type: .pong))
        }
        #expect(asked < 8)
    }

    @Test func aGapThatPushesFillIsNotAskedFor() throws {
        var bench = Bench()
        try bench.open(index: [try Bench.state(0)])
        bench.push(2)
        bench.wait(.milliseconds(20))
        bench.push(1)
        bench.wait(.seconds(1))
        #expect(bench.requests(.history).isEmpty)
        #expect(bench.takeSequences() == [1, 2])
    }

    // MARK: Sending

    @Test func whoWaitsForRoomCanGiveUp() throws {
        var bench = Bench { $0.outboxCapacity = 1 }
        try bench.open(index: [])
        let ids = bench.enqueue(3)
        let isTakenBack = [bench.cancelEnqueue(ids[0]), bench.cancelEnqueue(ids[1])]
        #expect(isTakenBack == [false, true], "the first one has its place")
        let (stream, message) = try #require(bench.written.last)
        _ = bench.take()
        bench.acknowledge(message, on: stream, as: 1)
        let accepted = bench.effects.compactMap { if case .accepted(let id) = $0 { id } else { nil } }
        #expect(accepted == [ids[2]])
    }

    @Test func whatIsRefusedForNowWaitsWithEverythingBehindIt() throws {
        var bench = Bench()
        try bench.open(index: [])
        let ids = bench.enqueue(3)
        let written = bench.written
        let (link, stream) = (bench.link, written[0].stream)
        _ = bench.take()
        bench.tell {
            $0.answered(link, stream, Failure(.rateLimited, "", id: ids[0], retryAfter: 2_000).message, now: $1)
        }
        bench.acknowledge(written[1].message, on: stream, as: 1)
        bench.acknowledge(written[2].message, on: stream, as: 2)
        _ = bench.enqueue(1)
        bench.wait(.milliseconds(1_990))
        #expect(bench.written.isEmpty)
        bench.wait(.milliseconds(1_100))
        #expect(bench.written.first?.message.id == ids[0])
        #expect(!bench.written.contains { $0.message.id == ids[1] || $0.message.id == ids[2] }, "nothing twice")
    }

    @Test func aRetryAfterOutlivesItsConnection() throws {
        var bench = Bench()
        try bench.open(index: [])
        let ids = bench.enqueue(1)
        let (link, stream) = (bench.link, try #require(bench.written.last).stream)
        bench.tell {
            $0.answered(link, stream, Failure(.rateLimited, "", id: ids[0], retryAfter: 3_000).message, now: $1)
        }
        bench.lose()
        _ = bench.take()
        bench.wait(.milliseconds(200))
        try bench.open(index: [])
        bench.wait(.milliseconds(2_700))
        #expect(bench.written.isEmpty)
        bench.wait(.milliseconds(1_700))
        #expect(bench.written.map(\.message.id) == ids)
    }

    @Test func aStreamThatEndsIsReplacedALittleLater() throws {
        var bench = Bench()
        try bench.open(index: [])
        let ids = bench.enqueue(2)
        let (link, stream) = (bench.link, try #require(bench.written.last).stream)
        _ = bench.take()
        bench.tell { $0.sendStreamEnded(link, stream, now: $1) }
        #expect(bench.written.isEmpty)
        bench.wait(.milliseconds(200))
        #expect(bench.closed.isEmpty)
        #expect(bench.written.map(\.message.id) == ids)
        #expect(bench.written.last?.stream != stream)
    }

    @Test func streamsAreFewHoweverManyReceivers() throws {
        var bench = Bench(receives: nil)
        try bench.open()
        var open: Set<StreamNumber> = []
        for number in 1...200 as ClosedRange<UInt64> {
            _ = bench.take()
            _ = bench.enqueue(1, to: PartyID(UserID(rawValue: 10 + number)!))
            for effect in bench.effects {
                if case .openSendStream(_, let stream) = effect { open.insert(stream) }
                if case .finishSendStream(_, let stream) = effect { open.remove(stream) }
            }
            #expect(open.count <= 64)
            let (stream, message) = try #require(bench.written.last)
            bench.acknowledge(message, on: stream, as: 1)
        }
        #expect(bench.machine.unacknowledgedCount == 0)
    }

    // MARK: Updates that nobody takes

    @Test func theStoryOfTheConnectionDoesNotPileUp() throws {
        var bench = Bench(receives: nil)
        for _ in 0..<500 {
            try bench.open()
            bench.lose()
            bench.wait(.seconds(6))
        }
        #expect(bench.machine.waitingUpdateCount <= 64)
        let last = bench.takeUpdates().last
        #expect({ if case .disconnected = last { true } else { false } }())
    }

    @Test func receiptsNoticesAndOwnMessagesDoNotPileUp() throws {
        var bench = Bench { $0.updateCapacity = 16 }
        try bench.open(index: [try Bench.state(0)])
        let link = bench.link
        for sequence in 1...500 as ClosedRange<UInt64> {
            bench.control(
                Receipt(
                    kind: .read, sender: Bench.bob, senderDevice: DeviceID(rawValue: 1), receiver: PartyID(Bench.alice),
                    sequence: MessageSequence(rawValue: sequence)!
                ).message)
            let notice = LiveNotice(type: .typing, state: .on, sender: Bench.bob, receiver: PartyID(Bench.alice))
            bench.tell { $0.noticed(link, notice, now: $1) }
            _ = bench.take()
            _ = bench.enqueue(1)
            let (stream, message) = try #require(bench.written.last)
            bench.acknowledge(message, on: stream, as: sequence)
        }
        #expect(bench.machine.waitingUpdateCount <= 20)
        #expect(bench.closed.isEmpty)
        let updates = bench.takeUpdates()
        let receipts = updates.compactMap {
            if case .receipt(let receipt) = $0 { receipt.sequence.rawValue } else { nil }
        }
        #expect(receipts == [500], "the last one counts")
        // What was passed by is read when there is room.
        bench.wait(.milliseconds(100))
        #expect(bench.requests(.history).count == 1)
    }
}
