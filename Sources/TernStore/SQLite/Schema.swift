// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// The tables. Docs/STORE.md says what each column means; a change here needs a new ``version``
/// and a step in ``migrate(_:)``.
enum Schema {
    /// `PRAGMA user_version`: the version of the layout.
    static let version: UInt32 = 3
    /// `PRAGMA application_id`: "Tern".
    static let applicationID: UInt32 = 0x5465_726e

    /// The bits of `message.id` below the channel's number: a sequence has no more.
    static let sequenceBits: UInt64 = 32
    static let largestSequence: UInt64 = (1 << Self.sequenceBits) - 1
    static let largestChannelNumber: UInt64 = (1 << 31) - 1
    static let largestUser: UInt64 = ChannelKey.firstGroup - 1
    static let largestGroup: UInt64 = (1 << 46) - 1

    /// The rowid of a message: the messages of a channel lie side by side, in order.
    static func messageID(channel: UInt64, sequence: UInt64) -> UInt64 {
        channel << Self.sequenceBits | sequence
    }

    static func sequence(ofMessageID id: UInt64) -> UInt64 {
        id & Self.largestSequence
    }

    /// Makes the tables in an empty file, all or nothing.
    static let creation = """
        PRAGMA application_id = \(Schema.applicationID);
        PRAGMA user_version = \(Schema.version);
        CREATE TABLE run (
            only INTEGER PRIMARY KEY CHECK (only = 1),
            generation INTEGER NOT NULL,
            boot TEXT NOT NULL,
            durability TEXT NOT NULL,
            closed INTEGER NOT NULL,
            time INTEGER NOT NULL DEFAULT 0
        );
        CREATE TABLE user_name (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE
        );
        CREATE TABLE group_name (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            is_open INTEGER NOT NULL DEFAULT 0,
            shares_history INTEGER NOT NULL DEFAULT 0
        );
        CREATE TABLE device (
            user INTEGER NOT NULL,
            number INTEGER NOT NULL,
            name TEXT NOT NULL,
            PRIMARY KEY (user, number),
            UNIQUE (user, name)
        ) WITHOUT ROWID;
        CREATE TABLE channel (
            number INTEGER PRIMARY KEY,
            low INTEGER NOT NULL,
            high INTEGER NOT NULL,
            epoch INTEGER NOT NULL,
            head INTEGER NOT NULL,
            head_time INTEGER NOT NULL,
            members INTEGER NOT NULL DEFAULT 0,
            UNIQUE (low, high)
        );
        CREATE TABLE member (
            user INTEGER NOT NULL,
            channel INTEGER NOT NULL,
            joined INTEGER NOT NULL,
            sent INTEGER NOT NULL,
            in_group INTEGER NOT NULL DEFAULT 0,
            first INTEGER NOT NULL DEFAULT 1,
            PRIMARY KEY (user, channel)
        ) WITHOUT ROWID;
        CREATE TABLE invitation (
            channel INTEGER NOT NULL,
            user INTEGER NOT NULL,
            inviter INTEGER NOT NULL,
            PRIMARY KEY (channel, user)
        ) WITHOUT ROWID;
        CREATE INDEX member_of_channel ON member (channel, user);
        CREATE INDEX member_in_group ON member (user, in_group) WHERE in_group > 0;
        CREATE TABLE message (
            id INTEGER PRIMARY KEY,
            sender INTEGER NOT NULL,
            device INTEGER NOT NULL,
            key_high INTEGER NOT NULL,
            key_low INTEGER NOT NULL,
            type INTEGER NOT NULL,
            flags INTEGER NOT NULL,
            time INTEGER NOT NULL,
            client_time INTEGER NOT NULL,
            extensions BLOB NOT NULL,
            payload BLOB NOT NULL
        );
        CREATE TABLE known_key (
            sender INTEGER NOT NULL,
            key_high INTEGER NOT NULL,
            key_low INTEGER NOT NULL,
            message INTEGER NOT NULL,
            time INTEGER NOT NULL,
            PRIMARY KEY (sender, key_high, key_low)
        ) WITHOUT ROWID;
        CREATE INDEX known_key_by_time ON known_key (time);
        CREATE TABLE offset (
            user INTEGER NOT NULL,
            channel INTEGER NOT NULL,
            device INTEGER NOT NULL,
            delivered INTEGER NOT NULL,
            read INTEGER NOT NULL,
            PRIMARY KEY (user, channel, device)
        ) WITHOUT ROWID;
        CREATE INDEX offset_of_channel ON offset (channel, user, device);
        CREATE TABLE usage (
            user INTEGER PRIMARY KEY,
            groups INTEGER NOT NULL DEFAULT 0,
            groups_created INTEGER NOT NULL DEFAULT 0,
            names_registered INTEGER NOT NULL DEFAULT 0,
            conversations_begun INTEGER NOT NULL DEFAULT 0,
            invitations INTEGER NOT NULL DEFAULT 0
        );
        CREATE TABLE probe (bytes BLOB NOT NULL);
        """
}
