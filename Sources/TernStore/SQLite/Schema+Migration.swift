// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

extension Schema {
    /// The oldest layout from which a database is brought to the present one.
    static let oldestVersion: UInt32 = 1

    /// The steps from one version to the next; the first leads from ``oldestVersion``. A step is never changed: there are
    /// databases that have taken it.
    private static let steps = [
        // 1 to 2: counts and indexes, so that no request walks what others made; what a user made is counted.
        """
        ALTER TABLE channel ADD COLUMN members INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE member ADD COLUMN in_group INTEGER NOT NULL DEFAULT 0;
        UPDATE channel SET members = (SELECT count(*) FROM member WHERE member.channel = channel.number);
        UPDATE member SET in_group =
            ifnull((SELECT low FROM channel WHERE number = member.channel AND low = high AND low >= 68719476736), 0);
        CREATE INDEX member_in_group ON member (user, in_group) WHERE in_group > 0;
        DELETE FROM offset WHERE NOT EXISTS
            (SELECT 1 FROM member WHERE member.user = offset.user AND member.channel = offset.channel);
        CREATE INDEX offset_of_channel ON offset (channel, user, device);
        CREATE TABLE usage (
            user INTEGER PRIMARY KEY,
            groups INTEGER NOT NULL DEFAULT 0,
            groups_created INTEGER NOT NULL DEFAULT 0,
            names_registered INTEGER NOT NULL DEFAULT 0,
            conversations_begun INTEGER NOT NULL DEFAULT 0
        );
        INSERT INTO usage (user, groups) SELECT user, count(*) FROM member WHERE in_group > 0 GROUP BY user;
        """,
        // 2 to 3: who may join a group, and where a member begins to read; the store's own time. Groups that are there become
        // closed, which takes nothing from their members: they go on reading everything. The time begins where no key is older
        // than the keys say: one that is kept for too long does no harm.
        """
        ALTER TABLE group_name ADD COLUMN is_open INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE group_name ADD COLUMN shares_history INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE member ADD COLUMN first INTEGER NOT NULL DEFAULT 1;
        CREATE TABLE invitation (
            channel INTEGER NOT NULL,
            user INTEGER NOT NULL,
            inviter INTEGER NOT NULL,
            PRIMARY KEY (channel, user)
        ) WITHOUT ROWID;
        ALTER TABLE usage ADD COLUMN invitations INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE run ADD COLUMN time INTEGER NOT NULL DEFAULT 0;
        UPDATE run SET time = min(
            max(CAST(strftime('%s', 'now') AS INTEGER), 0) * 1000,
            ifnull((SELECT max(time) FROM known_key), 9223372036854775807));
        """,
    ]

    /// Brings a database of an older layout to the present one, all or nothing. Nobody else has it open.
    static func migrate(_ path: String) throws(StoreError) {
        let connection = try SQLiteConnection(path: path, mode: .readWrite)
        connection.setBusyTimeout(milliseconds: 2_000)
        let found = try connection.integer("PRAGMA user_version") ?? 0
        guard let version = UInt32(exactly: found), version < Self.version else { return }
        guard version >= Self.oldestVersion else { throw DataDirectory.otherVersion(path, version) }
        // With a rollback journal the version in the first bytes of the file changes together with the tables: a program
        // that knows only the older layout never takes the file for one.
        try connection.execute("PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY")
        do {
            try connection.execute("BEGIN IMMEDIATE")
            for step in Self.steps[Int(version - Self.oldestVersion)...] { try connection.execute(step) }
            try connection.execute("PRAGMA user_version = \(Self.version); COMMIT")
        } catch {
            if !connection.isAutocommit { try? connection.execute("ROLLBACK") }
            throw error
        }
    }
}
