// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore

/// A few buffers that were handed out: once nobody else has one any more, its memory is used again. Who moves one message after
/// the other allocates nothing for them this way.
package struct SpareBuffers {
    private var buffers: [ByteBuffer] = []
    private var next = 0
    private let capacity: Int
    private let largest: Int

    /// - Parameters:
    ///   - capacity: how many buffers are kept at most.
    ///   - largest: buffers with more memory are not kept. An idle connection keeps what it has.
    package init(capacity: Int = 4, largest: Int = 2048) {
        self.capacity = capacity
        self.largest = largest
    }

    /// An empty buffer with room for `count` bytes.
    package mutating func take(_ count: Int) -> ByteBuffer {
        for index in self.buffers.indices where self.buffers[index].storageCapacity >= count {
            let isFree: Void? = self.buffers[index].modifyIfUniquelyOwned { (buffer: inout ByteBuffer) -> Void in
                buffer.clear()
            }
            guard isFree != nil else { continue }
            var buffer = ByteBuffer()
            swap(&buffer, &self.buffers[index])
            return buffer
        }
        var buffer = ByteBuffer()
        buffer.reserveCapacity(count)
        return buffer
    }

    /// `buffer` goes to somebody who may drop it soon.
    package mutating func keep(_ buffer: ByteBuffer) {
        guard (1...self.largest).contains(buffer.storageCapacity) else { return }
        if let index = self.buffers.firstIndex(where: { $0.storageCapacity == 0 }) {
            self.buffers[index] = buffer
        } else if self.buffers.count < self.capacity {
            self.buffers.append(buffer)
        } else {
            self.next = (self.next + 1) % self.capacity
            self.buffers[self.next] = buffer
        }
    }
}
