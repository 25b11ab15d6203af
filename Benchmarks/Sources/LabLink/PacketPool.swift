// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Memory for packets, taken and given back by number, so that carrying a packet allocates nothing.
///
/// Confined to whoever holds the link. The memory lives as long as the pool.
package final class PacketPool {
    /// How many bytes a buffer holds.
    package let bytesPerBuffer: Int
    private let maximumBuffers: Int
    private var chunks: [UnsafeMutableRawBufferPointer] = []
    private var unused: [Int32] = []

    private static let buffersPerChunk = 256

    /// - Parameter maximumBytes: how much memory the pool may grow to.
    package init(bytesPerBuffer: Int, maximumBytes: Int = 512 << 20) {
        self.bytesPerBuffer = bytesPerBuffer
        self.maximumBuffers = Swift.max(maximumBytes / bytesPerBuffer, Self.buffersPerChunk)
    }

    deinit {
        for chunk in self.chunks { chunk.deallocate() }
    }

    /// How many buffers are in somebody's hands.
    package var takenBuffers: Int { self.chunks.count * Self.buffersPerChunk - self.unused.count }

    /// - Returns: a buffer's number, for ``bytes(of:count:)``; `nil` when the pool has grown to its limit.
    package func take() -> Int32? {
        if let buffer = self.unused.popLast() { return buffer }
        let first = self.chunks.count * Self.buffersPerChunk
        guard first + Self.buffersPerChunk <= self.maximumBuffers else { return nil }
        self.chunks.append(
            .allocate(byteCount: self.bytesPerBuffer * Self.buffersPerChunk, alignment: 64))
        self.unused.append(contentsOf: (first..<first + Self.buffersPerChunk).reversed().map { Int32($0) })
        return self.unused.popLast()
    }

    /// Hands back a buffer that ``take()`` gave; once.
    package func giveBack(_ buffer: Int32) {
        self.unused.append(buffer)
    }

    /// The whole buffer, to read a packet into.
    package func space(of buffer: Int32) -> UnsafeMutableRawBufferPointer {
        let (chunk, place) = Int(buffer).quotientAndRemainder(dividingBy: Self.buffersPerChunk)
        let start = place * self.bytesPerBuffer
        return UnsafeMutableRawBufferPointer(rebasing: self.chunks[chunk][start..<start + self.bytesPerBuffer])
    }

    /// The packet in a buffer.
    package func bytes(of buffer: Int32, count: Int) -> PacketBytes {
        PacketBytes(UnsafeMutableRawBufferPointer(rebasing: self.space(of: buffer)[..<count]))
    }
}

/// The bytes of a packet where they lie, with numbers in network order. Every access is within bounds or traps; who
/// reads what the network sent compares with ``count`` first.
package struct PacketBytes {
    private let memory: UnsafeMutableRawBufferPointer

    package init(_ memory: UnsafeMutableRawBufferPointer) {
        self.memory = memory
    }

    package var count: Int { self.memory.count }
    package var raw: UnsafeRawBufferPointer { UnsafeRawBufferPointer(self.memory) }

    package subscript(offset: Int) -> UInt8 {
        get {
            precondition(offset >= 0 && offset < self.memory.count)
            return self.memory[offset]
        }
        nonmutating set {
            precondition(offset >= 0 && offset < self.memory.count)
            self.memory[offset] = newValue
        }
    }

    package subscript(word offset: Int) -> UInt16 {
        get { UInt16(self[offset]) << 8 | UInt16(self[offset + 1]) }
        nonmutating set {
            self[offset] = UInt8(newValue >> 8)
            self[offset + 1] = UInt8(newValue & 0xff)
        }
    }

    package func copy(from source: PacketBytes, _ range: Range<Int>, to offset: Int) {
        precondition(range.lowerBound >= 0 && range.upperBound <= source.count)
        precondition(offset >= 0 && offset + range.count <= self.count)
        UnsafeMutableRawBufferPointer(rebasing: self.memory[offset...]).copyMemory(
            from: UnsafeRawBufferPointer(rebasing: source.raw[range]))
    }
}
