// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Writes the frames of RFC 9000, section 19, also such as nobody should write.
package struct QUICFrames: Sendable {
    package private(set) var bytes: [UInt8] = []

    package init(pinging: Bool = false) { if pinging { self.ping() } }

    package var count: Int { self.bytes.count }

    /// A variable-length integer (RFC 9000, section 16).
    package mutating func append(_ value: UInt64) {
        switch value {
        case 0..<64: self.append(value, bytes: 1, prefix: 0x00)
        case 64..<16384: self.append(value, bytes: 2, prefix: 0x40)
        case 16384..<1_073_741_824: self.append(value, bytes: 4, prefix: 0x80)
        default: self.append(value, bytes: 8, prefix: 0xc0)
        }
    }

    private mutating func append(_ value: UInt64, bytes: UInt64, prefix: UInt8) {
        for index in (0..<bytes).reversed() {
            let byte = UInt8(truncatingIfNeeded: value >> (8 * index))
            self.bytes.append(index == bytes - 1 ? byte & 0x3f | prefix : byte)
        }
    }

    /// A frame whose fields are all integers.
    package mutating func frame(_ type: UInt64, _ fields: UInt64...) {
        self.append(type)
        for field in fields { self.append(field) }
    }

    package mutating func raw(_ bytes: [UInt8]) { self.bytes += bytes }

    package mutating func ping() { self.frame(0x01) }
    package mutating func acknowledgement(upTo largest: UInt64, range: UInt64) {
        self.frame(0x02, largest, 0, 0, range)
    }
    package mutating func reset(_ stream: UInt64, code: UInt64, finalSize: UInt64) {
        self.frame(0x04, stream, code, finalSize)
    }
    package mutating func stop(_ stream: UInt64, code: UInt64) { self.frame(0x05, stream, code) }
    /// CONNECTION_CLOSE of the application, without a reason.
    package mutating func close(code: UInt64) { self.frame(0x1d, code, 0) }
    package mutating func handshakeDone() { self.frame(0x1e) }
    package mutating func retireConnectionID(_ number: UInt64) { self.frame(0x19, number) }

    package mutating func stream(_ stream: UInt64, at offset: UInt64, _ bytes: [UInt8], finishes: Bool = false) {
        self.frame(0x0e | (finishes ? 1 : 0), stream, offset, UInt64(bytes.count))
        self.bytes += bytes
    }

    package mutating func datagram(_ bytes: [UInt8]) {
        self.frame(0x31, UInt64(bytes.count))
        self.bytes += bytes
    }

    /// The connection ID and its reset token follow from `number`.
    package mutating func newConnectionID(_ number: UInt64, retirePriorTo: UInt64, size: Int = 18, seed: UInt8 = 0) {
        self.frame(0x18, number, retirePriorTo)
        self.bytes.append(UInt8(size))
        let byte = UInt8(truncatingIfNeeded: number) &+ seed
        self.bytes += [UInt8](repeating: byte, count: size) + [UInt8](repeating: ~byte, count: 16)
    }

    package mutating func pathChallenge(_ byte: UInt8) {
        self.append(0x1a)
        self.bytes += Array(repeating: byte, count: 8)
    }
    package mutating func pathResponse(_ byte: UInt8) {
        self.append(0x1b)
        self.bytes += Array(repeating: byte, count: 8)
    }
}
