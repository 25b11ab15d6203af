// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import NIOPosix
internal import TernTransport

/// What the connections of one event loop need only while one of them has its turn.
///
/// `@unchecked Sendable`: it never leaves its thread, see ``ofThisThread``.
final class QMuxMemory: @unchecked Sendable {
    /// What was decrypted last. Emptied by whoever takes it.
    var plaintext = ByteBuffer()
    /// The record that was encrypted last.
    var record = ByteBuffer()
    /// What the sockets have, or had.
    var ciphertexts = SpareBuffers(capacity: 4, largest: 256 << 10)

    private static let threads = ThreadSpecificVariable<QMuxMemory>()

    /// Looked up in each turn: an event loop is one thread.
    static var ofThisThread: QMuxMemory {
        if let memory = Self.threads.currentValue { return memory }
        let memory = QMuxMemory()
        Self.threads.currentValue = memory
        return memory
    }

    /// Twice the largest TLS record: as long as one of them is not full, another has room.
    private static let plaintextCapacity = 32 << 10
    /// Where a full record comes, more are likely to follow.
    private static let ciphertextCapacity = 128 << 10

    func takePlaintext() -> ByteBuffer {
        var buffer = ByteBuffer()
        swap(&buffer, &self.plaintext)
        buffer.reserveCapacity(Self.plaintextCapacity)
        return buffer
    }

    func takeRecord() -> ByteBuffer {
        var buffer = ByteBuffer()
        swap(&buffer, &self.record)
        return buffer
    }

    /// - Parameter count: the size of the record that is about to be encrypted.
    func takeCiphertext(for count: Int) -> ByteBuffer {
        self.ciphertexts.take(count < 8 << 10 ? count + 64 : Self.ciphertextCapacity)
    }
}
