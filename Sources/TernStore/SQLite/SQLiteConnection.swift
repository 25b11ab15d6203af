// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CSQLite

/// The owner of one `sqlite3 *`. Not `Sendable`: one thread uses it at a time (it is opened with SQLITE_OPEN_NOMUTEX).
final class SQLiteConnection {
    enum Mode {
        case readWriteCreate
        case readWrite
        case readOnly

        fileprivate var flags: Int32 {
            switch self {
            case .readWriteCreate: SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
            case .readWrite: SQLITE_OPEN_READWRITE
            case .readOnly: SQLITE_OPEN_READONLY
            }
        }
    }

    let path: String
    private let handle: OpaquePointer
    /// How many pages the WAL had after the last commit; written by the hook.
    private let walPageCount: UnsafeMutablePointer<Int32>

    init(path: String, mode: Mode) throws(StoreError) {
        var handle: OpaquePointer?
        let flags = mode.flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE
        let result = sqlite3_open_v2(path, &handle, flags, nil)
        guard result == SQLITE_OK, let handle else {
            let reason = handle.map { String(cString: sqlite3_errmsg($0)) } ?? "out of memory"
            sqlite3_close_v2(handle)
            throw StoreError(.unusable, message: "cannot open \(path): \(reason)", sqliteCode: result)
        }
        self.path = path
        self.handle = handle
        self.walPageCount = .allocate(capacity: 1)
        self.walPageCount.initialize(to: 0)
        sqlite3_extended_result_codes(handle, 1)
    }

    /// Statements must be gone before; SQLite keeps the connection alive as a zombie otherwise.
    deinit {
        sqlite3_close_v2(self.handle)
        self.walPageCount.deallocate()
    }

    /// Whether no transaction is open.
    var isAutocommit: Bool { sqlite3_get_autocommit(self.handle) != 0 }
    /// The rows that the last INSERT, UPDATE or DELETE changed.
    var changes: Int { Int(sqlite3_changes(self.handle)) }
    var lastInsertedRow: Int64 { sqlite3_last_insert_rowid(self.handle) }
    var walPages: Int { Int(self.walPageCount.pointee) }

    func setBusyTimeout(milliseconds: Int32) {
        sqlite3_busy_timeout(self.handle, milliseconds)
    }

    /// Runs statements that have no parameters and whose rows nobody wants.
    func execute(_ sql: String) throws(StoreError) {
        let result = sqlite3_exec(self.handle, sql, nil, nil, nil)
        guard result == SQLITE_OK else { throw self.error(result, doing: sql) }
    }

    func prepare(_ sql: String) throws(StoreError) -> SQLiteStatement {
        var statement: OpaquePointer?
        let result = sqlite3_prepare_v3(self.handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil)
        guard result == SQLITE_OK, let statement else { throw self.error(result, doing: sql) }
        return SQLiteStatement(statement, of: self)
    }

    /// The first column of the first row.
    func integer(_ sql: String) throws(StoreError) -> Int64? {
        let statement = try self.prepare(sql)
        return try statement.step() ? statement.integer(0) : nil
    }

    func text(_ sql: String) throws(StoreError) -> String? {
        let statement = try self.prepare(sql)
        return try statement.step() ? statement.text(0) : nil
    }

    /// Counts the pages of the WAL at every commit. Replaces SQLite's automatic checkpoints, which use the same hook.
    func countWALPages() {
        sqlite3_wal_hook(
            self.handle,
            { pages, _, _, count in
                pages?.assumingMemoryBound(to: Int32.self).pointee = count
                return SQLITE_OK
            }, self.walPageCount)
    }

    enum Checkpoint {
        /// Moves what it can without waiting for anybody.
        case passive
        /// Moves everything, so that the next commit starts the WAL anew, or gives up when readers are in the way. The file keeps
        /// what it has until then.
        case restart
        /// The same, and empties the file.
        case truncate
    }

    /// - Returns: whether everything was moved.
    func checkpoint(_ kind: Checkpoint) throws(StoreError) -> Bool {
        var logged: Int32 = 0
        var moved: Int32 = 0
        let mode =
            switch kind {
            case .passive: SQLITE_CHECKPOINT_PASSIVE
            case .restart: SQLITE_CHECKPOINT_RESTART
            case .truncate: SQLITE_CHECKPOINT_TRUNCATE
            }
        let result = sqlite3_wal_checkpoint_v2(self.handle, nil, mode, &logged, &moved)
        if result & 0xff == SQLITE_BUSY { return false }
        guard result == SQLITE_OK else { throw self.error(result, doing: "checkpoint") }
        if kind != .passive { self.walPageCount.pointee = 0 }
        return logged == moved
    }

    /// Closing the last connection then leaves the WAL file as it is, instead of removing it.
    func keepLog() {
        var isKept: Int32 = 1
        sqlite3_file_control(self.handle, "main", SQLITE_FCNTL_PERSIST_WAL, &isKept)
        // With a limit the file would be emptied.
        try? self.execute("PRAGMA journal_size_limit = -1")
    }

    func error(_ result: Int32, doing what: String) -> StoreError {
        let reason = String(cString: sqlite3_errmsg(self.handle))
        let message = "\(self.path): \(reason) (\(what.prefix(80)))"
        return StoreError(StoreError.Code(sqliteResult: result), message: message, sqliteCode: result)
    }
}

extension StoreError.Code {
    /// The translation of SQLite's result codes, in one place.
    init(sqliteResult: Int32) {
        switch sqliteResult & 0xff {
        case SQLITE_FULL, SQLITE_IOERR, SQLITE_READONLY, SQLITE_CANTOPEN, SQLITE_NOMEM, SQLITE_PERM: self = .readOnly
        // Another program has it locked, for longer than we wait.
        case SQLITE_BUSY, SQLITE_LOCKED: self = .readOnly
        case SQLITE_CORRUPT: self = .corrupt
        case SQLITE_NOTADB: self = .notADatabase
        default: self = .internalError
        }
    }
}
