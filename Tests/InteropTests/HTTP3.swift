// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore

/// As much of HTTP/3 (RFC 9114, with QPACK's static table, RFC 9204) as one GET and its answer need: ngtcp2's programs
/// speak nothing else.
enum HTTP3 {
    /// The control stream's type, and a SETTINGS frame that changes nothing.
    static let controlStream = ByteBuffer(bytes: [0x00, 0x04, 0x00])

    private static let data: UInt64 = 0x00
    private static let headers: UInt64 = 0x01

    static func get(_ path: String, authority: String) -> ByteBuffer {
        // A prefix of two zero octets; then :method GET and :scheme https, which the static table has whole.
        var fields = ByteBuffer(bytes: [0x00, 0x00, 0xc0 | 17, 0xc0 | 23])
        // Names from the static table with values of ours: :authority and :path.
        for (name, value) in [(UInt8(0), authority), (1, path)] {
            fields.writeInteger(0x50 | name)
            precondition(value.utf8.count < 127, "a longer value needs another octet of length")
            fields.writeInteger(UInt8(value.utf8.count))
            fields.writeString(value)
        }
        return Self.frame(Self.headers, fields)
    }

    /// `:status 200` and a body.
    static func answer(_ body: ByteBuffer) -> ByteBuffer {
        var answer = Self.frame(Self.headers, ByteBuffer(bytes: [0x00, 0x00, 0xc0 | 25]))
        answer.writeImmutableBuffer(Self.frame(Self.data, body))
        return answer
    }

    /// The content of the DATA frames of an answer; `nil` when its frames are broken or it has no headers.
    static func body(of answer: ByteBuffer) -> ByteBuffer? {
        var (rest, body, hasHeaders) = (answer, ByteBuffer(), false)
        while rest.readableBytes > 0 {
            guard let type = Self.integer(&rest), let length = Self.integer(&rest).flatMap(Int.init(exactly:)),
                var content = rest.readSlice(length: length)
            else { return nil }
            if type == Self.headers { hasHeaders = true }
            if type == Self.data { body.writeBuffer(&content) }
        }
        return hasHeaders ? body : nil
    }

    private static func frame(_ type: UInt64, _ content: ByteBuffer) -> ByteBuffer {
        var frame = ByteBuffer(bytes: [UInt8(type)])
        // The form of eight octets holds every length (RFC 9000, section 16).
        frame.writeInteger(UInt64(content.readableBytes) | 0xc000_0000_0000_0000)
        frame.writeImmutableBuffer(content)
        return frame
    }

    private static func integer(_ bytes: inout ByteBuffer) -> UInt64? {
        guard let first: UInt8 = bytes.readInteger() else { return nil }
        var value = UInt64(first & 0x3f)
        for _ in 1..<(1 << Int(first >> 6)) {
            guard let next: UInt8 = bytes.readInteger() else { return nil }
            value = value << 8 | UInt64(next)
        }
        return value
    }
}
