// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore

/// The only connection that writes, with its statements and what it remembers of the logs. Lives on the writer's thread.
///
/// Everything that a transaction changes in memory is either written with it or forgotten with it.
final class WriteSession {
    struct Channel {
        var number: UInt64
        var epoch: UInt32
        var head: UInt64
        var headTime: UInt64
    }

    struct Membership: Hashable {
        var user: UInt64
        var channel: UInt64
    }

    /// More channels, or members, than this are not remembered between transactions.
    private static let rememberedChannels = 65_536

    let connection: SQLiteConnection
    let statements: WriteStatements
    private let patience: Int32
    /// The logs as this transaction, or the last commit, left them. The head of a log is counted here and written once for a
    /// transaction.
    private var channels: [ChannelKey: Channel] = [:]
    private var moved: Set<ChannelKey> = []
    /// The last message that a member sent to a channel in this transaction.
    private var sent: [Membership: UInt64] = [:]
    /// Members of groups who were looked up; only ``leave(group:user:)`` ends a membership.
    private var members: Set<Membership> = []
    /// Memberships that end in this transaction, whatever began anew behind it.
    var left: Set<Membership> = []
    /// What the present transaction changes, in order.
    var events: [CommitEvent] = []
    /// Of the present transaction.
    private(set) var quotas = UserQuotas.unlimited

    init(
        path: String, durability: Durability, maximumPages: Int?, lockPatience: Duration
    ) throws(StoreError) {
        let connection = try SQLiteConnection(path: path, mode: .readWrite)
        self.patience = Int32(lockPatience / .milliseconds(1))
        connection.setBusyTimeout(milliseconds: self.patience)
        try connection.configureForWriting(durability: durability)
        if let maximumPages { try connection.execute("PRAGMA max_page_count = \(maximumPages)") }
        self.connection = connection
        self.statements = try WriteStatements(connection)
    }

    /// Waits for locks of others as long as the options say.
    func setPatience() {
        self.connection.setBusyTimeout(milliseconds: self.patience)
    }

    // MARK: Transactions

    func begin(quotas: UserQuotas) throws(StoreError) {
        self.quotas = quotas
        try self.connection.execute("BEGIN IMMEDIATE")
    }

    /// Writes what was counted in memory and commits. When it returns, the transaction is as durable as promised.
    func commit() throws(StoreError) {
        try self.writeHeads()
        for (member, sequence) in self.sent {
            try self.statements.markSent.bind(sequence, member.user, member.channel).run()
        }
        try self.connection.execute("COMMIT")
        self.forgetTransaction()
        if self.channels.count > Self.rememberedChannels { self.channels = [:] }
        if self.members.count > Self.rememberedChannels { self.members = [] }
    }

    private func writeHeads() throws(StoreError) {
        for key in self.moved {
            guard let channel = self.channels[key] else { throw Self.corrupt("a log moved that nobody knows") }
            try self.statements.moveHead.bind(channel.head, channel.headTime, channel.number).run()
        }
        self.moved = []
    }

    func rollback() {
        // A transaction that SQLite ended by itself leaves nothing to roll back.
        if !self.connection.isAutocommit { try? self.connection.execute("ROLLBACK") }
        self.forgetTransaction()
        self.channels = [:]
        self.members = []
    }

    private func forgetTransaction() {
        self.moved = []
        self.sent = [:]
        self.left = []
        self.events = []
    }

    // MARK: The log

    /// - Parameters:
    ///   - now: what the clock of the machine says, for people.
    ///   - keyTime: the store's own time, from which the key is remembered.
    func append(_ draft: Draft, now: UInt64, keyTime: UInt64) throws(StoreError) -> Receipt {
        var channel = try self.channelForAppend(draft)
        let sequence = channel.head + 1
        guard sequence <= Schema.largestSequence else {
            throw StoreError(.limitReached, message: "the channel has as many messages as a channel can have")
        }
        let id = Schema.messageID(channel: channel.number, sequence: sequence)
        try self.statements.insertKey.bind(draft.sender.user, draft.key.high, draft.key.low, id, keyTime).run()
        guard self.connection.changes == 1 else { return try self.receiptOfKnown(draft, in: channel) }

        try self.insert(draft, id: id, time: now)
        channel.head = sequence
        channel.headTime = now
        self.channels[draft.channel] = channel
        self.moved.insert(draft.channel)
        self.sent[Membership(user: draft.sender.user, channel: channel.number)] = sequence
        let receipt = Receipt(epoch: channel.epoch, sequence: sequence, timestamp: now, isDuplicate: false)
        self.events.append(.message(CommittedMessage(draft: draft, receipt: receipt)))
        return receipt
    }

    private func channelForAppend(_ draft: Draft) throws(StoreError) -> Channel {
        if let channel = try self.channel(draft.channel) {
            guard let group = draft.channel.group else {
                try self.checkEnds(of: draft)
                return channel
            }
            try self.checkMember(draft.sender.user, of: channel, group)
            return channel
        }
        guard draft.channel.group == nil else {
            throw StoreError(.notFound, message: "there is no group \(draft.channel.low)")
        }
        try self.checkEnds(of: draft)
        // Before the channel is made: a refused message leaves nothing behind.
        guard try self.messageOfKey(draft) == nil else { throw Self.conflict(draft) }
        for user in [draft.channel.low, draft.channel.high] where try !self.hasUser(user) {
            throw StoreError(.notFound, message: "there is no user \(user)")
        }
        let begun = try self.usage(of: draft.sender.user).conversationsBegun
        guard begun < self.quotas.conversationsBegun else {
            throw StoreError(.quotaExceeded, message: "you have begun \(begun) conversations; more are not allowed")
        }
        let channel = try self.makeChannel(draft.channel)
        try self.addUsage(of: draft.sender.user, conversationsBegun: 1)
        for user in Set([draft.channel.low, draft.channel.high]) {
            _ = try self.insertMember(user, channel, inGroup: 0, joined: 0, first: 1)
        }
        return channel
    }

    private func checkMember(_ user: UInt64, of channel: Channel, _ group: UInt64) throws(StoreError) {
        let membership = Membership(user: user, channel: channel.number)
        guard !self.members.contains(membership) else { return }
        guard try self.isMember(user, of: channel.number) else { throw Self.notAMember(user, of: group) }
        self.members.insert(membership)
    }

    func forgetMember(_ user: UInt64, of channel: UInt64) {
        self.members.remove(Membership(user: user, channel: channel))
    }

    private func checkEnds(of draft: Draft) throws(StoreError) {
        guard draft.sender.user == draft.channel.low || draft.sender.user == draft.channel.high else {
            throw StoreError(.notFound, message: "user \(draft.sender.user) has no part in this channel")
        }
    }

    private func insert(_ draft: Draft, id: UInt64, time: UInt64) throws(StoreError) {
        try self.statements.insertMessage
            .bind(
                id, draft.sender.user, UInt64(draft.sender.device), draft.key.high, draft.key.low, UInt64(draft.type),
                UInt64(draft.flags), time, draft.clientTimestamp
            )
            .bind(draft.extensions, at: 10)
            .bind(draft.payload, at: 11)
            .run()
    }

    private func messageOfKey(_ draft: Draft) throws(StoreError) -> UInt64? {
        try self.statements.findKey.bind(draft.sender.user, draft.key.high, draft.key.low).first { $0.unsigned(0) }
    }

    /// The same content is the same message; anything else under the same key is a mistake of the sender.
    private func receiptOfKnown(_ draft: Draft, in channel: Channel) throws(StoreError) -> Receipt {
        guard let id = try self.messageOfKey(draft) else { throw Self.corrupt("a key is known and unknown") }
        let known = try self.statements.findMessage.bind(id).first { row in
            (type: row.unsigned(0), time: row.unsigned(1), payload: row.bytes(2), flags: row.unsigned(3))
        }
        guard let known else { throw Self.corrupt("a known key has no message") }
        let isSame =
            id >> Schema.sequenceBits == channel.number && known.type == UInt64(draft.type)
            && known.flags == UInt64(draft.flags) && known.payload == draft.payload
        guard isSame else { throw Self.conflict(draft) }
        let sequence = Schema.sequence(ofMessageID: id)
        return Receipt(epoch: channel.epoch, sequence: sequence, timestamp: known.time, isDuplicate: true)
    }

    private static func conflict(_ draft: Draft) -> StoreError {
        let message = "user \(draft.sender.user) sent another message with the same message identifier before"
        return StoreError(.conflict, message: message)
    }

    private static func corrupt(_ what: String) -> StoreError {
        StoreError(.corrupt, message: "the log contradicts itself: \(what)")
    }

    // MARK: Channels

    /// The channel as it is now, including what this transaction did.
    func channel(_ key: ChannelKey) throws(StoreError) -> Channel? {
        if let channel = self.channels[key] { return channel }
        let row = try self.statements.findChannel.bind(key.low, key.high).first { row in
            Channel(
                number: row.unsigned(0), epoch: UInt32(truncatingIfNeeded: row.integer(1)), head: row.unsigned(2),
                headTime: row.unsigned(3))
        }
        guard let row else { return nil }
        // The head and the last message are written together; if they differ, counting on would reuse or skip a number.
        let first = Schema.messageID(channel: row.number, sequence: 0)
        let last = Schema.messageID(channel: row.number, sequence: Schema.largestSequence)
        let lastMessage = try self.statements.lastMessage.bind(first, last).first { $0.unsigned(0) }
        guard (lastMessage.map(Schema.sequence(ofMessageID:)) ?? 0) == row.head else {
            throw Self.corrupt("the head of channel \(row.number) is \(row.head), its last message is another")
        }
        self.channels[key] = row
        return row
    }

    func makeChannel(_ key: ChannelKey) throws(StoreError) -> Channel {
        let number = (try self.statements.lastChannel.first { $0.unsigned(0) } ?? 0) + 1
        guard number <= Schema.largestChannelNumber else {
            throw StoreError(.limitReached, message: "there is no number left for another channel")
        }
        let epoch = UInt32.random(in: 1...UInt32.max)
        try self.statements.insertChannel.bind(number, key.low, key.high, UInt64(epoch)).run()
        let channel = Channel(number: number, epoch: epoch, head: 0, headTime: 0)
        self.channels[key] = channel
        return channel
    }

    func hasUser(_ user: UInt64) throws(StoreError) -> Bool {
        try self.statements.userName.bind(user).first { _ in true } ?? false
    }

    /// Anything from 1 to 2^32 - 1, except the old one.
    static let epochRenewal = "UPDATE channel SET epoch = 1 + (epoch + abs(random() % 4294967294)) % 4294967295"

    /// Gives every channel a new epoch.
    func renewEpochs() throws(StoreError) {
        // What this transaction appended is only counted in memory so far.
        try self.writeHeads()
        try self.connection.execute(Self.epochRenewal)
        self.channels = [:]
    }
}

extension SQLiteConnection {
    /// WAL with the promised durability, read back: SQLite answers a pragma that it cannot follow with the old value.
    func configureForWriting(durability: Durability) throws(StoreError) {
        guard try self.text("PRAGMA journal_mode = WAL") == "wal" else {
            throw StoreError(.unusable, message: "\(self.path): the file system cannot hold a write-ahead log")
        }
        let level: Int64 = durability == .full ? 2 : 1
        try self.execute("PRAGMA synchronous = \(level)")
        // Where fsync leaves the data in the cache of the drive (Darwin); no effect elsewhere.
        try self.execute("PRAGMA fullfsync = 1; PRAGMA checkpoint_fullfsync = 1")
        guard try self.integer("PRAGMA synchronous") == level else {
            throw StoreError(.unusable, message: "\(self.path): SQLite refuses synchronous = \(level)")
        }
        // Checkpoints are the writer's, and only its: two connections that checkpoint at once can corrupt the log in every
        // SQLite before 3.51.3. For the same reason nobody maps the file.
        try self.execute("PRAGMA wal_autocheckpoint = 0; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY")
        try self.execute("PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -16384")
        self.countWALPages()
    }
}
