// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Where messages last: one log per channel, the people and groups that share it, and how far each device got.
///
/// **Sequences.** Every channel numbers its messages from 1 without a gap and never uses a number twice. **Epochs.** Every channel
/// carries a random epoch that is not zero; it changes when the log was restored from a copy or lost its tail, so that whoever
/// remembers (epoch, sequence) can tell a log that went on from one that did not. **Receipts.** ``append(_:)`` returns after the
/// commit that holds the message, at the durability the store was opened with.
///
/// **Identifiers.** Users are numbered from 1 and stay below 2^36; groups are numbered from 2^36. Devices are numbered from 1 for
/// each user. Times are milliseconds since 1970.
///
/// **Isolation.** Every call may come from any task or thread. A call is not interrupted by the cancellation of its task.
///
/// **Errors.** Everything throws ``StoreError``. ``StoreError/Code/readOnly`` and ``StoreError/Code/closed`` may come from every
/// operation that writes.
public protocol MessageStore: Sendable {
    /// Whether the store takes writes; see ``StoreStatus``.
    var status: StoreStatus { get }
    /// Every change of ``status`` from now on, beginning with the present one; ends when the store closes.
    func statusUpdates() -> AsyncStream<StoreStatus>

    // MARK: People

    /// How much each user may make from now on; ``UserQuotas/unlimited`` before it is called.
    func limit(to quotas: UserQuotas)
    /// The identifier of a user who comes, new if the name is. The same name always has the same identifier.
    ///
    /// - Throws: ``StoreError/Code/invalidName``.
    func registerUser(named name: String) async throws(StoreError) -> UInt64
    /// The identifier of a user, registered by another one if the name is new.
    ///
    /// - Throws: ``StoreError/Code/invalidName``, ``StoreError/Code/quotaExceeded``.
    func registerUser(named name: String, by creator: UInt64) async throws(StoreError) -> UInt64
    /// The number of a device of a user, new if the name is.
    ///
    /// - Throws: ``StoreError/Code/invalidName``, ``StoreError/Code/notFound`` for a user that does not exist.
    func registerDevice(named name: String, of user: UInt64) async throws(StoreError) -> UInt32
    /// - Returns: `nil` for a device, or a user, that does not exist.
    func findDevice(named name: String, of user: UInt64) async throws(StoreError) -> UInt32?
    func findUser(named name: String) async throws(StoreError) -> UInt64?
    /// The names of users and groups; identifiers that nobody has are left out. Not for what is told to users: that is for
    /// ``names(of:knownTo:in:)`` to say.
    func names(of identifiers: [UInt64]) async throws(StoreError) -> [UInt64: String]
    /// The names that `user` may learn, all others are left out: their own, those of users with whom they share a channel (a direct
    /// one that has begun, or a group that both are in), and those of groups that they are in.
    ///
    /// - Parameters:
    ///   - identifiers: of users and groups.
    ///   - user: who asks.
    ///   - channel: the one that is probably shared with most of them; it only makes the search shorter.
    func names(
        of identifiers: [UInt64], knownTo user: UInt64, in channel: ChannelKey?
    ) async throws(StoreError) -> [UInt64: String]

    // MARK: Groups

    /// Creates a group whose first member is `owner`, or finds the group of that name (then `owner` does not become a member, and
    /// the group keeps its rules).
    ///
    /// - Throws: ``StoreError/Code/invalidName``, ``StoreError/Code/notFound`` for an owner that does not exist,
    ///   ``StoreError/Code/quotaExceeded``.
    func createGroup(
        named name: String, owner: UInt64, rules: GroupRules
    ) async throws(StoreError) -> GroupCreation
    func findGroup(named name: String) async throws(StoreError) -> UInt64?
    /// A group as it is for a user, all of one moment; `nil` if there is none. Whether the user may know of it is the caller's
    /// question.
    func group(_ group: UInt64, for user: UInt64) async throws(StoreError) -> GroupView?
    /// Lets a user join a closed group, once: joining takes the invitation. It stays until then, whatever becomes of who made it.
    /// Does nothing for a member, for who was invited before, and in an open group.
    ///
    /// - Throws: ``StoreError/Code/notAMember`` when `member` is none, also of a group that does not exist;
    ///   ``StoreError/Code/notFound`` for a user that does not exist; ``StoreError/Code/quotaExceeded``.
    func invite(_ user: UInt64, to group: UInt64, by member: UInt64) async throws(StoreError)
    /// Makes a user a member, who reads from then on, or from the start when the group shares its history.
    ///
    /// - Throws: ``StoreError/Code/notFound`` for a group or user that does not exist, ``StoreError/Code/notInvited``,
    ///   ``StoreError/Code/quotaExceeded``, ``StoreError/Code/groupFull``.
    @discardableResult
    func join(group: UInt64, user: UInt64) async throws(StoreError) -> GroupJoining
    /// Ends a membership, and forgets how far the user's devices got in the group. Who joins again begins anew.
    ///
    /// - Returns: whether the user was a member before.
    @discardableResult
    func leave(group: UInt64, user: UInt64) async throws(StoreError) -> Bool
    /// The members of a group in the order of their identifiers, from the first above `after`.
    func members(of group: UInt64, after: UInt64, limit: Int) async throws(StoreError) -> [UInt64]
    /// How many members a group has; 0 for one that does not exist.
    func memberCount(of group: UInt64) async throws(StoreError) -> Int
    /// The groups that a user is in, in the order of their identifiers, from the first above `after`.
    func memberships(of user: UInt64, after: UInt64, limit: Int) async throws(StoreError) -> [GroupMembership]
    func isMember(_ user: UInt64, of group: UInt64) async throws(StoreError) -> Bool

    // MARK: The log

    /// Appends a message to the log of its channel. A direct channel begins with its first message.
    ///
    /// Suspends while the queue of the writer is full. The same (sender, key) with the same content gives the first receipt again,
    /// with ``Receipt/isDuplicate`` set, for as long as the store remembers keys. Whether the sender is a member of the group is
    /// looked at in the transaction of the message: nothing is stored after a leave.
    ///
    /// - Throws: ``StoreError/Code/conflict`` for a known key with other content or another channel,
    ///   ``StoreError/Code/notFound`` for a group or user that does not exist, ``StoreError/Code/notAMember``,
    ///   ``StoreError/Code/tooLarge``, ``StoreError/Code/quotaExceeded`` for the first message of a direct channel.
    func append(_ draft: Draft) async throws(StoreError) -> Receipt
    /// Appends many messages in this order, without waiting for the commit of one before the next; one that is refused does not
    /// stop those behind it.
    ///
    /// - Returns: when all are decided, one result for each draft, as ``append(_:)`` would give it.
    func append(contentsOf drafts: [Draft]) async -> [Result<Receipt, StoreError>]
    /// Names who hears of every new message, membership and end of one, in the order in which they were committed: called on the
    /// writer's thread after the commit and before anybody is told that it succeeded. The observer must return at once and may not
    /// call the store; there is one at most.
    func observeCommits(_ observer: (@Sendable ([CommitEvent]) -> Void)?)
    /// The end of a log; zeros for a direct channel that has not begun.
    ///
    /// - Throws: ``StoreError/Code/notFound`` for a group that does not exist.
    func head(of channel: ChannelKey) async throws(StoreError) -> ChannelHead
    /// One page of a log.
    ///
    /// - Parameters:
    ///   - channel: whose log.
    ///   - sequence: the first message of the page; a page backwards begins at the head if the head is smaller.
    ///   - direction: forward to newer messages, or backward to older ones.
    ///   - limit: the most messages of the page.
    ///   - byteLimit: the most bytes of payloads and extensions, except that one message is always given.
    /// - Throws: ``StoreError/Code/notFound`` for a group that does not exist.
    func history(
        of channel: ChannelKey, from sequence: UInt64, _ direction: HistoryDirection, limit: Int, byteLimit: Int
    ) async throws(StoreError) -> HistoryPage
    /// One page of what a user may read of a log: nothing from before they joined a group, unless it shares its history.
    ///
    /// - Throws: ``StoreError/Code/notAMember`` for who has no part in the channel, also if there is none.
    func history(
        of channel: ChannelKey, for user: UInt64, from sequence: UInt64, _ direction: HistoryDirection, limit: Int,
        byteLimit: Int
    ) async throws(StoreError) -> HistoryPage

    // MARK: Offsets

    /// Notes how far a device got in a channel. Offsets are cumulative: a smaller one than before does nothing, one beyond the head
    /// counts as the head, and what is read is delivered.
    ///
    /// Returns when the store has noted it in memory, where every reader of this store sees it; it is written with the next commit
    /// or soon after, so a crash may lose the last moments. Devices tell their offsets again, so nothing is lost for good.
    ///
    /// - Throws: ``StoreError/Code/notFound`` for a channel that does not exist.
    func advanceOffsets(_ offsets: Offsets, of device: DeviceKey, in channel: ChannelKey) async throws(StoreError)
    /// Zeros for a device that told none.
    func offsets(of device: DeviceKey, in channel: ChannelKey) async throws(StoreError) -> Offsets
    /// What the devices of a channel's members told about it, by ascending user and device, from the first behind `device`.
    func offsets(
        in channel: ChannelKey, after device: DeviceKey, limit: Int
    ) async throws(StoreError) -> OffsetPage
    /// The same for one of the members: what was told of messages that are not theirs to read is left out.
    ///
    /// - Throws: ``StoreError/Code/notAMember`` for who has no part in the channel, also if there is none.
    func offsets(
        in channel: ChannelKey, for user: UInt64, after device: DeviceKey, limit: Int
    ) async throws(StoreError) -> OffsetPage
    /// What a device needs to know to catch up: the channels of its user, a page at a time.
    ///
    /// - Parameters:
    ///   - device: who asks.
    ///   - cursor: `nil` for the first page, then ``SyncPage/next``.
    ///   - limit: the most channels of the page.
    func syncIndex(for device: DeviceKey, after cursor: UInt64?, limit: Int) async throws(StoreError) -> SyncPage
    /// The entry of one channel; `nil` when the user does not take part in it, or it has not begun.
    func syncEntry(for device: DeviceKey, in channel: ChannelKey) async throws(StoreError) -> SyncEntry?

    // MARK: Life

    /// Gives every channel a new epoch. For the one who brought back a copy of the data.
    func startNewEpochs() async throws(StoreError)
    /// Returns when everything that was noted before is committed.
    func flush() async throws(StoreError)
    /// Commits what is queued, then closes everything; idempotent. Later calls throw ``StoreError/Code/closed``.
    func close() async
}

extension MessageStore {
    /// The names that `user` may learn.
    public func names(of identifiers: [UInt64], knownTo user: UInt64) async throws(StoreError) -> [UInt64: String] {
        try await self.names(of: identifiers, knownTo: user, in: nil)
    }

    /// Creates a closed group.
    public func createGroup(named name: String, owner: UInt64) async throws(StoreError) -> GroupCreation {
        try await self.createGroup(named: name, owner: owner, rules: .closed)
    }

    /// The groups that a user is in, in the order of their identifiers, from the first above `after`.
    public func groups(of user: UInt64, after: UInt64, limit: Int) async throws(StoreError) -> [UInt64] {
        try await self.memberships(of: user, after: after, limit: limit).map(\.group)
    }

    /// What every device told about a channel, page by page.
    public func offsets(in channel: ChannelKey) async throws(StoreError) -> [DeviceKey: Offsets] {
        var all: [DeviceKey: Offsets] = [:]
        var last = DeviceKey(user: 0, device: 0)
        while true {
            let page = try await self.offsets(in: channel, after: last, limit: 1_000)
            for entry in page.entries { all[entry.device] = entry.offsets }
            guard page.hasMore, let next = page.entries.last?.device else { return all }
            last = next
        }
    }
}
