// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import Tern

/// A message: its length (four bytes), its number (eight bytes), and zeros.
struct LabMessage {
    static let minimumSize = 12
    static let maximumSize = 1 << 20

    var number: UInt64
    /// Bytes on the stream, all together.
    var size: Int

    init(number: UInt64, size: Int) {
        (self.number, self.size) = (number, max(size, Self.minimumSize))
    }

    var bytes: ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(self.size)
        buffer.writeInteger(UInt32(self.size))
        buffer.writeInteger(self.number)
        buffer.writeRepeatingByte(0, count: self.size - Self.minimumSize)
        return buffer
    }

    /// Takes a message off the front; `nil` when it is not complete.
    static func read(from buffer: inout ByteBuffer) -> LabMessage? {
        guard let size = buffer.getInteger(at: buffer.readerIndex, as: UInt32.self),
            (Self.minimumSize...Self.maximumSize).contains(Int(size)), buffer.readableBytes >= Int(size),
            let number = buffer.getInteger(at: buffer.readerIndex + 4, as: UInt64.self)
        else { return nil }
        buffer.moveReaderIndex(forwardBy: Int(size))
        return LabMessage(number: number, size: Int(size))
    }
}

/// Takes messages off a stream.
struct MessageReader {
    private let stream: Tern.Stream
    private var unread: ByteBuffer

    /// - Parameter unread: what was read of the stream already.
    init(_ stream: Tern.Stream, unread: ByteBuffer = ByteBuffer()) {
        (self.stream, self.unread) = (stream, unread)
    }

    /// `nil` at the end of the stream.
    mutating func next() async throws -> LabMessage? {
        while true {
            if let message = LabMessage.read(from: &self.unread) { return message }
            guard var more = try await self.stream.read() else { return nil }
            self.unread.discardReadBytes()
            self.unread.writeBuffer(&more)
        }
    }
}
