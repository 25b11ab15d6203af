// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernMessages
import TernServer
import TernStore
import TernTesting

/// What only some runs have: sessions that give way, tokens that end, clocks that are set, clients that do not read.
extension MachineSessions {
    struct Trial {
        let connectionsPerUser: Int
        /// So long a session may be silent when its user needs the place.
        let patience = Duration.seconds(7)
        let hasTokens: Bool
        let stallsControl: Bool

        init(_ random: inout SeededRandom) {
            // As many as a user has devices: what vanished is in the way of those.
            self.connectionsPerUser = random.next() % 3 == 0 ? 2 : .max
            self.hasTokens = random.next() % 4 == 0
            self.stallsControl = random.next() % 4 == 0
        }
    }

    // MARK: Tokens

    /// Tokens are accepted so many seconds longer than they say.
    static var forgiven: Int64 { 60 }
    /// Later sessions have tokens without an end: then all is to come to rest.
    private static var lastToken: Moment { .seconds(8) }

    func time(_ now: Moment) -> ServerTime {
        ServerTime(wall: 1_000_000_000 + now.components.seconds + self.wallOffset, monotonic: self.base + now)
    }

    mutating func makeToken(_ now: Moment) -> (end: Moment, wall: Int64)? {
        guard self.trial.hasTokens, now < Self.lastToken else { return nil }
        let life = 2 + Int64(self.random.next() % 6)
        return (now + .seconds(life), self.time(now).wall + life)
    }

    package mutating func wallJumped(by seconds: Int64) { self.wallOffset += seconds }

    /// As the task does that ends a session with its token.
    mutating func checkToken(_ session: SessionNumber, _ now: Moment) -> [ServerEffect] {
        guard let entry = self.entries[session], let token = entry.token else { return [] }
        let time = self.time(now)
        let effects = self.apply(session, now) { $0.timeout(now: time) }
        let isOver = now >= token.end || time.wall >= token.wall
        if !effects.isEmpty, !isOver { self.fail("session \(session) ended before its token") }
        if effects.isEmpty, isOver, !entry.isClosing { self.fail("session \(session) goes on after its token") }
        guard let next = self.entries[session]?.state.nextDeadline(after: time) else { return effects }
        if next > self.base + token.end { self.fail("session \(session) is not looked at when its token ends") }
        self.steps.add(.token(session), at: max(next - self.base, now + .microseconds(1)))
        return effects
    }

    // MARK: Reading

    package func isControlFull(_ session: SessionNumber) -> Bool {
        self.entries[session]?.state.isControlFull == true
    }

    package mutating func heard(_ session: SessionNumber, now: Moment) { self.entries[session]?.lastHeard = now }

    // MARK: Receipts

    package mutating func receiptCame(
        _ receipt: TernMessages.Receipt, in channel: ChannelID, from session: SessionNumber, _ store: ModelStore
    ) -> Bool {
        guard var entry = self.entries[session] else { return false }
        defer { self.entries[session] = entry }
        let (told, key) = (TernStore.Offsets(told: receipt), ChannelKey(simulated: channel))
        guard case .compare(let known, let asked) = entry.receipts.came(told, in: key) else {
            let stored = store.offsets[entry.device]?[channel] ?? ModelStore.Offsets()
            let head = store.logs[channel]?.head ?? 0
            if !self.isTelling, min(told.read, head) > stored.read || min(told.delivered, head) > stored.delivered {
                self.fail("session \(session): \(told) in \(channel) is taken for known, and the store has \(stored)")
            }
            return false
        }
        let before = known ?? TernStore.Offsets(store.offsets[entry.device]?[channel])
        guard entry.receipts.found(before, told: told, in: key, asOf: asked) else { return false }
        entry.storing = (before, asked)
        return true
    }

    package mutating func receiptStored(
        _ receipt: TernMessages.Receipt, in channel: ChannelID, from session: SessionNumber, after: ModelStore.Offsets,
        _ store: ModelStore, now: Moment
    ) -> [ServerEffect] {
        guard var entry = self.entries[session], let (before, asked) = entry.storing else { return [] }
        entry.storing = nil
        let place = entry.receipts.stored(
            receipt, in: channel, from: entry.device.device, before: before, after: TernStore.Offsets(after),
            asOf: asked)
        self.entries[session] = entry
        // It waits until the session may cause so many copies.
        if let place { self.steps.add(.forward(session, place), at: now + self.pause() * 10) }
        return []
    }

    package mutating func receiptRefused(from session: SessionNumber) { self.entries[session]?.storing = nil }

    mutating func forward(
        _ session: SessionNumber, _ place: ReceiptState.Place, _ store: ModelStore, _ now: Moment
    ) {
        guard let receipt = self.entries[session]?.receipts.take(place) else { return }
        let channel = place.channel
        guard self.isMember(receipt.sender, of: channel, in: store) else { return }
        let others = self.audience(of: channel, at: receipt.sequence.rawValue, store).filter { $0.number != session }
        for other in others { self.steps.add(.tellReceipt(other.number, receipt, channel), at: now) }
    }

    // MARK: Typing

    package mutating func notify(
        _ notice: LiveNotice, in channel: ChannelID, from session: SessionNumber, _ store: ModelStore, now: Moment
    ) -> [ServerEffect] {
        guard let user = self.entries[session]?.device.user, self.isMember(user, of: channel, in: store) else {
            return []
        }
        return self.audience(of: channel, store).filter { $0.user != user }.map { .datagram($0.number, notice) }
    }

    /// Who hears of something in a channel.
    private mutating func audience(of channel: ChannelID, at sequence: UInt64 = .max, _ store: ModelStore) -> [Handle] {
        let handles = self.hub.sessions(in: ChannelKey(simulated: channel), at: sequence).sorted {
            $0.number < $1.number
        }
        // Of a commit that is being told, not everybody knows.
        for handle in handles where !self.isTelling && !store.isMember(handle.user, of: channel) {
            self.fail("session \(handle.number) hears of \(channel), in which \(handle.user) is not")
        }
        return handles
    }
}

extension TernStore.Offsets {
    init(_ offsets: ModelStore.Offsets?) {
        self.init(delivered: offsets?.delivered ?? 0, read: offsets?.read ?? 0)
    }
}
