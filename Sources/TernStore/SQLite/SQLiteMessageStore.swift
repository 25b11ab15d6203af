// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import Logging
internal import NIOCore
internal import Synchronization

/// The log in a SQLite file: one thread writes, a few read. Docs/STORE.md describes the file and its guarantees.
public final class SQLiteMessageStore: MessageStore {
    public struct Options: Sendable {
        /// When a receipt is given.
        public var durability: Durability = .full
        /// How long a message key is remembered at least, counted from its message by a clock that nobody sets.
        public var keyWindow: Duration = .seconds(7 * 24 * 3600)
        /// The largest payload that is taken, in bytes.
        public var maximumPayload: Int = 1 << 20
        /// The largest extensions that are taken, in bytes.
        public var maximumExtensions: Int = 1 << 10
        /// How many operations, and how many bytes of them, may wait for the writer before callers are suspended.
        public var maximumQueuedOperations: Int = 4_096
        public var maximumQueuedBytes: Int = 32 << 20
        /// The most operations of one transaction, and the most bytes.
        public var maximumBatch: Int = 1_024
        public var maximumBatchBytes: Int = 4 << 20
        /// How many connections read.
        public var readers: Int = 2
        /// How long told offsets may wait for a commit.
        public var offsetDelay: Duration = .milliseconds(100)
        /// How often a store that became read-only tries to write.
        public var probeInterval: Duration = .seconds(1)
        /// After how long without a commit the WAL is moved into the tables and emptied.
        public var idleDelay: Duration = .seconds(1)
        /// After how many pages of the WAL a checkpoint is made while there is work.
        public var checkpointPages: Int = 1_000
        /// Milliseconds since 1970; for tests of what depends on the date.
        package var now: @Sendable () -> UInt64 = { WallClock.milliseconds }
        /// Milliseconds of a clock that nobody sets; for tests of what depends on how much time passes.
        package var steadyNow: @Sendable () -> UInt64 = { MonotonicInstant.now.nanoseconds / 1_000_000 }
        /// How long the writer waits for another program that has the database locked.
        package var lockPatience: Duration = .seconds(2)
        /// `PRAGMA max_page_count`: a full disk for tests.
        package var maximumPages: Int?

        public init() {}

        var queueBounds: WriteQueue.Bounds {
            WriteQueue.Bounds(
                items: max(1, self.maximumQueuedOperations), bytes: max(1, self.maximumQueuedBytes),
                batchItems: max(1, self.maximumBatch), batchBytes: max(1, self.maximumBatchBytes))
        }
    }

    /// More entries of one page than this are not given.
    static let largestPage = 10_000
    /// More numbers of channels than this are not remembered.
    static let rememberedNumbers = 65_536

    let options: Options
    let board: StatusBoard
    let writer: LogWriter
    let readers: ReaderPool
    let writerEnd: Monitor<WriterEnd>
    let channelNumbers = Mutex<[ChannelKey: UInt64]>([:])

    struct WriterEnd: Sendable {
        var isOver = false
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    /// Opens the store in `directory`, or creates both. Blocks while it reads and writes the disk.
    ///
    /// - Throws: ``StoreError/Code/inUse``, ``StoreError/Code/otherVersion``, ``StoreError/Code/notADatabase``,
    ///   ``StoreError/Code/unusable``, ``StoreError/Code/readOnly`` on a full disk, ``StoreError/Code/corrupt``; each names the path.
    public init(directory path: String, options: Options = Options(), logger: Logger) throws(StoreError) {
        let directory = try DataDirectory(path: path, logger: logger)
        let remains = try Self.prepareDatabase(in: directory)
        let board = StatusBoard()
        let writer = try LogWriter(
            directory: directory, remains: remains, options: options, board: board, logger: logger)
        let readers = try ReaderPool(path: directory.database, count: max(1, options.readers))
        let writerEnd = Monitor(WriterEnd())
        do {
            try StoreThread.start {
                writer.runUntilClosed()
                let waiting = writerEnd.withLock { end in
                    end.isOver = true
                    defer { end.waiting = [] }
                    return end.waiting
                }
                for continuation in waiting { continuation.resume() }
            }
        } catch {
            readers.stop()
            throw error
        }
        self.options = options
        self.board = board
        self.writer = writer
        self.readers = readers
        self.writerEnd = writerEnd
    }

    deinit {
        // Nobody waits; the threads end by themselves after what is queued.
        self.readers.stop()
        self.writer.queue.close()
        self.board.close()
    }

    /// Makes the database under another name and moves it into place when it is whole, so that there is never half of one.
    ///
    /// - Returns: what the last run left of the write-ahead log; `nil` when there was no database.
    private static func prepareDatabase(in directory: DataDirectory) throws(StoreError) -> WriteAheadLog? {
        guard try !directory.exists(directory.database) else {
            try directory.checkDatabaseFiles()
            let remains = WriteAheadLog(of: directory.database)
            // A journal is there when a migration was ended in its commit: the header may say what will be rolled back.
            let isOld = try directory.checkHeader() < Schema.version
            let wasInterrupted = try directory.exists(directory.database + "-journal")
            if isOld || wasInterrupted { try Schema.migrate(directory.database) }
            // Older versions emptied the log while they were open.
            return isOld ? nil : remains
        }
        let path = directory.unfinishedDatabase
        try directory.remove(path)
        try directory.remove(path + "-journal")
        do {
            let connection = try SQLiteConnection(path: path, mode: .readWriteCreate)
            try connection.execute("PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL; PRAGMA page_size = 4096")
            try connection.execute("BEGIN IMMEDIATE; \(Schema.creation) COMMIT")
        }
        try directory.makePrivate(path)
        try directory.rename(path, to: directory.database)
        return nil
    }
}
