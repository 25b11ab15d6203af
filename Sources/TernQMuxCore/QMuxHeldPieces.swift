// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import NIOCore
internal import TernTransport

/// What came of one stream and the application has not heard: pieces, of which each has its place among the events.
///
/// It holds little more memory than bytes: what comes is copied behind what waits of the same stream, so that neither tiny frames,
/// nor padding, nor frames of many streams in turn cost more than the flow-control window says.
struct QMuxHeldPieces {
    private var pieces: Deque<ByteBuffer> = []
    private(set) var byteCount = 0
    /// Of the piece that was told last.
    private var lastSize = 0

    /// What arrived of a stream is joined into one piece, up to this size: to hear of each record would cost more than to copy it.
    private static let pieceSize = 128 << 10
    /// A piece of this memory is told as it is, however empty: small ones are used again and again.
    private static let smallPiece = 2048

    var isEmpty: Bool { self.pieces.isEmpty }
    /// The memory that is held.
    var capacity: Int { self.pieces.reduce(0) { $0 + $1.storageCapacity } }

    /// - Parameters:
    ///   - following: how many more bytes are known to wait behind these, of whichever stream.
    ///   - spares: where memory is taken from.
    /// - Returns: whether a piece began, which needs its place among the events.
    mutating func append(_ bytes: ByteBuffer, following: Int, spares: inout SpareBuffers) -> Bool {
        let count = bytes.readableBytes
        self.byteCount += count
        if let last = self.pieces.indices.last, self.pieces[last].readableBytes + count <= Self.pieceSize {
            self.pieces[last].writeImmutableBuffer(bytes)
            return false
        }
        // More of the same is likely to follow, but only this stream's last piece shows that a peer does not just make us reserve
        // memory.
        let more = count > 0 ? min(following, max(count, 2 * self.lastSize)) : 0
        var piece = spares.take(min(count + more, max(count, Self.pieceSize)))
        piece.writeImmutableBuffer(bytes)
        self.pieces.append(piece)
        return true
    }

    mutating func takeFirst() -> ByteBuffer? {
        guard let piece = self.pieces.popFirst() else { return nil }
        self.byteCount -= piece.readableBytes
        self.lastSize = piece.readableBytes
        // The application may keep it: what was reserved in vain stays here.
        let isWasteful = piece.storageCapacity > Self.smallPiece && piece.storageCapacity / 2 > piece.readableBytes
        return isWasteful ? piece.copied() : piece
    }

    mutating func removeAll() {
        self.pieces.removeAll()
        self.byteCount = 0
    }
}
