// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Logging

/// From opening the store to closing it: finds out whether the log is the one that was left, and gives new epochs if it is not.
///
/// The log may have lost its tail when
/// - somebody put the file `restored` into the data directory;
/// - the database is not the one that the stamp beside it speaks of, or has fewer messages: an older copy took its place;
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

    mutating func begin(in session: WriteSession) throws(StoreError) {
        let last = try session.connection.prepare("SELECT generation, boot, durability, closed FROM run").first { row in
            LastRun(
                generation: row.unsigned(0), boot: row.text(1), durability: row.text(2), isClosed: row.integer(3) != 0)
        }
        let total = try session.connection.integer("SELECT ifnull(sum(head), 0) FROM channel") ?? 0
        self.messages = UInt64(bitPattern: total)
        let reason = try self.reasonForNewEpochs(after: last)

        // The order of the next steps makes a death between any two of them harmless: the reason is found again, or the stamp
        // accepts both generations.
        let next = UInt64.random(in: 1...UInt64.max)
        let accepted = reason == nil ? [last?.generation ?? 0, next] : [next]
        try self.directory.write(DataDirectory.Stamp(generations: accepted, messages: self.messages))
        try session.begin(quotas: .unlimited)
        if let reason {
            try session.renewEpochs()
            self.logger.warning("every channel gets a new epoch", metadata: ["reason": "\(reason)"])
        }
        try session.connection.prepare(
            """
            INSERT INTO run (only, generation, boot, durability, closed) VALUES (1, ?1, ?2, ?3, 0)
            ON CONFLICT DO UPDATE SET generation = ?1, boot = ?2, durability = ?3, closed = 0
            """
        ).bind(next).bind(BootIdentifier.current, at: 2).bind(self.durability.rawValue, at: 3).run()
        try session.commit()
        self.generation = next
        try self.directory.write(DataDirectory.Stamp(generations: [next], messages: self.messages))
        try self.directory.remove(self.directory.restoredMarker)
    }

    private struct LastRun {
        var generation: UInt64
        var boot: String
        var durability: String
        var isClosed: Bool
    }

    private func reasonForNewEpochs(after last: LastRun?) throws(StoreError) -> String? {
        if try self.directory.exists(self.directory.restoredMarker) { return "the data was restored from a copy" }
        guard let last else { return nil }
        guard let stamp = try self.directory.readStamp(), stamp.generations.contains(last.generation) else {
            return "the database is not the one that was here before"
        }
        if self.messages < stamp.messages { return "the log has lost messages that it had" }
        let mayHaveLostCommits =
            last.durability != Durability.full.rawValue && !last.isClosed && last.boot != BootIdentifier.current
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

    func end(in session: WriteSession) {
        do {
            try session.connection.execute("UPDATE run SET closed = 1; PRAGMA optimize")
        } catch {
            self.logger.warning("the end of the run could not be written", metadata: ["error": "\(error)"])
        }
        self.note()
    }
}
