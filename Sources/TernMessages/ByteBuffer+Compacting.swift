// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore

extension ByteBuffer {
    /// A buffer that is this much larger than twice its bytes is not kept for their sake.
    private static let tolerance = 512

    /// The same bytes for keeping: in storage of their own when they are a small part of a larger one.
    ///
    /// A slice keeps the whole buffer alive that it was cut from: a message of 40 bytes a datagram train of 64 KiB. Whoever keeps
    /// a slice for longer than the call in which it came keeps this instead.
    func compacted() -> ByteBuffer {
        let count = self.readableBytes
        guard self.storageCapacity > 2 * count + Self.tolerance else { return self }
        guard count > 0 else { return ByteBuffer() }
        var copy = ByteBuffer()
        copy.reserveCapacity(count)
        copy.writeImmutableBuffer(self)
        return copy
    }
}
