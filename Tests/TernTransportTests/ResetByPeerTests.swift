// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import NIOPosix
import TernTransport
import TestTimeLimits
import Testing

@Suite("Waiting for the peer's reset", .untilItHangs)
struct ResetByPeerTests {
    private let carrier = ScriptedConnection(role: .server, on: MultiThreadedEventLoopGroup.singleton.next())
    private let id = StreamID(rawValue: 0)

    @Test func aTaskThatDoesNotReadHearsOfIt() async throws {
        let (connection, stream) = try await self.open()
        async let code = stream.resetByPeer()
        try await self.carrier.script { [id] in
            $0.handler?.streamReceived(id, bytes: ByteBuffer(string: "unread"), finished: false)
            $0.handler?.streamWasReset(id, code: 42)
        }
        #expect(await code == 42)
        // It stays known, also to a task that is cancelled.
        #expect(await stream.resetByPeer() == 42)
        let late = Task { await stream.resetByPeer() }
        late.cancel()
        #expect(await late.value == 42)
        await connection.close()
    }

    @Test func otherEndsAreNone() async throws {
        let (connection, stream) = try await self.open()
        async let code = stream.resetByPeer()
        try await self.carrier.script { [id] in $0.handler?.streamReceived(id, bytes: ByteBuffer(), finished: true) }
        #expect(await code == nil)
        await connection.close()
    }

    @Test func theEndOfTheConnectionIsNone() async throws {
        let (_, stream) = try await self.open()
        async let code = stream.resetByPeer()
        try await self.carrier.script {
            $0.handler?.connectionClosed(TransportError(.idleTimeout, message: ""))
        }
        #expect(await code == nil)
    }

    @Test func aCancelledWaiterGivesNothingAndAnotherMayWait() async throws {
        let (connection, stream) = try await self.open()
        let waiter = Task { await stream.resetByPeer() }
        waiter.cancel()
        #expect(await waiter.value == nil)
        async let code = stream.resetByPeer()
        try await self.carrier.script { [id] in $0.handler?.streamWasReset(id, code: 1) }
        #expect(await code == 1)
        await connection.close()
    }

    private func open() async throws -> (Connection, TernTransport.Stream) {
        let connection = Connection(adopting: self.carrier)
        try await self.carrier.script { [id] in $0.handler?.streamOpened(id) }
        return (connection, try #require(try await connection.inboundStreams.first { _ in true }))
    }

    @Test func aCancelledTaskEndsNobodyElsesWait() async throws {
        let (connection, stream) = try await self.open()
        async let code = stream.resetByPeer()
        await callWhileCancelled { _ = await stream.resetByPeer() }
        try await self.carrier.script { [id] in $0.handler?.streamWasReset(id, code: 42) }
        #expect(await code == 42)
        await connection.close()
    }
}
