// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import NIOCore
import TestTimeLimits
import Testing

@testable import TernStore

/// Data of an older version of the tables is brought to the present one when it is opened.
@Suite(.untilItHangs) struct MigrationTests {
    /// The tables of version 1, as it made them.
    private static let versionOne = """
        PRAGMA application_id = 1415934574; PRAGMA user_version = 1;
        CREATE TABLE run (only INTEGER PRIMARY KEY CHECK (only = 1), generation INTEGER NOT NULL, boot TEXT NOT NULL,
            durability TEXT NOT NULL, closed INTEGER NOT NULL);
        CREATE TABLE user_name (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
        CREATE TABLE group_name (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
        CREATE TABLE device (user INTEGER NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL,
            PRIMARY KEY (user, number), UNIQUE (user, name)) WITHOUT ROWID;
        CREATE TABLE channel (number INTEGER PRIMARY KEY, low INTEGER NOT NULL, high INTEGER NOT NULL,
            epoch INTEGER NOT NULL, head INTEGER NOT NULL, head_time INTEGER NOT NULL, UNIQUE (low, high));
        CREATE TABLE member (user INTEGER NOT NULL, channel INTEGER NOT NULL, joined INTEGER NOT NULL,
            sent INTEGER NOT NULL, PRIMARY KEY (user, channel)) WITHOUT ROWID;
        CREATE INDEX member_of_channel ON member (channel, user);
        CREATE TABLE message (id INTEGER PRIMARY KEY, sender INTEGER NOT NULL, device INTEGER NOT NULL,
            key_high INTEGER NOT NULL, key_low INTEGER NOT NULL, type INTEGER NOT NULL, flags INTEGER NOT NULL,
            time INTEGER NOT NULL, client_time INTEGER NOT NULL, extensions BLOB NOT NULL, payload BLOB NOT NULL);
        CREATE TABLE known_key (sender INTEGER NOT NULL, key_high INTEGER NOT NULL, key_low INTEGER NOT NULL,
            message INTEGER NOT NULL, time INTEGER NOT NULL, PRIMARY KEY (sender, key_high, key_low)) WITHOUT ROWID;
        CREATE INDEX known_key_by_time ON known_key (time);
        CREATE TABLE offset (user INTEGER NOT NULL, channel INTEGER NOT NULL, device INTEGER NOT NULL,
            delivered INTEGER NOT NULL, read INTEGER NOT NULL, PRIMARY KEY (user, channel, device)) WITHOUT ROWID;
        CREATE TABLE probe (bytes BLOB NOT NULL);
        """

    /// Two users, a direct channel with two messages, a group with both and one message, and offsets; one of them of somebody who
    /// left the group.
    private static let content = """
        INSERT INTO run VALUES (1, 77, 'boot', 'full', 1);
        INSERT INTO user_name VALUES (1, 'alice'), (2, 'bob'), (3, 'carol');
        INSERT INTO group_name VALUES (68719476736, 'team');
        INSERT INTO channel VALUES (1, 1, 2, 5, 2, 1000), (2, 68719476736, 68719476736, 6, 1, 1000);
        INSERT INTO member VALUES (1, 1, 0, 2), (2, 1, 0, 0), (1, 2, 0, 0), (2, 2, 0, 1);
        INSERT INTO message VALUES
            (4294967297, 1, 1, 1, 1, 32, 0, 1000, 0, x'', x'6131'), (4294967298, 1, 1, 1, 2, 32, 0, 1000, 0, x'', x'6132'),
            (8589934593, 2, 1, 1, 3, 32, 0, 1000, 0, x'', x'6731');
        INSERT INTO offset VALUES (2, 1, 1, 2, 1), (3, 2, 1, 1, 1), (1, 2, 4, 1, 0);
        """

    private func makeOld(in directory: String, inWAL: Bool = false) throws {
        let connection = try SQLiteConnection(path: directory + "/messages.sqlite", mode: .readWriteCreate)
        try connection.execute("BEGIN; \(Self.versionOne) COMMIT")
        if inWAL { #expect(try connection.text("PRAGMA journal_mode = WAL") == "wal") }
        try connection.execute("BEGIN; \(Self.content) COMMIT")
        try Data("3 77".utf8).write(to: URL(fileURLWithPath: directory + "/stamp"))
    }

    @Test(arguments: [false, true])
    func theOldestVersionIsBroughtUpToDate(inWAL: Bool) async throws {
        try await withTemporaryDirectory { directory async throws in
            try self.makeOld(in: directory, inWAL: inWAL)
            try await withStore(in: directory) { store async throws in
                let (direct, group) = (ChannelKey.direct(1, 2), ChannelKey.group(1 << 36))
                #expect(try await store.log(of: direct).map(\.text) == ["a1", "a2"])
                #expect(try await store.log(of: group).map(\.text) == ["g1"])
                // The same epochs: it is the same log.
                #expect(try await store.head(of: direct).epoch == 5)
                #expect(try await store.memberCount(of: 1 << 36) == 2)
                #expect(try await store.groups(of: 1, after: 0, limit: 10) == [1 << 36])
                #expect(
                    try await store.offsets(in: group) == [
                        DeviceKey(user: 1, device: 4): Offsets(delivered: 1, read: 0)
                    ])
                #expect(
                    try await store.offsets(in: direct) == [
                        DeviceKey(user: 2, device: 1): Offsets(delivered: 2, read: 1)
                    ])
                // What is counted from now on begins with what is there.
                var quotas = UserQuotas()
                quotas.groups = 1
                store.limit(to: quotas)
                _ = await storeError(.quotaExceeded) { try await store.createGroup(named: "more", owner: 1) }
                #expect(try await store.createGroup(named: "more", owner: 3).group == 1 << 36 + 1)
                #expect(try await store.leave(group: 1 << 36, user: 1))
                #expect(try await store.memberCount(of: 1 << 36) == 1)
                #expect(try await store.createGroup(named: "again", owner: 1).isNew)
                #expect(try await store.append(.text("a3", to: direct, from: 2)).sequence == 3)
            }
            // The next time there is nothing left to do.
            try await withStore(in: directory) { store async throws in
                #expect(try await store.head(of: .direct(1, 2)).sequence == 3)
            }
        }
    }

    /// The tables that are made anew are those that the steps lead to.
    @Test func aNewDatabaseHasTheTablesOfAMigratedOne() async throws {
        func tables(_ directory: String) throws -> [String] {
            let connection = try SQLiteConnection(path: directory + "/messages.sqlite", mode: .readOnly)
            let names = try connection.prepare(
                "SELECT type || ' ' || name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY 1"
            ).all { $0.text(0) }
            let columns = try connection.prepare(
                """
                SELECT s.name || '.' || c.name || ' ' || c.type || ' ' || c."notnull" || ' ' || c.pk
                FROM sqlite_schema s, pragma_table_info(s.name) c WHERE s.type = 'table' ORDER BY 1
                """
            ).all { $0.text(0) }
            return names + columns
        }
        try await withTemporaryDirectory { old async throws in
            try self.makeOld(in: old)
            try await withStore(in: old) { _ in }
            try await withTemporaryDirectory { new async throws in
                try await withStore(in: new) { _ in }
                #expect(try tables(old) == tables(new))
            }
        }
    }

    /// What fails in the middle leaves the old version, as it was.
    @Test func aMigrationThatFailsChangesNothing() async throws {
        try await withTemporaryDirectory { directory async throws in
            try self.makeOld(in: directory)
            let path = directory + "/messages.sqlite"
            do {
                let connection = try SQLiteConnection(path: path, mode: .readWrite)
                // In the way of the last thing that the step makes.
                try connection.execute("CREATE TABLE usage (other INTEGER)")
            }
            let before = FileManager.default.contents(atPath: path)
            for _ in 0..<2 {
                #expect(throws: StoreError.self) { try SQLiteMessageStore(directory: directory, logger: .silent) }
            }
            let connection = try SQLiteConnection(path: path, mode: .readWrite)
            #expect(try connection.integer("PRAGMA user_version") == 1)
            #expect(FileManager.default.contents(atPath: path)?.count == before?.count)
            try connection.execute("DROP TABLE usage")
            try Schema.migrate(path)
            #expect(try connection.integer("SELECT members FROM channel WHERE number = 2") == 2)
        }
    }
}
