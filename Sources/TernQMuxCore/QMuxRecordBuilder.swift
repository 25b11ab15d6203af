// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore

/// Builds one record in place: the frames, and in front of them their size.
struct QMuxRecordBuilder {
    private var buffer: ByteBuffer
    private let maximumSize: Int
    /// Nothing may follow: the last frame ends with the record.
    private(set) var isSealed = false
    private(set) var isOnlyPing = false
    /// Room for the longest size that we write; our records are shorter than 2^14.
    private static let sizeField = 2

    /// - Parameter memory: an empty buffer to build it in, taken away.
    init(maximumSize: Int, in memory: inout ByteBuffer) {
        self.maximumSize = maximumSize
        self.buffer = ByteBuffer()
        swap(&self.buffer, &memory)
    }

    var count: Int { max(0, self.buffer.readableBytes - Self.sizeField) }
    var isEmpty: Bool { self.count == 0 }
    var room: Int { self.isSealed ? 0 : self.maximumSize - self.count }
    func hasRoom(_ count: Int) -> Bool { self.room >= count }

    mutating func append(_ frame: QMuxFrame) {
        self.write { frame.write(to: &$0) }
    }

    mutating func appendPing(_ frame: QMuxFrame) {
        let isFirst = self.isEmpty
        self.append(frame)
        self.isOnlyPing = isFirst
    }

    mutating func write(_ body: (inout ByteBuffer) -> Void) {
        if self.buffer.readableBytes == 0 {
            self.buffer.reserveCapacity(min(self.maximumSize, 512) + Self.sizeField)
            self.buffer.writeRepeatingByte(0, count: Self.sizeField)
        }
        body(&self.buffer)
        self.isOnlyPing = false
    }

    mutating func seal() {
        self.isSealed = true
    }

    /// A datagram that reaches to the record's end and needs no length (RFC 9221, section 4).
    mutating func seal(withDatagram bytes: ByteBuffer) {
        self.write { buffer in
            buffer.writeVariableIntegers(QMuxFrameType.datagram)
            buffer.writeImmutableBuffer(bytes)
        }
        self.isSealed = true
    }

    /// Writes the size.
    ///
    /// - Parameter record: an empty buffer without memory; it becomes the record, which is empty when it has no frame.
    mutating func finish(_ record: inout ByteBuffer) {
        defer { swap(&record, &self.buffer) }
        guard !self.isEmpty else { return }
        let start = self.buffer.readerIndex
        if self.count < 1 << 6 {
            self.buffer.setInteger(UInt8(self.count), at: start + 1)
            self.buffer.moveReaderIndex(forwardBy: 1)
        } else {
            self.buffer.setInteger(UInt16(self.count) | 0x4000, at: start)
        }
    }
}
