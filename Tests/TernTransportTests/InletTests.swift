// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import DequeModule
import NIOCore
import TestTimeLimits
import Testing

@testable import TernTransport

@Suite("What waits for a reader", .untilItHangs)
struct InletTests {
    private func capacity(_ pieces: Deque<ByteBuffer>) -> Int { pieces.reduce(0) { $0 + $1.storageCapacity } }

    @Test(
        "Pieces cost about their bytes, whatever their size and whatever they were cut from",
        arguments: [1, 2, 100, 700, 4095, 4096, 10_000, 40_000])
    func joined(size: Int) {
        var pieces: Deque<ByteBuffer> = []
        var large = ByteBuffer(repeating: 0, count: 128 << 10)
        var sent = ByteBuffer()
        let total = 200_000
        while sent.readableBytes < total {
            large.clear()
            large.writeRepeatingByte(UInt8(truncatingIfNeeded: sent.readableBytes / size), count: size)
            large.getSlice(at: 0, length: size)?.wait(behind: &pieces)
            sent.writeImmutableBuffer(large)
        }
        #expect(self.capacity(pieces) <= 2 * sent.readableBytes + 1024)
        #expect(pieces.count <= sent.readableBytes / 4096 + 1)
        #expect(Array(pieces.flatMap { Array($0.readableBytesView) }) == Array(sent.readableBytesView))
    }

    @Test("A reader that waits gets the piece itself")
    func handedOver() async throws {
        let inlet = Inlet<ByteBuffer>(keep: { $0.wait(behind: &$1) })
        async let first = inlet.next()
        // Before or behind the reader, it is the same bytes.
        inlet.push(ByteBuffer(string: "first"))
        #expect(try await first == ByteBuffer(string: "first"))
        inlet.push(ByteBuffer(string: "second"))
        inlet.push(ByteBuffer(string: ", third"))
        #expect(try await inlet.next() == ByteBuffer(string: "second, third"))
        inlet.end()
        #expect(try await inlet.next() == nil)
    }

    private static func next(of inlet: Inlet<Int>) async -> Result<Int?, any Error> {
        do { return .success(try await inlet.next()) } catch { return .failure(error) }
    }

    @Test("A cancelled reader ends nobody else's wait")
    func cancelledReader() async throws {
        let inlet = Inlet<Int>()
        let waiting = Task { try await inlet.next() }
        await callWhileCancelled { _ = await Self.next(of: inlet) }
        inlet.push(7)
        #expect(try await waiting.value == 7)
    }

    @Test("Who is cancelled while it waits stops to wait, and the next reader gets what comes")
    func cancelledWhileWaiting() async throws {
        let inlet = Inlet<Int>()
        let waiting = Task { try await inlet.next() }
        waiting.cancel()
        await #expect(throws: CancellationError.self) { try await waiting.value }
        async let next = inlet.next()
        inlet.push(8)
        #expect(try await next == 8)
    }
}
