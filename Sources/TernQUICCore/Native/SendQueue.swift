// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernSystem
internal import DequeModule
internal import NIOCore

/// What a stream has to send, and what it sent that is not acknowledged yet.
///
/// ngtcp2 keeps pointers to stream data until it is acknowledged, instead of copying it. They stay valid because each
/// chunk holds its buffer: a ByteBuffer's storage is a reference-counted heap allocation that moves only when its sole
/// owner writes to it. Nobody writes to the chunk's buffer, and a caller who writes to another copy of it gets a new
/// storage.
struct SendQueue {
    private struct Chunk {
        let buffer: ByteBuffer
        let base: UnsafePointer<UInt8>
        let count: Int
    }

    private var chunks: Deque<Chunk> = []
    /// The stream offset of the first chunk's first byte.
    private var baseOffset: UInt64 = 0
    /// Where the first unsent byte is: the chunk, and the bytes of it that were sent.
    private var unsentChunk = 0
    private var sentOfChunk = 0
    /// The stream offset of the first unsent byte.
    private(set) var sentOffset: UInt64 = 0
    /// Everything below arrived, or is given up.
    private var settledOffset: UInt64 = 0
    /// Bytes that wait to be sent.
    private(set) var unsentBytes = 0
    /// The application said that no more comes.
    private(set) var isFinishing = false
    /// The end was sent.
    private(set) var isFinished = false

    /// Everything before this offset arrived.
    private(set) var acknowledgedOffset: UInt64 = 0
    /// The end left in a frame of its own, behind the last bytes.
    private var isEndAlone = false
    private var isEndAcknowledged = false
    /// The number of the path that packets went to before it.
    private(set) var pathOfEnd: UInt64 = 0

    /// Bytes and end arrived.
    var hasArrived: Bool { self.isFinished && self.isEndAcknowledged && self.acknowledgedOffset == self.sentOffset }

    var hasWork: Bool { self.unsentBytes > 0 || (self.isFinishing && !self.isFinished) }

    mutating func append(_ buffer: ByteBuffer, finish: Bool) {
        if finish { self.isFinishing = true }
        let count = buffer.readableBytes
        guard count > 0 else { return }
        let base = buffer.withUnsafeReadableBytesWithStorageManagement { bytes, _ in bytes.baseAddress }
        guard let base else { return }
        let bytes = base.assumingMemoryBound(to: UInt8.self)
        self.chunks.append(Chunk(buffer: buffer, base: bytes, count: count))
        self.unsentBytes += count
    }

    /// More than a packet holds: further vectors would be looked at in vain.
    private static var enough: Int { 4096 }

    /// Points `vectors` at the first unsent bytes; `finish` says whether they reach the end of the stream.
    func fill(_ vectors: UnsafeMutableBufferPointer<tern_quic_vec>) -> (count: Int, finish: Bool) {
        var count = 0
        var index = self.unsentChunk
        var skipped = self.sentOfChunk
        var total = 0
        while count < vectors.count, total < Self.enough, index < self.chunks.count {
            let chunk = self.chunks[index]
            vectors.initializeElement(
                at: count, to: tern_quic_vec(base: chunk.base + skipped, length: chunk.count - skipped))
            total += chunk.count - skipped
            count += 1
            index += 1
            skipped = 0
        }
        return (count, self.isFinishing && index == self.chunks.count)
    }

    /// `count` bytes of what `fill` showed were sent, and the end too if they were all and it reached it.
    mutating func markSent(_ count: Int) {
        self.unsentBytes -= count
        self.sentOffset += UInt64(count)
        var left = count
        while left > 0, self.unsentChunk < self.chunks.count {
            let available = self.chunks[self.unsentChunk].count - self.sentOfChunk
            if left < available {
                self.sentOfChunk += left
                return
            }
            left -= available
            self.unsentChunk += 1
            self.sentOfChunk = 0
        }
    }

    /// Whether only the end is not known to have arrived.
    var awaitsEnd: Bool { self.isFinished && !self.isEndAcknowledged && self.acknowledgedOffset == self.sentOffset }

    /// - Parameter alone: no bytes went with it.
    mutating func markFinished(alone: Bool, path: UInt64) {
        self.isFinished = true
        self.isEndAlone = alone
        self.pathOfEnd = path
    }

    /// Nothing is in flight and nothing waits: what was sent arrived.
    mutating func markEndAcknowledged() {
        if self.isFinished, self.acknowledgedOffset == self.sentOffset { self.isEndAcknowledged = true }
    }

    /// Everything below `offset` arrived: its memory is free.
    ///
    /// ngtcp2 tells of each acknowledged frame that is news: that the front moved, or that the frame had the end of the stream. The end
    /// went with the last bytes, also when they were sent again, unless it left alone.
    ///
    /// - Returns: how many bytes of it are news.
    mutating func markAcknowledged(upTo offset: UInt64) -> Int {
        if offset <= self.acknowledgedOffset, self.isFinished { self.isEndAcknowledged = true }
        self.acknowledgedOffset = max(self.acknowledgedOffset, offset)
        if !self.isEndAlone { self.markEndAcknowledged() }
        while let chunk = self.chunks.first, self.unsentChunk > 0, self.baseOffset + UInt64(chunk.count) <= offset {
            self.chunks.removeFirst()
            self.baseOffset += UInt64(chunk.count)
            self.unsentChunk -= 1
        }
        return self.settle(upTo: min(offset, self.sentOffset))
    }

    /// Nobody waits any more for the acknowledgement of what was sent.
    ///
    /// - Returns: how many bytes that are.
    mutating func giveUp() -> Int { self.settle(upTo: self.sentOffset) }

    private mutating func settle(upTo offset: UInt64) -> Int {
        guard offset > self.settledOffset else { return 0 }
        defer { self.settledOffset = offset }
        return Int(clamping: offset - self.settledOffset)
    }

    /// Forgets what was not sent. What was stays, because packets in flight still point to it.
    mutating func dropUnsent() {
        let kept = self.unsentChunk + (self.sentOfChunk > 0 ? 1 : 0)
        if self.chunks.count > kept { self.chunks.removeLast(self.chunks.count - kept) }
        self.unsentChunk = self.chunks.count
        self.sentOfChunk = 0
        self.unsentBytes = 0
        self.isFinishing = true
        self.isFinished = true
    }

    /// Only when ngtcp2 has forgotten the stream.
    mutating func removeAll() {
        self.dropUnsent()
        self.chunks.removeAll()
        self.unsentChunk = 0
    }
}
