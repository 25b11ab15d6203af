// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernMessages
package import TernStore

/// The part of a server that knows who is connected, and what each of them is told and owed. What the store has is said by whoever
/// calls; facts in, effects out, as in ``SimulatedServer``.
package protocol ServerSessions {
    init(seed: UInt64)
    /// How much may be on its way to a client that does not read.
    var pushLimit: Int { get set }
    /// Sessions that are kept, let in or not.
    var numbers: [SessionNumber] { get }
    /// Whose session it is; `nil` unless it was let in and is there.
    func device(of session: SessionNumber) -> ModelStore.Device?
    /// Whether a connected user is in a channel, as far as the sessions know.
    func isMember(_ user: UserID, of channel: ChannelID, in store: ModelStore) -> Bool

    mutating func enter(
        _ session: SessionNumber, _ device: ModelStore.Device, _ answer: AuthenticationAnswer, now: Moment
    ) -> [ServerEffect]
    /// Its connection is over. Idempotent.
    mutating func leave(_ session: SessionNumber, now: Moment)
    /// The client said go-offline.
    mutating func clientLeaves(_ session: SessionNumber, now: Moment) -> [ServerEffect]
    mutating func drain(retryAfter milliseconds: UInt32, now: Moment) -> [ServerEffect]
    /// Everything is forgotten.
    mutating func restart()

    /// On the control stream.
    mutating func send(_ message: Message, to session: SessionNumber, now: Moment) -> [ServerEffect]
    /// Whether so much waits on the control stream that nothing is read from it for the moment.
    func isControlFull(_ session: SessionNumber) -> Bool
    /// Something came from the client.
    mutating func heard(_ session: SessionNumber, now: Moment)
    /// Typing, from whoever is in the channel.
    mutating func notify(
        _ notice: LiveNotice, in channel: ChannelID, from session: SessionNumber, _ store: ModelStore, now: Moment
    ) -> [ServerEffect]
    /// A receipt came.
    ///
    /// - Returns: whether it may be news for the store; then ``receiptStored(_:in:from:before:_:now:)`` follows, or
    ///   ``receiptRefused(from:)``.
    mutating func receiptCame(
        _ receipt: TernMessages.Receipt, in channel: ChannelID, from session: SessionNumber, _ store: ModelStore
    ) -> Bool
    mutating func receiptStored(
        _ receipt: TernMessages.Receipt, in channel: ChannelID, from session: SessionNumber, after: ModelStore.Offsets,
        _ store: ModelStore, now: Moment
    ) -> [ServerEffect]
    mutating func receiptRefused(from session: SessionNumber)
    /// A page of history was read.
    mutating func answer(
        _ frame: RequestFrame, _ page: History.Answer, of channel: ChannelID, to session: SessionNumber, now: Moment
    ) -> [ServerEffect]
    /// The client took a pushed message from its stream, and one of its streams may break with it.
    mutating func pushTaken(
        _ session: SessionNumber, breaks: Bool, _ store: ModelStore, now: Moment
    ) -> [ServerEffect]

    // MARK: Commits, in their order

    mutating func beginSending(_ draft: SimulatedDraft, by session: SessionNumber)
    mutating func stored(
        _ sequence: UInt64, of channel: ChannelID, by session: SessionNumber, _ store: ModelStore, now: Moment
    ) -> [ServerEffect]
    /// The user's other devices learn that there is a channel to follow.
    mutating func joined(
        _ user: UserID, _ group: GroupID, by session: SessionNumber, _ store: ModelStore, now: Moment
    ) -> [ServerEffect]
    mutating func left(_ user: UserID, _ group: GroupID, now: Moment)
    /// What was committed, or refused, is answered after it was told.
    mutating func answer(
        _ effects: [ServerEffect], to session: SessionNumber, _ draft: SimulatedDraft?, now: Moment
    ) -> [ServerEffect]
    /// Whether a commit is being told.
    var isTelling: Bool { get }
    /// The first message of a channel that is committed, and that not everybody who is there was told of.
    func firstUntold(of channel: ChannelID) -> UInt64?

    // MARK: Time

    /// Somebody sets the clock on the wall.
    mutating func wallJumped(by seconds: Int64)
    var nextDeadline: Moment? { get }
    mutating func timeout(_ store: ModelStore, now: Moment) -> [ServerEffect]

    // MARK: Accounts

    /// What went wrong so far.
    var failures: [String] { get }
    /// What is kept for clients that have everything.
    var leftovers: [String] { get }
    /// Whether nothing is left of anybody, after everybody went.
    var isEmpty: Bool { get }
}

/// A message on its way into the store, as the server's machines name it.
package struct SimulatedDraft {
    package let draft: Draft

    package init?(_ message: OutgoingMessage, by device: ModelStore.Device) {
        guard let channel = ChannelID(sender: PartyID(device.user), receiver: message.receiver) else { return nil }
        self.draft = Draft(
            channel: ChannelKey(simulated: channel),
            sender: DeviceKey(user: device.user.rawValue, device: device.device.rawValue),
            key: IdempotencyKey(high: message.id.high, low: message.id.low), type: message.type.rawValue,
            clientTimestamp: message.timestamp.rawValue, payload: message.payload)
    }
}

extension ChannelKey {
    init(simulated channel: ChannelID) {
        self = channel.group.map { .group($0.rawValue) } ?? .direct(channel.first, channel.second)
    }
}
