// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernMessages
import TernStore
import Testing

@testable import TernServer

/// What one session is told and owed, without a connection: the interleavings are the order of the calls.
@Suite struct SessionStateTests {
    private let me: UserID
    private let phone: DeviceID

    init() throws {
        self.me = try #require(UserID(rawValue: 1))
        self.phone = try #require(DeviceID(rawValue: 1))
    }

    private func state(bytes: Int = 10_000, streams: Int = 2) -> SessionState {
        SessionState(
            user: self.me, device: self.phone, limits: SessionState.Limits(queuedPushBytes: bytes, pushStreams: streams)
        )
    }

    /// From user `sender` in the direct channel of users 1 and `channel`.
    private func message(
        _ channel: UInt64, _ sequence: UInt64, bytes: Int = 100, epoch: UInt32 = 9, key: UInt64 = 0,
        sender: DeviceKey = DeviceKey(user: 1, device: 7), text: UInt8 = 0
    ) -> CommittedMessage {
        self.message(
            in: .direct(1, channel), sequence, bytes: bytes, epoch: epoch, key: key, sender: sender, text: text)
    }

    private func message(
        in channel: ChannelKey, _ sequence: UInt64, bytes: Int = 100, epoch: UInt32 = 9, key: UInt64 = 0,
        sender: DeviceKey = DeviceKey(user: 2, device: 1), text: UInt8 = 0
    ) -> CommittedMessage {
        let draft = Draft(
            channel: channel, sender: sender,
            key: IdempotencyKey(high: channel.high, low: key == 0 ? sequence : key), type: 32, clientTimestamp: 0,
            payload: ByteBuffer(repeating: text, count: bytes))
        let receipt = TernStore.Receipt(epoch: epoch, sequence: sequence, timestamp: 1, isDuplicate: false)
        return CommittedMessage(draft: draft, receipt: receipt)
    }

    private func start(_ effects: [SessionState.Effect]) -> FeedStart? {
        effects.compactMap { if case .open(let start) = $0 { start } else { nil } }.first
    }

    private func taken(_ state: inout SessionState, _ start: FeedStart) -> [UInt64]? {
        switch state.takeBatch(for: start) {
        case .messages(let messages): messages.map(\.sequence.rawValue)
        case .wait: []
        case .ended: nil
        }
    }

    private func told(_ state: inout SessionState) -> [Message] {
        if case .messages(let messages) = state.takeControl() { messages } else { [] }
    }

    private func notices(_ state: inout SessionState) throws -> [InboxNotice] {
        try self.told(&state).map { try InboxNotice($0) }
    }

    private func notice(
        _ channel: ChannelKey, _ head: UInt64, epoch: UInt64 = 9, mustPull: Bool = false
    ) throws -> InboxNotice {
        let head = try #require(MessageSequence(rawValue: head))
        let id = try #require(ChannelID(channel))
        let notice = InboxNotice(
            to: self.me, channel: id, head: head, epoch: Epoch(rawValue: epoch), mustPull: mustPull)
        return try #require(notice)
    }

    // MARK: Pushing

    @Test func aChannelGetsOneFeedAndKeepsItsOrder() throws {
        var state = self.state()
        let start = try #require(self.start(state.offer(self.message(2, 1))))
        #expect(self.start(state.offer(self.message(2, 2))) == nil)
        #expect(self.taken(&state, start) == [1, 2])
        #expect(self.taken(&state, start) == [])
        #expect(state.isWaiting(start))
        #expect(state.offer(self.message(2, 3)) == [.wake(start)])
        #expect(!state.isWaiting(start))
        // It was told once.
        #expect(state.offer(self.message(2, 4)) == [])
        #expect(self.taken(&state, start) == [3, 4])
    }

    @Test func theFullestChannelIsSwitchedToPullAndComesBack() throws {
        var state = self.state(bytes: 3000, streams: 4)
        let small = try #require(self.start(state.offer(self.message(3, 1))))
        let large = try #require(self.start(state.offer(self.message(2, 1, bytes: 1000))))
        #expect(state.offer(self.message(2, 2, bytes: 2000)) == [.wakeControl])
        #expect(self.taken(&state, small) == [1])
        #expect(self.taken(&state, large) == [])
        #expect(state.offer(self.message(2, 3)) == [])
        // It says how far the log reaches by now.
        #expect(try self.notices(&state) == [self.notice(.direct(1, 2), 3, mustPull: true)])
        // Read up to 2, but 3 came in the meantime: not yet.
        #expect(state.caughtUp(.direct(1, 2), to: 2) == 3)
        #expect(state.caughtUp(.direct(1, 2), to: 3) == nil)
        #expect(state.offer(self.message(2, 4)) == [.wake(large)])
        #expect(self.taken(&state, large) == [4])
        // A channel that is live has nothing to catch up.
        #expect(state.caughtUp(.direct(1, 3), to: 0) == nil)
    }

    /// X fills the queue, a message of Y passes the limit: X is switched, with X's epoch and head.
    @Test func aPullNoticeCarriesTheEpochOfItsOwnChannel() throws {
        var state = self.state(bytes: 3000, streams: 4)
        _ = state.offer(self.message(2, 41, bytes: 2000, epoch: 7))
        _ = state.offer(self.message(3, 1, bytes: 1000, epoch: 8))
        #expect(try self.notices(&state) == [self.notice(.direct(1, 2), 41, epoch: 7, mustPull: true)])
    }

    @Test func anIdleFeedMakesRoomAndABusyOneDoesNot() throws {
        var state = self.state(streams: 1)
        let first = try #require(self.start(state.offer(self.message(2, 1))))
        #expect(state.offer(self.message(3, 1)) == [.wakeControl])
        #expect(self.taken(&state, first) == [1])
        // Still being written.
        #expect(state.offer(self.message(4, 1)) == [.wakeControl])
        #expect(self.taken(&state, first) == [])
        let effects = state.offer(self.message(5, 1))
        let second = try #require(self.start(effects))
        // Whoever serves the first one ends it.
        #expect(effects == [.wake(first), .open(second)])
        #expect(self.taken(&state, first) == nil)
        #expect(self.taken(&state, second) == [1])
    }

    @Test func aFeedThatFailsLeavesItsChannelToPull() throws {
        var state = self.state(streams: 1)
        let start = try #require(self.start(state.offer(self.message(2, 1))))
        #expect(self.taken(&state, start) == [1])
        _ = state.offer(self.message(2, 2))
        #expect(state.feedFailed(start) == [.wakeControl])
        #expect(state.feedFailed(start) == [])
        #expect(try self.notices(&state) == [self.notice(.direct(1, 2), 2, mustPull: true)])
        #expect(self.taken(&state, start) == nil)
    }

    @Test func nothingIsTakenAfterTheStop() throws {
        var state = self.state(streams: 1)
        let start = try #require(self.start(state.offer(self.message(2, 1))))
        #expect(state.stopPushing() == [])
        #expect(self.taken(&state, start) == nil)
        #expect(state.offer(self.message(2, 2)) == [])
        #expect(state.holdsNothing)
    }

    @Test func whoServesAnEmptyFeedIsToldOfTheStop() throws {
        var state = self.state()
        let start = try #require(self.start(state.offer(self.message(2, 1))))
        #expect(self.taken(&state, start) == [1])
        #expect(self.taken(&state, start) == [])
        #expect(state.stopPushing() == [.wake(start)])
    }

    /// Nobody reads the streams: whoever serves one still waits for it when its channel is left, and joined again.
    @Test func aChannelThatComesAndGoesLeavesNoStreamsBehind() throws {
        let channel = ChannelKey.group(1 << 36)
        var state = self.state(streams: 2)
        var starts: [FeedStart] = []
        for round: UInt64 in 1...100 {
            _ = state.membershipChanged(channel, isMember: true)
            if let start = self.start(state.offer(self.message(in: channel, round))) { starts.append(start) }
            _ = state.membershipChanged(channel, isMember: false)
        }
        #expect(starts.count == 6)
        // Not pushed, and said so.
        _ = state.membershipChanged(channel, isMember: true)
        #expect(state.offer(self.message(in: channel, 101)) == [.wakeControl])
        #expect(try self.notices(&state) == [self.notice(channel, 101, mustPull: true)])
        // Each that ends, however it does, makes place for another one.
        #expect(self.taken(&state, starts[0]) == nil)
        #expect(state.feedFailed(starts[1]) == [])
        #expect(state.feedEnded(starts[2]) == [])
        #expect(state.caughtUp(channel, to: 101) == nil)
        for sequence: UInt64 in 102...104 {
            #expect(self.start(state.offer(self.message(in: channel, sequence))) != nil)
            _ = state.membershipChanged(channel, isMember: false)
        }
        #expect(self.start(state.offer(self.message(in: channel, 105))) == nil)
    }

    /// The stream is stopped while whoever serves it waits for the next message.
    @Test func whoServesAStreamThatFailsIsToldSo() throws {
        var state = self.state()
        let start = try #require(self.start(state.offer(self.message(2, 1))))
        #expect(self.taken(&state, start) == [1])
        #expect(self.taken(&state, start) == [])
        #expect(state.feedFailed(start) == [.wake(start), .wakeControl])
        #expect(try self.notices(&state) == [self.notice(.direct(1, 2), 1, mustPull: true)])
        #expect(self.taken(&state, start) == nil)
    }

    /// A page that somebody asked for, from wherever it began, says nothing of what was dropped before it.
    @Test func whatWasDroppedIsToldWhateverWasReadMeanwhile() throws {
        let channel = ChannelKey.direct(1, 2)
        var state = self.state(bytes: 1000)
        for sequence: UInt64 in 8...11 { _ = state.offer(self.message(2, sequence, bytes: 600)) }
        #expect(state.caughtUp(channel, to: 11) == nil)
        #expect(try self.notices(&state) == [self.notice(channel, 11)])
        // A notice of something else is not taken back by a page of a channel that is pushed.
        _ = state.tell(try self.notice(channel, 12), of: channel)
        #expect(state.caughtUp(channel, to: 12) == nil)
        #expect(try self.notices(&state) == [self.notice(channel, 12)])
    }

    // MARK: Own messages

    @Test func ownMessagesAreNotPushed() throws {
        var state = self.state()
        let own = self.message(2, 1, key: 77, sender: DeviceKey(user: 1, device: 1))
        state.beginSending([own.draft, own.draft])
        #expect(state.offer(own) == [])
        state.endSending([own.draft])
        #expect(state.offer(own) == [])
        state.endSending([own.draft])
        #expect(self.start(state.offer(self.message(2, 2))) != nil)
    }

    /// Ids are the senders' own: counters, for example.
    @Test func theSameIdOfSomebodyElseIsAnotherMessage() throws {
        var state = self.state()
        let channel = ChannelKey.group(1 << 36)
        let mine = self.message(in: channel, 1, key: 5, sender: DeviceKey(user: 1, device: 1))
        state.beginSending([mine.draft])
        // Another user, another device of the same user, another channel, another payload: none of them is what we send.
        let others = [
            self.message(in: channel, 2, key: 5, sender: DeviceKey(user: 2, device: 1)),
            self.message(in: channel, 3, key: 5, sender: DeviceKey(user: 1, device: 2)),
            self.message(in: channel, 4, key: 5, sender: DeviceKey(user: 1, device: 1), text: 1),
        ]
        let start = try #require(self.start(state.offer(others[0])))
        for other in others.dropFirst() { _ = state.offer(other) }
        #expect(state.offer(mine) == [])
        #expect(self.taken(&state, start) == [2, 3, 4])
        let elsewhere = self.message(in: .group(1 << 36 + 1), 1, key: 5, sender: DeviceKey(user: 1, device: 1))
        #expect(self.start(state.offer(elsewhere)) != nil)
    }

    // MARK: Memberships

    @Test func aNewMembershipBeginsPushed() throws {
        let channel = ChannelKey.group(1 << 36)
        var state = self.state(bytes: 1000)
        _ = state.offer(self.message(in: channel, 1, bytes: 2000))
        #expect(state.membershipChanged(channel, isMember: false) == [])
        #expect(state.membershipChanged(channel, isMember: true) == [])
        // Neither the notice of the old membership, nor its pull.
        #expect(self.told(&state).isEmpty)
        let start = try #require(self.start(state.offer(self.message(in: channel, 9))))
        guard case .messages(let pushed) = state.takeBatch(for: start) else {
            Issue.record("nothing is pushed")
            return
        }
        #expect(pushed.map(\.sequence.rawValue) == [9])
        #expect(pushed.first?.previousSequence == nil)
    }

    @Test func whatIsQueuedOfAChannelThatWasLeftIsNotPushed() throws {
        let channel = ChannelKey.group(1 << 36)
        var state = self.state()
        let start = try #require(self.start(state.offer(self.message(in: channel, 1))))
        #expect(self.taken(&state, start) == [1])
        #expect(self.taken(&state, start) == [])
        _ = state.offer(self.message(in: channel, 2))
        let other = try #require(self.start(state.offer(self.message(3, 1))))
        _ = state.tell(try self.notice(channel, 1), of: channel)
        let receipt = TernMessages.Receipt(
            kind: .read, sender: try #require(UserID(rawValue: 2)), receiver: try #require(PartyID(rawValue: 1 << 36)),
            sequence: .zero.next)
        _ = state.tell(receipt, in: try #require(ChannelID(channel)))
        #expect(state.membershipChanged(channel, isMember: false) == [])
        #expect(self.taken(&state, start) == nil)
        #expect(self.told(&state).isEmpty)
        #expect(self.taken(&state, other) == [1])
        #expect(state.holdsNothing)
        // Who waits for the next message learns that there is none.
        let again = try #require(self.start(state.offer(self.message(in: channel, 5))))
        #expect(self.taken(&state, again) == [5])
        #expect(self.taken(&state, again) == [])
        #expect(state.membershipChanged(channel, isMember: false) == [.wake(again)])
    }

    // MARK: Notices

    @Test func noticesOfAChannelMergeWhileTheyWait() throws {
        let channel = ChannelKey.direct(1, 2)
        var state = self.state()
        // That the client must pull is not taken back by a notice that says nothing of it.
        _ = state.tell(try self.notice(channel, 5, mustPull: true), of: channel)
        _ = state.tell(try self.notice(channel, 3), of: channel)
        #expect(try self.notices(&state) == [self.notice(channel, 5, mustPull: true)])
        _ = state.tell(try self.notice(channel, 3), of: channel)
        _ = state.tell(try self.notice(channel, 7, mustPull: true), of: channel)
        #expect(try self.notices(&state) == [self.notice(channel, 7, mustPull: true)])
        // Of two epochs the newer one, whichever way round they come.
        for order in [[0, 1], [1, 0]] {
            let two = [try self.notice(channel, 8, epoch: 9), try self.notice(channel, 9, epoch: 4)]
            for index in order { _ = state.tell(two[index], of: channel) }
            #expect(try self.notices(&state) == [two[1]])
        }
        _ = state.tell(try self.notice(channel, 8, epoch: 9), of: channel)
        _ = state.tell(try self.notice(channel, 8, epoch: 4), of: channel)
        #expect(try self.notices(&state) == [self.notice(channel, 8, epoch: 4)])
    }

    @Test func aNoticeSaysHowThingsAreWhenItIsWritten() throws {
        let channel = ChannelKey.direct(1, 2)
        var state = self.state(bytes: 1000)
        _ = state.offer(self.message(2, 1, bytes: 2000))
        #expect(try self.notices(&state) == [self.notice(channel, 1, mustPull: true)])
        _ = state.offer(self.message(2, 2, bytes: 2000))
        // A plain one, of a connection that read the head before.
        _ = state.tell(try self.notice(channel, 1), of: channel)
        #expect(try self.notices(&state) == [self.notice(channel, 2, mustPull: true)])
        // And what is no longer so is not said: only how far the log reaches.
        #expect(state.caughtUp(channel, to: 2) == nil)
        _ = state.offer(self.message(2, 3, bytes: 2000))
        #expect(state.caughtUp(channel, to: 3) == nil)
        #expect(try self.notices(&state) == [self.notice(channel, 3)])
    }

    @Test func aLowerReceiptOfASecondConnectionChangesNothing() throws {
        let channel = try #require(ChannelID(.direct(1, 2)))
        let other = try #require(UserID(rawValue: 2))
        var state = self.state()
        for (kind, sequence, device) in [
            (TernMessages.Receipt.Kind.read, 9, 1), (.read, 4, 1), (.delivered, 3, 1), (.read, 5, 2), (.read, 6, 2),
        ] as [(TernMessages.Receipt.Kind, UInt64, UInt32)] {
            var receipt = TernMessages.Receipt(
                kind: kind, sender: other, receiver: PartyID(self.me),
                sequence: try #require(MessageSequence(rawValue: sequence)))
            receipt.senderDevice = DeviceID(rawValue: device)
            _ = state.tell(receipt, in: channel)
        }
        #expect(try self.told(&state).map { try TernMessages.Receipt($0).sequence.rawValue } == [9, 3, 6])
        #expect(state.holdsNothing)
    }

    @Test func placesOfWhatWasForgottenAreGivenBack() throws {
        let channel = ChannelKey.group(1 << 36)
        var state = self.state()
        for _ in 0..<10_000 {
            _ = state.tell(try self.notice(channel, 1), of: channel)
            _ = state.membershipChanged(channel, isMember: false)
        }
        #expect(state.control.count < 1000)
        _ = state.send(Message(type: .pong))
        #expect(self.told(&state).map(\.type) == [.pong])
    }

    // MARK: The end

    @Test func goOfflineIsSaidOnce() throws {
        var state = self.state()
        #expect(state.drain(retryAfter: 5) == [.wakeControl])
        #expect(state.drain(retryAfter: 6) == [])
        #expect(try self.told(&state).map { try GoOffline($0).retryAfter } == [5])
    }

    @Test func theControlStreamEndsBehindWhatWaits() {
        var state = self.state()
        _ = state.send(Message(type: .pong))
        #expect(state.finishControl() == [.wakeControl])
        _ = state.send(Message(type: .pong))
        #expect(self.told(&state).count == 1)
        guard case .ended = state.takeControl() else {
            Issue.record("it goes on")
            return
        }
    }

    // MARK: Tokens

    @Test func aSessionEndsWithItsToken() {
        let start = ContinuousClock.now
        func time(_ seconds: Int64, wall: Int64? = nil) -> ServerTime {
            ServerTime(wall: wall ?? 1000 + seconds, monotonic: start + .seconds(seconds))
        }
        func session(_ expires: Int64) -> SessionState {
            SessionState(user: self.me, device: self.phone, token: TokenEnd(expires: expires, acceptedAt: time(0)))
        }
        // 60 s are forgiven, as at the login.
        var state = session(1003)
        #expect(state.timeout(now: time(62)) == [])
        #expect(state.timeout(now: time(63)) == [.close(.tokenExpired, reason: "the token expired")])
        #expect(state.timeout(now: time(64)) == [])
        #expect(state.nextDeadline(after: time(64)) == nil)
        #expect(session(1003).nextDeadline(after: time(0)) == start + .seconds(60))
        #expect(session(1003).nextDeadline(after: time(60)) == start + .seconds(63))
        // A clock that is set forward ends it with its next look, one that is set back makes it no longer.
        state = session(5000)
        #expect(state.timeout(now: time(60)) == [])
        #expect(state.timeout(now: time(120, wall: 5060)) == [.close(.tokenExpired, reason: "the token expired")])
        state = session(5000)
        #expect(state.timeout(now: time(4059, wall: 1)) == [])
        #expect(state.timeout(now: time(4060, wall: 1)).count == 1)
        // Whatever the numbers.
        for expires: Int64 in [.max, .max - 60, .max - 61] {
            state = session(expires)
            #expect(state.timeout(now: time(1 << 30)) == [])
            #expect(state.nextDeadline(after: time(5)) == start + .seconds(65))
        }
        #expect(session(.min).nextDeadline(after: time(0)) == start)
        #expect(SessionState(user: self.me, device: self.phone).nextDeadline(after: time(0)) == nil)
    }
}
