// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#if os(Linux)
import Dispatch
import Glibc
import NIOCore
import NIOPosix
import TestTimeLimits
import Testing

@testable import TernQUIC

@Suite("What the kernel tells of the network", .untilItHangs)
struct NetworkChangesTests {
    /// A pipe in the kernel's place; whoever holds its other end learns when the reader let go.
    private func pipe() -> (read: Int32, write: Int32) {
        var ends: [Int32] = [0, 0]
        precondition(Glibc.pipe(&ends) == 0)
        return (ends[0], ends[1])
    }

    private func isLetGo(_ descriptor: Int32) async throws -> Bool {
        for _ in 0..<3_000 {
            var poll = pollfd(fd: descriptor, events: 0, revents: 0)
            if Glibc.poll(&poll, 1, 0) == 1, Int32(poll.revents) & POLLERR != 0 { return true }
            try await Task.sleep(for: .milliseconds(10))
        }
        return false
    }

    @Test("Who stops to listen lets go of the descriptor", arguments: [true, false])
    func letsGo(whileTheLoopIsBusy: Bool) async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let (read, write) = self.pipe()
        let gate = DispatchSemaphore(value: 0)
        if whileTheLoopIsBusy { group.next().execute { gate.wait() } }
        let changes = NetworkChanges.stream(of: read, on: group.next())
        let listening = Task { for await _ in changes {} }
        if !whileTheLoopIsBusy {
            // A turn behind the registration.
            try await group.next().submit {}.get()
        }
        listening.cancel()
        await listening.value
        gate.signal()
        #expect(try await self.isLetGo(write))
        close(write)
        try await group.shutdownGracefully()
    }

    @Test("A change is told, and many are one")
    func tells() async throws {
        let (read, write) = self.pipe()
        let changes = NetworkChanges.stream(of: read, on: MultiThreadedEventLoopGroup.singleton.next())
        var byte: UInt8 = 1
        #expect(Glibc.write(write, &byte, 1) == 1)
        var iterator = changes.makeAsyncIterator()
        #expect(await iterator.next() != nil)
        close(write)
        while await iterator.next() != nil {}
    }
}
#endif
