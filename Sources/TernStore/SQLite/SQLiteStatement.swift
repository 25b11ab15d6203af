// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CSQLite
internal import NIOCore

/// The owner of one `sqlite3_stmt *`. Parameters count from 1 and columns from 0, as in SQLite.
final class SQLiteStatement {
    private let handle: OpaquePointer
    /// Keeps the connection open as long as its statement is there.
    private let connection: SQLiteConnection

    init(_ handle: OpaquePointer, of connection: SQLiteConnection) {
        self.handle = handle
        self.connection = connection
    }

    deinit {
        sqlite3_finalize(self.handle)
    }

    /// Starts anew with these parameters. The others keep their values.
    @discardableResult
    func bind(_ values: UInt64...) -> SQLiteStatement {
        self.reset()
        for (index, value) in values.enumerated() {
            sqlite3_bind_int64(self.handle, Int32(index + 1), Int64(bitPattern: value))
        }
        return self
    }

    @discardableResult
    func bind(_ text: String, at index: Int32) -> SQLiteStatement {
        self.reset()
        sqlite3_bind_text(self.handle, index, text, Int32(text.utf8.count), transient)
        return self
    }

    @discardableResult
    func bind(_ bytes: ByteBuffer, at index: Int32) -> SQLiteStatement {
        _ = bytes.withUnsafeReadableBytes { pointer in
            // A null pointer would bind NULL.
            if pointer.isEmpty {
                sqlite3_bind_zeroblob(self.handle, index, 0)
            } else {
                sqlite3_bind_blob64(self.handle, index, pointer.baseAddress, UInt64(pointer.count), transient)
            }
        }
        return self
    }

    /// - Returns: whether there is a row. At the end, or at an error, the statement is reset and holds no lock.
    func step() throws(StoreError) -> Bool {
        let result = sqlite3_step(self.handle)
        if result == SQLITE_ROW { return true }
        guard result == SQLITE_DONE else {
            let error = self.connection.error(result, doing: String(cString: sqlite3_sql(self.handle)))
            self.reset()
            throw error
        }
        self.reset()
        return false
    }

    /// Runs a statement that gives no rows.
    func run() throws(StoreError) {
        _ = try self.step()
    }

    /// The first row, if there is one.
    func first<Value>(_ read: (SQLiteStatement) -> Value) throws(StoreError) -> Value? {
        guard try self.step() else { return nil }
        defer { self.reset() }
        return read(self)
    }

    /// Every row.
    func all<Value>(_ read: (SQLiteStatement) -> Value) throws(StoreError) -> [Value] {
        var values: [Value] = []
        while try self.step() { values.append(read(self)) }
        return values
    }

    func reset() {
        sqlite3_reset(self.handle)
    }

    func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(self.handle, column) }
    func unsigned(_ column: Int32) -> UInt64 { UInt64(bitPattern: self.integer(column)) }

    func text(_ column: Int32) -> String {
        guard let text = sqlite3_column_text(self.handle, column) else { return "" }
        let count = Int(sqlite3_column_bytes(self.handle, column))
        return String(decoding: UnsafeBufferPointer(start: text, count: count), as: UTF8.self)
    }

    func bytes(_ column: Int32) -> ByteBuffer {
        guard let pointer = sqlite3_column_blob(self.handle, column) else { return ByteBuffer() }
        let count = Int(sqlite3_column_bytes(self.handle, column))
        return ByteBuffer(bytes: UnsafeRawBufferPointer(start: pointer, count: count))
    }

    func byteCount(_ column: Int32) -> Int { Int(sqlite3_column_bytes(self.handle, column)) }
}

/// SQLITE_TRANSIENT: SQLite copies what is bound.
private let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
