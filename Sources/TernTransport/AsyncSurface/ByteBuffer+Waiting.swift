// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import DequeModule
package import NIOCore

/// Bytes that wait for a reader cost about as much memory as flow control was told: a carrier hands over pieces of any size, which
/// may be small parts of something large.
extension ByteBuffer {
    /// Smaller pieces are copied behind those that wait.
    private static let smallPiece = 4096
    /// What was joined grows up to this.
    private static let joinedPiece = 16 << 10
    /// Less than this is not worth a copy.
    private static let tolerableWaste = 512

    package func wait(behind pieces: inout Deque<ByteBuffer>) {
        let count = self.readableBytes
        if count < Self.smallPiece, let last = pieces.indices.last,
            pieces[last].readableBytes + count <= Self.joinedPiece
        {
            pieces[last].writeImmutableBuffer(self)
            return
        }
        pieces.append(self.withoutWaste)
    }

    /// The same bytes, copied if they keep much more memory alive than they need.
    package var withoutWaste: ByteBuffer {
        let waste = self.storageCapacity - self.readableBytes
        guard waste > Self.tolerableWaste, waste > self.readableBytes else { return self }
        return self.copied
    }

    /// A copy that does not keep the memory of a larger buffer alive.
    package var copied: ByteBuffer {
        var copy = ByteBuffer()
        copy.writeImmutableBuffer(self)
        return copy
    }
}
