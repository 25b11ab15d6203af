// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore

extension ByteBuffer {
    /// - Throws: ``ErrorCode/malformed``; so do the others.
    mutating func readField<Value: FixedWidthInteger>(_: Value.Type = Value.self) throws(WireError) -> Value {
        guard let value = self.readInteger(as: Value.self) else { throw WireError(.malformed, "a body is cut short") }
        return value
    }

    mutating func readUser() throws(WireError) -> UserID {
        guard let user = UserID(rawValue: try self.readField()) else { throw WireError(.malformed, "no user") }
        return user
    }

    /// 0 stands for "none".
    mutating func readOptionalUser() throws(WireError) -> UserID? {
        let value = try self.readField(UInt64.self)
        if value == 0 { return nil }
        guard let user = UserID(rawValue: value) else { throw WireError(.malformed, "no user") }
        return user
    }

    mutating func readGroup() throws(WireError) -> GroupID {
        guard let group = GroupID(rawValue: try self.readField()) else { throw WireError(.malformed, "no group") }
        return group
    }

    mutating func readSequence() throws(WireError) -> MessageSequence {
        guard let sequence = MessageSequence(rawValue: try self.readField()) else {
            throw WireError(.malformed, "a sequence has more than 44 bits")
        }
        return sequence
    }

    mutating func readTimestamp() throws(WireError) -> MessageTimestamp {
        guard let timestamp = MessageTimestamp(rawValue: try self.readField()) else {
            throw WireError(.malformed, "a timestamp has more than 46 bits")
        }
        return timestamp
    }

    /// A 16-bit count, then each entry behind its 16-bit length, so that entries may grow at their end.
    mutating func writeEntries<Entry>(_ entries: [Entry], _ encode: (Entry, inout ByteBuffer) -> Void) {
        self.writeInteger(UInt16(clamping: entries.count))
        for entry in entries.prefix(Int(UInt16.max)) {
            var bytes = ByteBuffer()
            encode(entry, &bytes)
            self.writeInteger(UInt16(clamping: bytes.readableBytes))
            self.writeImmutableBuffer(bytes)
        }
    }

    mutating func readEntries<Entry>(
        _ decode: (inout ByteBuffer) throws(WireError) -> Entry
    ) throws(WireError) -> [Entry] {
        let count = try self.readField(UInt16.self)
        var entries: [Entry] = []
        for _ in 0..<count {
            guard var bytes = self.readSlice(length: Int(try self.readField(UInt16.self))) else {
                throw WireError(.malformed, "an entry is cut short")
            }
            entries.append(try decode(&bytes))
        }
        return entries
    }
}
