// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore

/// Header fields without a dynamic table (RFC 9204): a peer that was told of none must not use one.
enum QPACK {
    struct Field: Hashable, Sendable {
        var name: String
        var value: String
    }

    /// The entries of the static table that requests and answers here are about (RFC 9204, appendix A).
    private static let table: [Int: Field] = {
        var table: [Int: Field] = [0: Field(name: ":authority", value: ""), 1: Field(name: ":path", value: "/")]
        for (first, name, values) in [
            (15, ":method", ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"]),
            (22, ":scheme", ["http", "https"]),
            (24, ":status", ["103", "200", "304", "404", "503"]),
            (63, ":status", ["100", "204", "206", "302", "400", "403", "421", "425", "500"]),
        ] {
            for (offset, value) in values.enumerated() { table[first + offset] = Field(name: name, value: value) }
        }
        return table
    }()

    /// Fields by index, or with a name by index.
    static func encode(indexed: [Int], named: [(index: Int, value: String)] = []) -> ByteBuffer {
        // No insertions are required, and the base is 0.
        var bytes = ByteBuffer(bytes: [0, 0])
        for index in indexed { Self.write(index, bits: 6, pattern: 0xc0, to: &bytes) }
        for (index, value) in named {
            Self.write(index, bits: 4, pattern: 0x50, to: &bytes)
            Self.write(value.utf8.count, bits: 7, pattern: 0, to: &bytes)
            bytes.writeString(value)
        }
        return bytes
    }

    /// - Returns: `nil` when it is broken, or needs a dynamic table. Fields whose names the table here lacks have the name "".
    static func decode(_ section: ByteBuffer) -> [Field]? {
        var bytes = section
        guard Self.readInteger(bits: 8, from: &bytes) == 0, Self.readInteger(bits: 7, from: &bytes) != nil else {
            return nil
        }
        var fields: [Field] = []
        while let first: UInt8 = bytes.getInteger(at: bytes.readerIndex) {
            guard let field = Self.readField(first, from: &bytes) else { return nil }
            fields.append(field)
        }
        return fields
    }

    private static func readField(_ first: UInt8, from bytes: inout ByteBuffer) -> Field? {
        if first & 0x80 != 0 {
            guard first & 0x40 != 0, let index = Self.readInteger(bits: 6, from: &bytes) else { return nil }
            return Self.table[index] ?? Field(name: "", value: "")
        }
        if first & 0x40 != 0 {
            guard first & 0x10 != 0, let index = Self.readInteger(bits: 4, from: &bytes),
                let value = Self.readString(bits: 7, from: &bytes)
            else { return nil }
            return Field(name: Self.table[index]?.name ?? "", value: value)
        }
        guard first & 0x20 != 0, let name = Self.readString(bits: 3, from: &bytes),
            let value = Self.readString(bits: 7, from: &bytes)
        else { return nil }
        return Field(name: name, value: value)
    }

    // MARK: Integers and strings (RFC 7541, section 5)

    private static func write(_ value: Int, bits: UInt8, pattern: UInt8, to bytes: inout ByteBuffer) {
        let most = 1 << Int(bits) - 1
        guard value >= most else {
            bytes.writeInteger(pattern | UInt8(value))
            return
        }
        bytes.writeInteger(pattern | UInt8(most))
        var rest = value - most
        while rest >= 128 {
            bytes.writeInteger(UInt8(rest & 0x7f) | 0x80)
            rest >>= 7
        }
        bytes.writeInteger(UInt8(rest))
    }

    private static func readInteger(bits: UInt8, from bytes: inout ByteBuffer) -> Int? {
        let most = 1 << Int(bits) - 1
        guard let first: UInt8 = bytes.readInteger() else { return nil }
        var value = Int(first) & most
        guard value == most else { return value }
        for shift in stride(from: 0, through: 28, by: 7) {
            guard let next: UInt8 = bytes.readInteger() else { return nil }
            value += Int(next & 0x7f) << shift
            if next & 0x80 == 0 { return value }
        }
        return nil
    }

    /// - Parameter bits: of the length; the bit before them says whether the octets are Huffman's.
    private static func readString(bits: UInt8, from bytes: inout ByteBuffer) -> String? {
        guard let first: UInt8 = bytes.getInteger(at: bytes.readerIndex),
            let length = Self.readInteger(bits: bits, from: &bytes), let octets = bytes.readBytes(length: length)
        else { return nil }
        guard first & 1 << bits != 0 else { return String(decoding: octets, as: UTF8.self) }
        return Huffman.decode(octets).map { String(decoding: $0, as: UTF8.self) }
    }
}
