// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import NIOCore
import TestTimeLimits
import Testing

@testable import TernStore

/// Data of version 2, in which everybody could join every group and read all of it, and keys had the time of the machine's clock.
@Suite(.untilItHangs) struct MembershipMigrationTests {
    /// The tables of version 2, as it made them.
    private static let versionTwo = """
        PRAGMA application_id = 1415934574; PRAGMA user_version = 2;
        CREATE TABLE run (only INTEGER PRIMARY KEY CHECK (only = 1), generation INTEGER NOT NULL, boot TEXT NOT NULL,
            durability TEXT NOT NULL, closed INTEGER NOT NULL);
        CREATE TABLE user_name (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
        CREATE TABLE group_name (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
        CREATE TABLE device (user INTEGER NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL,
            PRIMARY KEY (user, number), UNIQUE (user, name)) WITHOUT ROWID;
        CREATE TABLE channel (number INTEGER PRIMARY KEY, low INTEGER NOT NULL, high INTEGER NOT NULL,
            epoch INTEGER NOT NULL, head INTEGER NOT NULL, head_time INTEGER NOT NULL, members INTEGER NOT NULL DEFAULT 0,
            UNIQUE (low, high));
        CREATE TABLE member (user INTEGER NOT NULL, channel INTEGER NOT NULL, joined INTEGER NOT NULL,
            sent INTEGER NOT NULL, in_group INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (user, channel)) WITHOUT ROWID;
        CREATE INDEX member_of_channel ON member (channel, user);
        CREATE INDEX member_in_group ON member (user, in_group) WHERE in_group > 0;
        CREATE TABLE message (id INTEGER PRIMARY KEY, sender INTEGER NOT NULL, device INTEGER NOT NULL,
            key_high INTEGER NOT NULL, key_low INTEGER NOT NULL, type INTEGER NOT NULL, flags INTEGER NOT NULL,
            time INTEGER NOT NULL, client_time INTEGER NOT NULL, extensions BLOB NOT NULL, payload BLOB NOT NULL);
        CREATE TABLE known_key (sender INTEGER NOT NULL, key_high INTEGER NOT NULL, key_low INTEGER NOT NULL,
            message INTEGER NOT NULL, time INTEGER NOT NULL, PRIMARY KEY (sender, key_high, key_low)) WITHOUT ROWID;
        CREATE INDEX known_key_by_time ON known_key (time);
        CREATE TABLE offset (user INTEGER NOT NULL, channel INTEGER NOT NULL, device INTEGER NOT NULL,
            delivered INTEGER NOT NULL, read INTEGER NOT NULL, PRIMARY KEY (user, channel, device)) WITHOUT ROWID;
        CREATE INDEX offset_of_channel ON offset (channel, user, device);
        CREATE TABLE usage (user INTEGER PRIMARY KEY, groups INTEGER NOT NULL DEFAULT 0,
            groups_created INTEGER NOT NULL DEFAULT 0, names_registered INTEGER NOT NULL DEFAULT 0,
            conversations_begun INTEGER NOT NULL DEFAULT 0);
        CREATE TABLE probe (bytes BLOB NOT NULL);
        """

    /// Alice and bob are in a group with three messages; bob joined after the second. One key is of now, one of 1970, one of a year
    /// that has not come.
    private static func content(now: UInt64) -> String {
        """
        INSERT INTO run VALUES (1, 77, 'boot', 'full', 1);
        INSERT INTO user_name VALUES (1, 'alice'), (2, 'bob'), (3, 'carol');
        INSERT INTO group_name VALUES (68719476736, 'team');
        INSERT INTO channel VALUES (1, 68719476736, 68719476736, 6, 3, 1000, 2);
        INSERT INTO member VALUES (1, 1, 0, 3, 68719476736), (2, 1, 2, 0, 68719476736);
        INSERT INTO usage VALUES (1, 1, 1, 0, 0), (2, 1, 0, 0, 0);
        INSERT INTO message VALUES
            (4294967297, 1, 1, 0, 1, 32, 0, 1000, 0, x'', x'31'), (4294967298, 1, 1, 0, 2, 32, 0, 1000, 0, x'', x'32'),
            (4294967299, 1, 1, 0, 3, 32, 0, 1000, 0, x'', x'33');
        INSERT INTO known_key VALUES
            (1, 0, 1, 4294967297, 1000), (1, 0, 2, 4294967298, \(now)), (1, 0, 3, 4294967299, \(now + 1 << 40));
        INSERT INTO offset VALUES (2, 1, 1, 3, 1);
        """
    }

    private func makeOld(in directory: String, now: UInt64) throws {
        let connection = try SQLiteConnection(path: directory + "/messages.sqlite", mode: .readWriteCreate)
        try connection.execute("BEGIN; \(Self.versionTwo) COMMIT; BEGIN; \(Self.content(now: now)) COMMIT")
        try Data("3 77".utf8).write(to: URL(fileURLWithPath: directory + "/stamp"))
    }

    @Test func groupsBecomeClosedAndTheirMembersReadOn() async throws {
        try await withTemporaryDirectory { directory async throws in
            try self.makeOld(in: directory, now: WallClock.milliseconds)
            try await withStore(in: directory) { store async throws in
                let group: UInt64 = 1 << 36
                let channel = ChannelKey.group(group)
                let view = try #require(try await store.group(group, for: 2))
                #expect(view.rules == .closed && view.isMember && view.memberCount == 2 && view.name == "team")
                // Everything, also from before he joined.
                let page = try await store.history(of: channel, for: 2, from: 1, .forward, limit: 9, byteLimit: .max)
                #expect(page.messages.map(\.text) == ["1", "2", "3"] && page.first == 1 && page.head.epoch == 6)
                let entry = try await store.syncEntry(for: DeviceKey(user: 2, device: 1), in: channel)
                #expect(entry?.own == Offsets(delivered: 3, read: 1) && entry?.unread == 1)
                #expect(try await store.append(.text("4", to: channel, from: 2)).sequence == 4)
                _ = await storeError(.notInvited) { try await store.join(group: group, user: 3) }
                try await store.invite(3, to: group, by: 2)
                try await store.join(group: group, user: 3)
                let own = try await store.history(of: channel, for: 3, from: 1, .forward, limit: 9, byteLimit: .max)
                #expect(own.messages.isEmpty && own.first == 5)
                // Who comes back begins anew, like everybody.
                try await store.leave(group: group, user: 2)
                try await store.invite(2, to: group, by: 3)
                try await store.join(group: group, user: 2)
                #expect(try await store.memberships(of: 2, after: 0, limit: 9).map(\.first) == [5])
            }
        }
    }

    /// A key of the last days, and one that a wrong clock dated into the future, are known for another window; the store's own time
    /// does not begin in the future either.
    @Test func keysOfTheOldClockAreKept() async throws {
        try await withTemporaryDirectory { directory async throws in
            let now = WallClock.milliseconds
            try self.makeOld(in: directory, now: now)
            let steady = ManualDate(milliseconds: 0)
            var options = SQLiteMessageStore.Options()
            options.steadyNow = { steady.milliseconds }
            try await withStore(in: directory, options) { store async throws in
                for _ in 0..<7 {
                    try await store.flush()
                    for key in [2, 3] as [UInt64] {
                        var draft = Draft.text("\(key)", to: .group(1 << 36), from: 1)
                        draft.key = IdempotencyKey(high: 0, low: key)
                        let again = try await store.append(draft)
                        #expect(again.isDuplicate && again.sequence == key)
                    }
                    steady.advance(86_000_000)
                }
                var draft = Draft.text("1", to: .group(1 << 36), from: 1)
                draft.key = IdempotencyKey(high: 0, low: 1)
                #expect(try await store.append(draft).sequence == 4, "it is of 1970")
            }
        }
    }
}
