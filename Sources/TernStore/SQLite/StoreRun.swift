// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Logging

/// From opening the store to closing it: finds out whether the log is the one that was left, and gives new epochs if it is not.
///
/// The log may have lost its tail when
/// - somebody put the file `restored` into the data directory;
/// - the database is not the one that the stamp beside it speaks of, or has fewer messages: an older copy took its place;
/// - it was not closed, and its write-ahead log is missing, unreadable, or shorter than it was;
/// - it ran with durability `normal`, was not closed, and the machine has started anew since: the kernel may have lost commits.
struct StoreRun {
    private let directory: DataDirectory
    private let durability: Durability
    private let logger: Logger
    private var generation: UInt64 = 0
    /// How many messages the store has.
    var messages: UInt64 = 0

    init(directory: DataDirectory, durability: Durability, logger: Logger) {
        self.directory = directory
        self.durability = durability
        self.logger = logger
    }

    /// - Parameters:
    ///   - session: the open database.
    ///   - remains: of the write-ahead log, from before it was opened; `nil` for a new database.
    ///   - wall: milliseconds since 1970, as the machine has them.
    /// - Returns: where the store's own time goes on.
    mutating func begin(
        in session: WriteSession, after remains: WriteAheadLog?, wall: UInt64
    ) throws(StoreError) -> UInt64 {
        let last = try session.connection.prepare("SELECT generation, boot, durability, closed, time FROM run").first {
            row in
            LastRun(
                generation: row.unsigned(0), boot: row.text(1), durability: row.text(2), isClosed: row.integer(3) != 0,
                time: row.unsigned(4))
        }
        let time = try last.map { last throws(StoreError) in try self.time(after: last, in: session) } ?? wall
        let total = try session.connection.integer("SELECT ifnull(sum(head), 0) FROM channel") ?? 0
        self.messages = UInt64(bitPattern: total)
        let reason = try self.reasonForNewEpochs(after: last, remains)

        // The order of the next steps makes a death between any two of them harmless: the reason is found again, or the stamp
        // accepts both generations.
        let next = UInt64.random(in: 1...UInt64.max)
        let accepted = reason == nil ? [last?.generation ?? 0, next] : [next]
        try self.directory.write(DataDirectory.Stamp(generations: accepted, messages: self.messages))
        try session.begin(quotas: .unlimited)
        if let reason {
            try session.renewEpochs()
            self.logger.error(
                "every channel gets a new epoch: messages may be lost, and clients read everything again",
                metadata: ["reason": "\(reason)"])
        }
        try session.connection.prepare(
            """
            INSERT INTO run (only, generation, time, boot, durability, closed) VALUES (1, ?1, ?2, ?3, ?4, 0)
            ON CONFLICT DO UPDATE SET generation = ?1, time = ?2, boot = ?3, durability = ?4, closed = 0
            """
        ).bind(next, time).bind(BootIdentifier.current, at: 3).bind(self.durability.rawValue, at: 4).run()
        try session.commit()
        self.generation = next
        try self.directory.write(DataDirectory.Stamp(generations: [next], messages: self.messages))
        try self.directory.remove(self.directory.restoredMarker)
        return time
    }

    /// After a death the newest key tells how far the time had come; no key is further ahead of what is written down. (What an
    /// older version wrote by a wrong clock may be: that says nothing.)
    private func time(after last: LastRun, in session: WriteSession) throws(StoreError) -> UInt64 {
        let newest = try session.connection.prepare("SELECT ifnull(max(time), 0) FROM known_key WHERE time <= ?1")
            .bind(last.time + StoreTime.noteEvery).first { $0.unsigned(0) }
        return max(last.time, newest ?? 0)
    }

    private struct LastRun {
        var generation: UInt64
        var boot: String
        var durability: String
        var isClosed: Bool
        var time: UInt64
    }

    private func reasonForNewEpochs(
        after last: LastRun?, _ remains: WriteAheadLog?
    ) throws(StoreError) -> String? {
        if try self.directory.exists(self.directory.restoredMarker) { return "the data was restored from a copy" }
        guard let last else {
            return try self.directory.readStamp() == nil ? nil : "the database is empty, and there was one before"
        }
        guard let stamp = try self.directory.readStamp(), stamp.generations.contains(last.generation) else {
            return "the database is not the one that was here before"
        }
        if self.messages < stamp.messages { return "the log has lost messages that it had" }
        let sameBoot = last.boot == BootIdentifier.current
        if !last.isClosed, let loss = remains?.loss(sameBoot: sameBoot) {
            return "the last run was not closed, and \(loss)"
        }
        let mayHaveLostCommits =
            last.durability != Durability.full.rawValue && !last.isClosed && !sameBoot
        return mayHaveLostCommits ? "the machine went down while commits were not synced" : nil
    }

    /// Tells the stamp how many messages there are. A stamp that cannot be written only notices less.
    func note() {
        do {
            try self.directory.write(DataDirectory.Stamp(generations: [self.generation], messages: self.messages))
        } catch {
            self.logger.warning("the stamp could not be written", metadata: ["error": "\(error)"])
        }
    }

    /// - Returns: whether the database says so now.
    func end(in session: WriteSession, at time: UInt64) -> Bool {
        do {
            try session.connection.execute("UPDATE run SET closed = 1, time = \(time)")
        } catch {
            self.logger.warning("the end of the run could not be written", metadata: ["error": "\(error)"])
            return false
        }
        self.note()
        return true
    }
}
