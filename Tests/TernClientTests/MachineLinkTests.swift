// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernMessages
import TernTransport
import Testing

@testable import TernClient

@Suite("The client's machine: connections, requests and receipts")
struct MachineLinkTests {
    // MARK: Connections

    @Test func theFirstReconnectIsAtOnceAndTheNextOnesAreNot() throws {
        var bench = Bench()
        try bench.open(index: [])
        bench.wait(.seconds(6))
        _ = bench.take()
        bench.lose()
        #expect(bench.connects == 1, "it lived: at once")
        var delays: [Duration] = []
        for _ in 0..<5 {
            // The server lets us in and throws us out.
            try bench.open()
            let lostAt = bench.now
            bench.lose()
            while bench.machine.link == nil { bench.wait(.milliseconds(10)) }
            delays.append(bench.now - lostAt)
        }
        #expect(delays == [100, 200, 400, 800, 1_600].map { .milliseconds($0) })
    }

    @Test func aConnectionThatWasOfUseStartsTheDelaysAnew() throws {
        var bench = Bench()
        try bench.open(index: [])
        bench.lose()
        bench.wait(.seconds(1))
        try bench.open(index: [])
        _ = bench.enqueue(1)
        let (stream, message) = try #require(bench.written.last)
        bench.acknowledge(message, on: stream, as: 1)
        _ = bench.take()
        bench.lose()
        #expect(bench.connects == 1)
    }

    // MARK: Connections that bring nothing back

    /// Tells what went over the connection of the moment, which was asked.
    private func measure(_ bench: inout Bench, _ carrier: Carrier = .quic, sent: UInt64, received: UInt64) {
        let link = bench.link
        let asked = bench.take().contains { if case .measure(link) = $0 { true } else { false } }
        #expect(asked)
        bench.tell { $0.measured(link, LinkVolume(carrier: carrier, sent: sent, received: received), now: $1) }
    }

    @Test func aFirstConnectionThatBringsNothingBackIsReplacedOnce() {
        var bench = Bench { $0.reconnecting.retriesFirstConnection = false }
        for isLast in [false, true] {
            let link = bench.link
            bench.tell { $0.carrierCameUp(link, now: $1) }
            self.measure(&bench, sent: 100, received: 100)
            bench.wait(.milliseconds(1_500))
            self.measure(&bench, sent: 200, received: 101)
            bench.wait(.milliseconds(1_500))
            #expect(bench.link == link, "something came")
            self.measure(&bench, sent: 300, received: 101)
            #expect(bench.closed.map(\.0) == [link])
            #expect(bench.hasEnded == isLast)
            #expect(isLast || bench.link != link)
        }
    }

    /// The server has the token, and its answer is lost: nothing would be sent any more.
    @Test func whereNothingIsSentAPingAsksWhetherTheServerIsThere() {
        var bench = Bench { $0.reconnecting.retriesFirstConnection = false }
        let link = bench.link
        bench.tell { $0.carrierCameUp(link, now: $1) }
        self.measure(&bench, sent: 200, received: 100)
        bench.wait(.milliseconds(1_500))
        self.measure(&bench, sent: 200, received: 100)
        #expect(bench.control.map(\.type) == [.ping])
        bench.wait(.milliseconds(1_500))
        self.measure(&bench, sent: 300, received: 100)
        #expect(bench.link != link)
    }

    @Test func requestsWithoutAnAnswerAreAskedAfterSoon() throws {
        var bench = Bench()
        try bench.open(index: [])
        _ = bench.take()
        bench.wait(.seconds(2))
        #expect(bench.control.isEmpty, "nothing is waited for")
        let link = bench.link
        bench.tell { $0.request(77, .findGroup, ByteBuffer(), now: $1) }
        bench.wait(.milliseconds(1_600))
        #expect(bench.control.map(\.type) == [.ping])
        bench.wait(.milliseconds(1_600))
        #expect(bench.link != link)
    }

    @Test func aServerThatTakesItsTimeIsWaitedFor() throws {
        var bench = Bench { $0.reconnecting.retriesFirstConnection = false }
        let link = bench.link
        bench.tell { $0.carrierCameUp(link, now: $1) }
        for _ in 0..<6 {
            // Over QUIC everything is acknowledged; over TCP that is not seen.
            self.measure(&bench, sent: 200, received: 100)
            bench.wait(.milliseconds(1_500))
        }
        #expect(bench.closed.isEmpty)
        let answer = try Bench.answer()
        bench.tell { $0.authenticated(link, answer, over: .quic, now: $1) }
        _ = bench.take()
        bench.wait(.milliseconds(1_500))
        #expect(!bench.take().contains { if case .measure = $0 { true } else { false } }, "that is what pings are for")

        var slow = Bench()
        let second = slow.link
        slow.tell { $0.carrierCameUp(second, now: $1) }
        self.measure(&slow, .tls, sent: 100, received: 100)
        slow.wait(.milliseconds(1_500))
        self.measure(&slow, .tls, sent: 200, received: 100)
        #expect(slow.link == second)
    }

    @Test func anAuthenticationWithoutAnAnswerIsTriedOnceMore() {
        var bench = Bench { $0.reconnecting.retriesFirstConnection = false }
        for isLast in [false, true] {
            let link = bench.link
            bench.tell { $0.carrierCameUp(link, now: $1) }
            bench.wait(.seconds(10))
            #expect(bench.closed.map(\.0) == [link])
            #expect(bench.hasEnded == isLast)
            _ = bench.take()
        }
    }

    @Test func closingWhileItConnectsEndsAtOnce() throws {
        var bench = Bench()
        let link = bench.link
        _ = bench.take()
        bench.tell { $0.close(timeout: .seconds(10), now: $1) }
        #expect(bench.hasEnded)
        #expect(bench.closed.map(\.0) == [link])
        _ = bench.take()
        let answer = try Bench.answer()
        bench.tell { $0.carrierCameUp(link, now: $1) }
        #expect(bench.closed.map(\.0) == [link], "what comes after all is closed")
        _ = bench.take()
        bench.tell { $0.authenticated(link, answer, over: .quic, now: $1) }
        bench.wait(.seconds(60))
        #expect(bench.effects.isEmpty)
    }

    @Test func closingWhileItRestsEndsAtOnce() throws {
        var bench = Bench()
        bench.lose()
        bench.lose()
        _ = bench.take()
        bench.tell { $0.close(timeout: .seconds(10), now: $1) }
        #expect(bench.hasEnded)
        _ = bench.take()
        bench.wait(.seconds(60))
        #expect(bench.effects.isEmpty)
    }

    @Test func closingWaitsForWhatIsNotAcknowledged() throws {
        var bench = Bench()
        try bench.open(index: [])
        _ = bench.enqueue(1)
        bench.tell { $0.close(timeout: .seconds(10), now: $1) }
        #expect(!bench.hasEnded)
        let (stream, message) = try #require(bench.written.last)
        bench.acknowledge(message, on: stream, as: 1)
        #expect(bench.hasEnded)
    }

    @Test func factsOfAnOldLinkChangeNothing() throws {
        var bench = Bench()
        try bench.open(index: [])
        let old = bench.link
        bench.wait(.seconds(6))
        bench.lose()
        try bench.open(index: [try Bench.state(0)])
        _ = bench.take()
        let message = Bench.message(1, of: Bench.direct)
        bench.tell { $0.pushed(old, message, now: $1) }
        bench.tell { $0.controlArrived(old, GoOffline(retryAfter: 1).message, now: $1) }
        bench.tell { $0.linkEnded(old, TransportError(.idleTimeout, message: ""), now: $1) }
        #expect(bench.effects.isEmpty)
    }

    // MARK: Signs of life

    /// What comes from others is no reason to be silent: the server has to hear that we are there.
    @Test func whoOnlyListensSaysThatItIsThere() throws {
        var bench = Bench { $0.sendsDeliveredReceipts = false }
        try bench.open(index: [])
        _ = bench.take()
        let notice = LiveNotice(
            type: .typing, state: .on, sender: Bench.bob, receiver: PartyID(Bench.alice))
        var spokenAt = bench.now
        for _ in 1...30 {
            bench.wait(.seconds(1))
            let link = bench.link
            bench.tell { $0.noticed(link, notice, now: $1) }
            if bench.control.contains(where: { $0.type == .ping }) { spokenAt = bench.now }
            _ = bench.take()
            #expect(bench.now - spokenAt < .seconds(7))
        }
        #expect(bench.closed.isEmpty)
    }

    // MARK: Moving

    @Test func aDrainingServerIsLeftWhenWhatIsInFlightIsDone() throws {
        var bench = Bench { $0.messagesInFlight = 1 }
        try bench.open(index: [])
        _ = bench.enqueue(2)
        bench.control(GoOffline(retryAfter: 4_000).message)
        #expect(!bench.control.contains { $0.type == .goOffline }, "a message has no answer yet")
        let (stream, message) = try #require(bench.written.last)
        _ = bench.take()
        bench.acknowledge(message, on: stream, as: 1)
        #expect(bench.written.isEmpty, "nothing new begins")
        #expect(bench.control.last?.type == .goOffline)
        let leftAt = bench.now
        let link = bench.link
        bench.tell { $0.controlEnded(link, now: $1) }
        #expect(bench.closed.map(\.1) == [.none])
        #expect(bench.connects == 0, "not all come back at once")
        while bench.connects == 0 { bench.wait(.milliseconds(10)) }
        #expect(bench.now - leftAt <= .seconds(4) + .milliseconds(10))
        try bench.open()
        #expect(bench.written.map(\.message.sequence.rawValue) == [2])
    }

    /// The server dies in its drain, with a message in flight: that is no reason to come back before the time it gave.
    @Test func aLinkThatEndsWhileItMovesIsNotForgottenToBeADrain() throws {
        for seed in 1...20 as ClosedRange<UInt64> {
            var waits: [Duration] = []
            for isMoving in [true, false] {
                var bench = Bench()
                bench.machine.random = Jitter(seed: seed)
                try bench.open(index: [])
                if isMoving { _ = bench.enqueue(1) }
                bench.control(GoOffline(retryAfter: 60_000).message)
                let leftAt = bench.now
                _ = bench.take()
                bench.lose()
                while bench.connects == 0 { bench.wait(.milliseconds(100)) }
                waits.append(bench.now - leftAt)
            }
            #expect(waits[0] == waits[1])
        }
    }

    @Test func clientsComeBackAtDifferentTimes() throws {
        var backs: Set<Int> = []
        for seed in 1...20 as ClosedRange<UInt64> {
            var bench = Bench()
            bench.machine.random = Jitter(seed: seed)
            try bench.open(index: [])
            bench.control(GoOffline(retryAfter: 10_000).message)
            let (link, leftAt) = (bench.link, bench.now)
            _ = bench.take()
            bench.tell { $0.controlEnded(link, now: $1) }
            while bench.connects == 0 { bench.wait(.milliseconds(100)) }
            backs.insert(Int((bench.now - leftAt) / .seconds(1)))
        }
        #expect(backs.count > 5)
    }

    @Test func aServerThatDoesNotAnswerAGoodbyeIsLeftWithout() throws {
        var bench = Bench()
        try bench.open(index: [])
        bench.control(GoOffline(retryAfter: 100).message)
        _ = bench.take()
        bench.wait(.seconds(2))
        #expect(bench.closed.count == 1)
    }

    // MARK: Requests

    @Test func aCancelledRequestDisturbsNoOther() throws {
        var bench = Bench()
        let body = FindGroup(name: try Name("team")).encodedBody()
        for tag in 1...3 as ClosedRange<RequestTag> {
            bench.tell { $0.request(tag, .findGroup, body, now: $1) }
        }
        bench.tell { $0.cancelRequest(2, now: $1) }
        try bench.open(index: [])
        #expect(bench.requests(.findGroup).count == 2)
        bench.tell { $0.cancelRequest(1, now: $1) }
        #expect(bench.requests(.cancel).map(\.identifier) == bench.requests(.findGroup).prefix(1).map(\.identifier))
        let frame = try #require(bench.lastRequest(.findGroup))
        bench.refuse(frame, Failure(.noSuchChannel, ""))
        let completed = bench.effects.compactMap { if case .completeRequest(let tag, _) = $0 { tag } else { nil } }
        #expect(completed == [3])
    }

    @Test(arguments: [true, false])
    func aGroupThatARepeatedRequestMadeIsOurs(isMember: Bool) throws {
        var bench = Bench()
        try bench.open(index: [])
        let name = try Name("team")
        bench.tell { $0.request(1, .createGroup, CreateGroup(name: name).encodedBody(), now: $1) }
        bench.lose()
        bench.wait(.seconds(1))
        try bench.open(index: [])
        bench.refuse(try #require(bench.lastRequest(.createGroup)), Failure(.alreadyExists, "there is one"))
        let state = GroupState(group: GroupID(rawValue: 1 << 36)!, isMember: isMember, memberCount: 1, name: name)
        bench.respond(to: try #require(bench.lastRequest(.findGroup)), state)
        let results = bench.effects.compactMap { if case .completeRequest(1, let result) = $0 { result } else { nil } }
        #expect(results.count == 1)
        #expect(try results.first?.get().status == (isMember ? ErrorCode.none : .alreadyExists))
    }

    /// The server can't say for the moment whose group it is.
    @Test func whoseGroupItIsIsAskedAgain() throws {
        var bench = Bench()
        try bench.open(index: [])
        let name = try Name("team")
        bench.tell { $0.request(1, .createGroup, CreateGroup(name: name).encodedBody(), now: $1) }
        bench.lose()
        bench.wait(.seconds(1))
        try bench.open(index: [])
        bench.refuse(try #require(bench.lastRequest(.createGroup)), Failure(.alreadyExists, "there is one"))
        let asked = try #require(bench.lastRequest(.findGroup))
        _ = bench.take()
        bench.refuse(asked, Failure(.rateLimited, "", retryAfter: 1_000))
        #expect(bench.effects.isEmpty)
        bench.wait(.milliseconds(1_600))
        let state = GroupState(group: GroupID(rawValue: 1 << 36)!, isMember: true, memberCount: 1, name: name)
        bench.respond(to: try #require(bench.lastRequest(.findGroup)), state)
        let results = bench.effects.compactMap { if case .completeRequest(1, let result) = $0 { result } else { nil } }
        #expect(try results.first?.get().status == ErrorCode.none)
    }

    @Test func aGroupThatExistsAtTheFirstTimeExists() throws {
        var bench = Bench()
        try bench.open(index: [])
        let name = try Name("team")
        bench.tell { $0.request(1, .createGroup, CreateGroup(name: name).encodedBody(), now: $1) }
        bench.refuse(try #require(bench.lastRequest(.createGroup)), Failure(.alreadyExists, "there is one"))
        #expect(bench.requests(.findGroup).isEmpty)
    }

    @Test func aRequestWithoutAnAnswerIsAskedOnceMoreOnAnotherLink() throws {
        var bench = Bench()
        try bench.open(index: [])
        bench.tell { $0.request(1, .noOperation, ByteBuffer(), now: $1) }
        _ = bench.take()
        while bench.closed.isEmpty {
            bench.wait(.seconds(1))
            bench.control(Message(type: .pong))
        }
        bench.wait(.seconds(1))
        try bench.open(index: [])
        #expect(bench.requests(.noOperation).count == 1)
        _ = bench.take()
        for _ in 0..<11 {
            bench.wait(.seconds(1))
            bench.control(Message(type: .pong))
        }
        #expect(bench.closed.isEmpty, "the connection is not the reason")
        let errors = bench.effects.compactMap { effect -> ClientError? in
            if case .completeRequest(1, .failure(let error)) = effect { error } else { nil }
        }
        #expect(errors.map(\.code) == [.timedOut])
    }

    // MARK: Receipts

    /// Delivers one message of the direct channel.
    private func received(_ bench: inout Bench, _ sequence: UInt64) {
        bench.push(sequence)
        #expect(bench.takeSequences() == [sequence])
    }

    @Test func receiptsGoOnAfterEveryReconnect() throws {
        var bench = Bench()
        try bench.open(index: [try Bench.state(0)])
        for sequence in 1...4 as ClosedRange<UInt64> {
            self.received(&bench, sequence)
            bench.wait(.milliseconds(60))
            #expect(bench.receipts.last?.sequence.rawValue == sequence)
            let link = bench.link
            bench.tell { $0.controlWritten(link, now: $1) }
            bench.wait(.seconds(6))
            bench.lose()
            try bench.open(index: [try Bench.state(sequence)])
            _ = bench.take()
            bench.wait(.milliseconds(60))
            #expect(bench.receipts.last?.sequence.rawValue == sequence, "the last one is said again")
            let next = bench.link
            bench.tell { $0.controlWritten(next, now: $1) }
        }
    }

    @Test func aReceiptThatIsRefusedForGoodIsDropped() throws {
        var bench = Bench()
        try bench.open(index: [try Bench.state(0)])
        self.received(&bench, 1)
        bench.wait(.milliseconds(60))
        bench.effects = []
        let link = bench.link
        bench.tell { $0.controlWritten(link, now: $1) }
        bench.control(Failure(.notAMember, "", sequence: MessageSequence(rawValue: 1)!).message)
        bench.wait(.seconds(4))
        #expect(bench.closed.isEmpty)
        #expect(bench.receipts.isEmpty)
        #expect(!bench.machine.hasUnsentReceipts)
    }

    @Test func aReceiptThatIsRefusedForNowIsSaidAgainInItsTime() throws {
        var bench = Bench()
        try bench.open(index: [try Bench.state(0)])
        self.received(&bench, 1)
        bench.wait(.milliseconds(60))
        bench.effects = []
        let link = bench.link
        bench.tell { $0.controlWritten(link, now: $1) }
        bench.control(Failure(.rateLimited, "", sequence: MessageSequence(rawValue: 1)!, retryAfter: 2_000).message)
        bench.wait(.milliseconds(1_990))
        #expect(bench.closed.isEmpty)
        #expect(bench.receipts.isEmpty)
        bench.wait(.milliseconds(1_100))
        #expect(bench.receipts.map(\.sequence.rawValue) == [1])
    }

    /// The server says the sequence alone: it may have meant another channel.
    @Test func whoseReceiptWasRefusedIsAsked() throws {
        var bench = Bench()
        try bench.open(index: [try Bench.state(0), try Bench.state(0, of: Bench.group)])
        bench.push(1)
        bench.push(1, of: Bench.group)
        _ = bench.takeUpdates()
        bench.wait(.milliseconds(60))
        let link = bench.link
        bench.tell { $0.controlWritten(link, now: $1) }
        _ = bench.take()
        bench.control(Failure(.notAMember, "", sequence: MessageSequence(rawValue: 1)!).message)
        bench.wait(.milliseconds(60))
        let asked = bench.requests(.channelState)
        #expect(asked.count == 2)
        bench.respond(to: asked[0], try Bench.state(1))
        bench.refuse(asked[1], Failure(.notAMember, ""))
        bench.wait(.milliseconds(60))
        #expect(bench.receipts.map(\.receiver) == [PartyID(Bench.bob)])
        #expect(!bench.machine.hasUnsentReceipts)
    }

    @Test func marksOfAnOldLifeDoNotReachTheNewOne() throws {
        var bench = Bench()
        try bench.open(index: [try Bench.state(0)])
        for sequence in 1...5 as ClosedRange<UInt64> { bench.push(sequence) }
        #expect(bench.takeSequences().count == 5)
        bench.lose()
        _ = bench.take()
        bench.wait(.seconds(1))
        try bench.open()
        bench.wait(.milliseconds(200))
        #expect(bench.receipts.isEmpty, "the server may have another log now")
        let other = Epoch(rawValue: 6)
        try bench.answerIndex([try Bench.state(9, epoch: other)])
        bench.wait(.milliseconds(200))
        #expect(bench.receipts.isEmpty)
        // The application has not taken notice of the new life yet.
        let five = MessageSequence(rawValue: 5)!
        bench.tell { $0.markRead(Bench.direct, upTo: five, epoch: nil, now: $1) }
        bench.wait(.milliseconds(200))
        #expect(bench.receipts.isEmpty)
        bench.respond(to: try #require(bench.lastRequest(.history)), Bench.page([1], head: 9, more: true, epoch: other))
        #expect(bench.takeSequences() == [1])
        bench.wait(.milliseconds(200))
        #expect(bench.receipts.map(\.sequence.rawValue) == [1])
    }
}
