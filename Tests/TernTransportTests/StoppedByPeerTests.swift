// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import NIOPosix
import TernTransport
import TestTimeLimits
import Testing

@Suite("Waiting until the peer wants no more", .untilItHangs)
struct StoppedByPeerTests {
    private let carrier = ScriptedConnection(role: .server, on: MultiThreadedEventLoopGroup.singleton.next())
    private let id = StreamID(rawValue: 0)

    @Test func aTaskThatDoesNotWriteHearsOfIt() async throws {
        let (connection, stream) = try await self.open()
        async let code = stream.stoppedByPeer()
        try await self.carrier.script { [id] in $0.handler?.streamWasStopped(id, code: 42) }
        #expect(await code == 42)
        #expect(await stream.stoppedByPeer() == 42)
        let refused = await #expect(throws: TransportError.self) { try await stream.write(ByteBuffer(string: "?")) }
        #expect(refused?.code == .streamStopped)
        await connection.close()
    }

    /// It was finished, and the peer wants no more while the end is on its way.
    @Test func aFinishedStreamMayStillBeStopped() async throws {
        let (connection, stream) = try await self.open()
        try await stream.finish()
        async let code = stream.stoppedByPeer()
        try await self.carrier.script { [id] in $0.handler?.streamWasStopped(id, code: 7) }
        #expect(await code == 7)
        await connection.close()
    }

    @Test func otherEndsAreNone() async throws {
        let (connection, stream) = try await self.open()
        async let taken = stream.stoppedByPeer()
        try await stream.finish()
        try await self.carrier.script { [id] in
            $0.handler?.streamReceived(id, bytes: ByteBuffer(), finished: true)
            $0.handler?.streamClosed(id)
        }
        #expect(await taken == nil)
        await connection.close()
        let (other, reset) = try await self.open(
            StreamID(rawValue: 4), on: .init(role: .server, on: self.carrier.eventLoop))
        async let gone = reset.stoppedByPeer()
        reset.reset(code: 1)
        #expect(await gone == nil)
        await other.close()
    }

    @Test func theEndOfTheConnectionIsNone() async throws {
        let (_, stream) = try await self.open()
        async let code = stream.stoppedByPeer()
        try await self.carrier.script { $0.handler?.connectionClosed(TransportError(.idleTimeout, message: "")) }
        #expect(await code == nil)
    }

    @Test func aStreamThatOnlyReceivesIsNone() async throws {
        let (connection, stream) = try await self.open(StreamID(rawValue: 2), on: self.carrier)
        #expect(await stream.stoppedByPeer() == nil)
        await connection.close()
    }

    private func open() async throws -> (Connection, TernTransport.Stream) {
        try await self.open(self.id, on: self.carrier)
    }

    private func open(_ id: StreamID, on carrier: ScriptedConnection) async throws -> (Connection, TernTransport.Stream)
    {
        let connection = Connection(adopting: carrier)
        try await carrier.script { $0.handler?.streamOpened(id) }
        return (connection, try #require(try await connection.inboundStreams.first { _ in true }))
    }

    @Test func aCancelledTaskEndsNobodyElsesWait() async throws {
        let (connection, stream) = try await self.open()
        async let code = stream.stoppedByPeer()
        await callWhileCancelled { _ = await stream.stoppedByPeer() }
        try await self.carrier.script { [id] in $0.handler?.streamWasStopped(id, code: 42) }
        #expect(await code == 42)
        await connection.close()
    }
}
