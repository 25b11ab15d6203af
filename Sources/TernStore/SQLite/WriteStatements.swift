// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Everything that the writer asks of SQLite, prepared once.
struct WriteStatements {
    let findUser: SQLiteStatement
    let userName: SQLiteStatement
    let lastUser: SQLiteStatement
    let insertUser: SQLiteStatement
    let findDevice: SQLiteStatement
    let lastDevice: SQLiteStatement
    let insertDevice: SQLiteStatement
    let findGroup: SQLiteStatement
    let lastGroup: SQLiteStatement
    let insertGroup: SQLiteStatement
    let groupRules: SQLiteStatement
    let insertInvitation: SQLiteStatement
    let findInvitation: SQLiteStatement
    let takeInvitation: SQLiteStatement
    let insertMember: SQLiteStatement
    let deleteMember: SQLiteStatement
    let findMember: SQLiteStatement
    let addMembers: SQLiteStatement
    let memberCount: SQLiteStatement
    let deleteOffsets: SQLiteStatement
    let findUsage: SQLiteStatement
    let addUsage: SQLiteStatement
    let lastChannel: SQLiteStatement
    let findChannel: SQLiteStatement
    let insertChannel: SQLiteStatement
    let moveHead: SQLiteStatement
    let markSent: SQLiteStatement
    let insertKey: SQLiteStatement
    let findKey: SQLiteStatement
    let pruneKeys: SQLiteStatement
    let insertMessage: SQLiteStatement
    let findMessage: SQLiteStatement
    let lastMessage: SQLiteStatement
    let advanceOffsets: SQLiteStatement
    let noteTime: SQLiteStatement

    init(_ connection: SQLiteConnection) throws(StoreError) {
        self.findUser = try connection.prepare("SELECT id FROM user_name WHERE name = ?1")
        self.userName = try connection.prepare("SELECT name FROM user_name WHERE id = ?1")
        self.lastUser = try connection.prepare("SELECT max(id) FROM user_name")
        self.insertUser = try connection.prepare("INSERT INTO user_name (id, name) VALUES (?1, ?2)")
        self.findDevice = try connection.prepare("SELECT number FROM device WHERE user = ?1 AND name = ?2")
        self.lastDevice = try connection.prepare("SELECT max(number) FROM device WHERE user = ?1")
        self.insertDevice = try connection.prepare("INSERT INTO device (user, number, name) VALUES (?1, ?2, ?3)")
        self.findGroup = try connection.prepare("SELECT id FROM group_name WHERE name = ?1")
        self.lastGroup = try connection.prepare("SELECT max(id) FROM group_name")
        self.insertGroup = try connection.prepare(
            "INSERT INTO group_name (id, is_open, shares_history, name) VALUES (?1, ?2, ?3, ?4)")
        self.groupRules = try connection.prepare("SELECT is_open, shares_history FROM group_name WHERE id = ?1")
        self.insertInvitation = try connection.prepare(
            "INSERT INTO invitation (channel, user, inviter) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")
        self.findInvitation = try connection.prepare(
            "SELECT inviter FROM invitation WHERE channel = ?1 AND user = ?2")
        self.takeInvitation = try connection.prepare(
            "DELETE FROM invitation WHERE channel = ?1 AND user = ?2")
        self.insertMember = try connection.prepare(
            """
            INSERT INTO member (user, channel, joined, sent, in_group, first) VALUES (?1, ?2, ?3, 0, ?4, ?5)
            ON CONFLICT DO NOTHING
            """)
        self.deleteMember = try connection.prepare("DELETE FROM member WHERE user = ?1 AND channel = ?2")
        self.findMember = try connection.prepare("SELECT 1 FROM member WHERE user = ?1 AND channel = ?2")
        self.addMembers = try connection.prepare("UPDATE channel SET members = members + ?1 WHERE number = ?2")
        self.memberCount = try connection.prepare("SELECT members FROM channel WHERE number = ?1")
        self.deleteOffsets = try connection.prepare("DELETE FROM offset WHERE user = ?1 AND channel = ?2")
        self.findUsage = try connection.prepare(
            """
            SELECT groups, groups_created, names_registered, conversations_begun, invitations FROM usage WHERE user = ?1
            """)
        self.addUsage = try connection.prepare(
            """
            INSERT INTO usage (user, groups, groups_created, names_registered, conversations_begun, invitations)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6)
            ON CONFLICT DO UPDATE SET
                groups = groups + excluded.groups, groups_created = groups_created + excluded.groups_created,
                names_registered = names_registered + excluded.names_registered,
                conversations_begun = conversations_begun + excluded.conversations_begun,
                invitations = invitations + excluded.invitations
            """)
        self.lastChannel = try connection.prepare("SELECT max(number) FROM channel")
        self.findChannel = try connection.prepare(
            "SELECT number, epoch, head, head_time FROM channel WHERE low = ?1 AND high = ?2")
        self.insertChannel = try connection.prepare(
            "INSERT INTO channel (number, low, high, epoch, head, head_time) VALUES (?1, ?2, ?3, ?4, 0, 0)")
        self.moveHead = try connection.prepare("UPDATE channel SET head = ?1, head_time = ?2 WHERE number = ?3")
        self.markSent = try connection.prepare("UPDATE member SET sent = ?1 WHERE user = ?2 AND channel = ?3")
        self.insertKey = try connection.prepare(
            """
            INSERT INTO known_key (sender, key_high, key_low, message, time) VALUES (?1, ?2, ?3, ?4, ?5)
            ON CONFLICT DO NOTHING
            """)
        self.findKey = try connection.prepare(
            "SELECT message FROM known_key WHERE sender = ?1 AND key_high = ?2 AND key_low = ?3")
        self.pruneKeys = try connection.prepare(
            """
            DELETE FROM known_key WHERE (sender, key_high, key_low) IN
                (SELECT sender, key_high, key_low FROM known_key WHERE time < ?1 ORDER BY time LIMIT ?2)
            """)
        self.insertMessage = try connection.prepare(
            """
            INSERT INTO message
                (id, sender, device, key_high, key_low, type, flags, time, client_time, extensions, payload)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
            """)
        self.findMessage = try connection.prepare("SELECT type, time, payload, flags FROM message WHERE id = ?1")
        self.lastMessage = try connection.prepare(
            "SELECT id FROM message WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC LIMIT 1")
        self.advanceOffsets = try connection.prepare(
            """
            INSERT INTO offset (user, channel, device, delivered, read)
                SELECT ?1, number, ?3, min(?4, head), min(?5, head) FROM channel WHERE number = ?2 AND head > 0
                    AND EXISTS (
                        SELECT 1 FROM member WHERE member.user = ?1 AND member.channel = ?2 AND member.first <= ?4)
            ON CONFLICT DO UPDATE SET
                delivered = max(delivered, excluded.delivered), read = max(read, excluded.read)
            """)
        self.noteTime = try connection.prepare("UPDATE run SET time = ?1")
    }
}
