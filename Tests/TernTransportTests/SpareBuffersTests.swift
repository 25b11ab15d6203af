// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@Suite("Buffers that are used again")
struct SpareBuffersTests {
    private func address(of buffer: ByteBuffer) -> UInt {
        buffer.withVeryUnsafeBytes { UInt(bitPattern: $0.baseAddress) }
    }

    @Test func whatNobodyElseHasIsGivenAgain() {
        var spares = SpareBuffers()
        var places: Set<UInt> = []
        for _ in 0..<10 {
            var buffer = spares.take(100)
            #expect(buffer.readableBytes == 0 && buffer.writableBytes >= 100)
            buffer.writeRepeatingByte(7, count: 100)
            places.insert(self.address(of: buffer))
            spares.keep(buffer)
        }
        #expect(places.count == 1)
    }

    @Test func whatSomebodyHasStaysAsItIs() {
        var spares = SpareBuffers(capacity: 2)
        var held: [ByteBuffer] = []
        for byte in 0..<10 as Range<UInt8> {
            var buffer = spares.take(10)
            buffer.writeRepeatingByte(byte, count: 10)
            spares.keep(buffer)
            held.append(buffer)
        }
        #expect(held == (0..<10).map { ByteBuffer(repeating: UInt8($0), count: 10) })
    }

    @Test func whatIsTooSmallIsNotGiven() {
        var spares = SpareBuffers()
        spares.keep(spares.take(10))
        #expect(spares.take(1_000).writableBytes >= 1_000)
    }

    @Test func aSliceOfSomethingLargeIsNotKept() {
        var spares = SpareBuffers(capacity: 1, largest: 64)
        var large = ByteBuffer(repeating: 0, count: 1_000)
        if let slice = large.readSlice(length: 10) { spares.keep(slice) }
        large = ByteBuffer()
        #expect(spares.take(10).storageCapacity < 1_000)
    }
}
