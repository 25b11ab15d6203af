// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore

/// A connection that only reads, with its statements. Lives on one reader's thread.
final class ReadSession {
    /// A row of `channel`.
    struct Channel {
        var number: UInt64
        var head: ChannelHead
    }

    private let connection: SQLiteConnection
    private let findUser: SQLiteStatement
    private let findGroup: SQLiteStatement
    private let findDevice: SQLiteStatement
    private let userName: SQLiteStatement
    let commonGroups: SQLiteStatement
    private let groupName: SQLiteStatement
    private let findChannel: SQLiteStatement
    private let members: SQLiteStatement
    private let groups: SQLiteStatement
    private let findMember: SQLiteStatement
    private let findGroupView: SQLiteStatement
    private let forward: SQLiteStatement
    private let backward: SQLiteStatement
    private let memberCount: SQLiteStatement
    let channelsOfUser: SQLiteStatement
    let channelOfUser: SQLiteStatement
    let offsetsOfUser: SQLiteStatement
    let offsetsOfDevice: SQLiteStatement
    let offsetsOfChannel: SQLiteStatement

    /// A row for each group of ?1 behind ?3, and whether ?2 is in it too: one look-up for each.
    static let commonGroupsQuery = """
        SELECT a.in_group, EXISTS (SELECT 1 FROM member b WHERE b.user = ?2 AND b.channel = a.channel)
        FROM member a INDEXED BY member_in_group WHERE a.user = ?1 AND a.in_group > 0 AND a.in_group > ?3
        ORDER BY a.in_group
        """

    init(path: String) throws(StoreError) {
        let connection = try SQLiteConnection(path: path, mode: .readOnly)
        connection.setBusyTimeout(milliseconds: 5_000)
        try connection.execute("PRAGMA query_only = 1; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY")
        self.connection = connection
        self.findUser = try connection.prepare("SELECT id FROM user_name WHERE name = ?1")
        self.findGroup = try connection.prepare("SELECT id FROM group_name WHERE name = ?1")
        self.findDevice = try connection.prepare("SELECT number FROM device WHERE user = ?1 AND name = ?2")
        self.userName = try connection.prepare("SELECT name FROM user_name WHERE id = ?1")
        self.commonGroups = try connection.prepare(Self.commonGroupsQuery)
        self.groupName = try connection.prepare("SELECT name FROM group_name WHERE id = ?1")
        self.findChannel = try connection.prepare(
            "SELECT number, epoch, head, head_time FROM channel WHERE low = ?1 AND high = ?2")
        self.members = try connection.prepare(
            "SELECT user FROM member WHERE channel = ?1 AND user > ?2 ORDER BY user LIMIT ?3")
        self.groups = try connection.prepare(
            """
            SELECT in_group, first FROM member WHERE user = ?1 AND in_group > 0 AND in_group > ?2
            ORDER BY in_group LIMIT ?3
            """)
        self.memberCount = try connection.prepare("SELECT members FROM channel WHERE low = ?1 AND high = ?2")
        self.findMember = try connection.prepare("SELECT first FROM member WHERE user = ?1 AND channel = ?2")
        self.findGroupView = try connection.prepare(
            """
            SELECT g.name, g.is_open, g.shares_history, c.members,
                EXISTS (SELECT 1 FROM member m WHERE m.user = ?2 AND m.channel = c.number),
                EXISTS (SELECT 1 FROM invitation i WHERE i.user = ?2 AND i.channel = c.number)
            FROM group_name g JOIN channel c ON c.low = g.id AND c.high = g.id WHERE g.id = ?1
            """)
        let message = "id, time, sender, device, key_high, key_low, type, flags, client_time, extensions, payload"
        let range = "FROM message WHERE id BETWEEN ?1 AND ?2 ORDER BY id"
        self.forward = try connection.prepare("SELECT \(message) \(range)")
        self.backward = try connection.prepare("SELECT \(message) \(range) DESC")
        let entry = """
            SELECT c.number, c.epoch, c.head, c.head_time, c.low, c.high, m.joined, m.sent, m.first
            FROM member m JOIN channel c ON c.number = m.channel WHERE m.user = ?1
            """
        self.channelsOfUser = try connection.prepare("\(entry) AND m.channel > ?2 ORDER BY m.channel LIMIT ?3")
        self.channelOfUser = try connection.prepare("\(entry) AND m.channel = ?2")
        self.offsetsOfUser = try connection.prepare(
            "SELECT device, delivered, read FROM offset WHERE user = ?1 AND channel = ?2")
        self.offsetsOfDevice = try connection.prepare(
            "SELECT delivered, read FROM offset WHERE user = ?1 AND channel = ?2 AND device = ?3")
        self.offsetsOfChannel = try connection.prepare(
            """
            SELECT user, device, delivered, read FROM offset INDEXED BY offset_of_channel
            WHERE channel = ?1 AND (user, device) > (?2, ?3) AND delivered >= ?5 ORDER BY user, device LIMIT ?4
            """)
    }

    func transaction<Value>(_ body: (ReadSession) throws(StoreError) -> Value) throws(StoreError) -> Value {
        try self.connection.execute("BEGIN")
        // A transaction that only read has nothing to lose; what matters is that it ends.
        defer { try? self.connection.execute("COMMIT") }
        return try body(self)
    }

    // MARK: Names

    func user(named name: String) throws(StoreError) -> UInt64? {
        try self.findUser.bind(name, at: 1).first { $0.unsigned(0) }
    }

    func group(named name: String) throws(StoreError) -> UInt64? {
        try self.findGroup.bind(name, at: 1).first { $0.unsigned(0) }
    }

    func device(named name: String, of user: UInt64) throws(StoreError) -> UInt32? {
        try self.findDevice.bind(user).bind(name, at: 2).first { UInt32(truncatingIfNeeded: $0.integer(0)) }
    }

    func name(of identifier: UInt64) throws(StoreError) -> String? {
        let statement = identifier < ChannelKey.firstGroup ? self.userName : self.groupName
        return try statement.bind(identifier).first { $0.text(0) }
    }

    // MARK: Groups

    func memberCount(of channel: ChannelKey) throws(StoreError) -> Int {
        try self.memberCount.bind(channel.low, channel.high).first { Int($0.integer(0)) } ?? 0
    }

    func members(of channel: UInt64, after: UInt64, limit: Int) throws(StoreError) -> [UInt64] {
        let after = min(after, Schema.largestUser)
        return try self.members.bind(channel, after, UInt64(limit)).all { $0.unsigned(0) }
    }

    func memberships(of user: UInt64, after: UInt64, limit: Int) throws(StoreError) -> [GroupMembership] {
        let after = min(after, Schema.largestGroup)
        return try self.groups.bind(user, after, UInt64(limit)).all { row in
            GroupMembership(group: row.unsigned(0), first: row.unsigned(1))
        }
    }

    func group(_ group: UInt64, for user: UInt64) throws(StoreError) -> GroupView? {
        try self.findGroupView.bind(min(group, Schema.largestGroup + 1), user).first { row in
            GroupView(
                group: group, name: row.text(0),
                rules: GroupRules(isOpen: row.integer(1) != 0, sharesHistory: row.integer(2) != 0),
                memberCount: Int(row.integer(3)), isMember: row.integer(4) != 0, isInvited: row.integer(5) != 0)
        }
    }

    /// The log of a channel, and the first message of it that is for `user`; `nil` for a direct channel that has not begun.
    ///
    /// - Throws: ``StoreError/Code/notAMember``.
    func membership(of user: UInt64, in key: ChannelKey) throws(StoreError) -> (Channel, first: UInt64)? {
        let mayBegin = key.group == nil && (key.low == user || key.high == user)
        guard let channel = try self.channel(key) else {
            guard mayBegin else { throw Self.notAMember(user) }
            return nil
        }
        guard let first = try self.firstMessage(of: channel.number, for: user) else { throw Self.notAMember(user) }
        return (channel, first)
    }

    /// The first message that a member may read; `nil` for who is none.
    func firstMessage(of channel: UInt64, for user: UInt64) throws(StoreError) -> UInt64? {
        try self.findMember.bind(user, channel).first { $0.unsigned(0) }
    }

    private static func notAMember(_ user: UInt64) -> StoreError {
        StoreError(.notAMember, message: "user \(user) has no part in this channel")
    }

    func isMember(_ user: UInt64, of channel: UInt64) throws(StoreError) -> Bool {
        try self.findMember.bind(user, channel).first { _ in true } ?? false
    }

    // MARK: The log

    func channel(_ key: ChannelKey) throws(StoreError) -> Channel? {
        try self.findChannel.bind(key.low, key.high).first { Self.channel($0) }
    }

    static func channel(_ row: SQLiteStatement) -> Channel {
        let epoch = UInt32(truncatingIfNeeded: row.integer(1))
        return Channel(
            number: row.unsigned(0),
            head: ChannelHead(epoch: epoch, sequence: row.unsigned(2), timestamp: row.unsigned(3)))
    }

    func page(
        of channel: Channel, from sequence: UInt64, _ direction: HistoryDirection, limit: Int, byteLimit: Int,
        notBefore earliest: UInt64 = 1
    ) throws(StoreError) -> HistoryPage {
        let head = channel.head.sequence
        var page = HistoryPage(head: channel.head, messages: [], hasMore: false, first: earliest)
        let first = direction == .forward ? max(sequence, earliest) : earliest
        let last = direction == .forward ? head : min(sequence, head)
        guard first <= last else { return page }
        let statement = direction == .forward ? self.forward : self.backward
        statement.bind(
            Schema.messageID(channel: channel.number, sequence: first),
            Schema.messageID(channel: channel.number, sequence: last))
        defer { statement.reset() }
        var bytes = 0
        while page.messages.count < limit, try statement.step() {
            bytes += statement.byteCount(9) + statement.byteCount(10)
            if !page.messages.isEmpty, bytes > byteLimit { break }
            page.messages.append(Self.message(statement))
        }
        if let end = page.messages.last?.sequence {
            page.hasMore = direction == .forward ? end < head : end > earliest
        }
        return page
    }

    private static func message(_ row: SQLiteStatement) -> StoredMessage {
        StoredMessage(
            sequence: Schema.sequence(ofMessageID: row.unsigned(0)), timestamp: row.unsigned(1),
            sender: DeviceKey(user: row.unsigned(2), device: UInt32(truncatingIfNeeded: row.integer(3))),
            key: IdempotencyKey(high: row.unsigned(4), low: row.unsigned(5)),
            type: UInt16(truncatingIfNeeded: row.integer(6)), flags: UInt16(truncatingIfNeeded: row.integer(7)),
            clientTimestamp: row.unsigned(8), extensions: row.bytes(9), payload: row.bytes(10))
    }
}
