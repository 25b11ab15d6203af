// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore

/// Variable-length integers (RFC 9000, section 16) and the fields built from them.
extension ByteBuffer {
    package mutating func readVariableInteger() -> UInt64? {
        // The prefix says how long it is; asking first keeps the reader where it was when bytes are missing.
        guard let first = self.getInteger(at: self.readerIndex, as: UInt8.self),
            self.readableBytes >= 1 << Int(first >> 6)
        else { return nil }
        return self.readEncodedInteger(strategy: .quic)
    }

    package mutating func writeVariableInteger(_ value: UInt64) {
        self.writeEncodedInteger(min(value, QMuxFrame.maximumInteger), strategy: .quic)
    }

    mutating func writeVariableIntegers(_ values: UInt64...) {
        for value in values { self.writeVariableInteger(value) }
    }

    static func variableIntegerSize(_ value: UInt64) -> Int {
        switch value {
        case ..<(1 << 6): 1
        case ..<(1 << 14): 2
        case ..<(1 << 30): 4
        default: 8
        }
    }

    /// How many zero bytes were skipped.
    mutating func skipZeros() -> Int {
        let count = self.readableBytesView.prefix { $0 == 0 }.count
        self.moveReaderIndex(forwardBy: count)
        return count
    }

    mutating func readField(of frameType: UInt64) throws(QMuxViolation) -> UInt64 {
        guard let value = self.readVariableInteger() else { throw .frameEncoding("a truncated frame", frameType) }
        return value
    }

    mutating func readStreamCount(of frameType: UInt64) throws(QMuxViolation) -> UInt64 {
        let count = try self.readField(of: frameType)
        guard count <= QMuxFrame.maximumStreamCount else {
            throw .frameEncoding("a stream count above 2^60", frameType)
        }
        return count
    }

    /// What follows, up to its length field or to the record's end.
    mutating func readPayload(hasLength: Bool, of frameType: UInt64) throws(QMuxViolation) -> ByteBuffer {
        let length = hasLength ? try self.readField(of: frameType) : UInt64(self.readableBytes)
        guard length <= UInt64(self.readableBytes), let payload = self.readSlice(length: Int(length)) else {
            throw .frameEncoding("a frame that goes on after its record", frameType)
        }
        return payload
    }

    mutating func readReason(of frameType: UInt64) throws(QMuxViolation) -> String {
        let bytes = try self.readPayload(hasLength: true, of: frameType)
        return String(decoding: bytes.readableBytesView.prefix(QMuxConnectionCore.maximumReasonSize), as: UTF8.self)
    }
}
