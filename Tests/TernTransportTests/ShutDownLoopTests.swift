// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import NIOPosix
import TernTransport
import TestTimeLimits
import Testing

/// An event loop that was shut down drops what it is given without a word: every call must return all the same.
@Suite("A connection whose event loop was shut down", .untilItHangs)
struct ShutDownLoopTests {
    private func connection(endsBefore: Bool) async throws -> (Connection, ScriptedConnection) {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let carrier = ScriptedConnection(role: .client, on: group.next())
        let connection = Connection(adopting: carrier)
        try await carrier.script { carrier in
            // A promise on a loop that is gone is completed by nobody.
            carrier.migration.fail(TransportError(.cancelled, message: "it is not asked for"))
            if endsBefore { carrier.handler?.connectionClosed(TransportError(.idleTimeout, message: "silence")) }
        }
        try await group.shutdownGracefully()
        return (connection, carrier)
    }

    private static func code(_ body: () async throws -> Void) async -> TransportError.Code? {
        do {
            try await body()
            return nil
        } catch {
            return (error as? TransportError)?.code
        }
    }

    @Test(arguments: [true, false])
    func openingAStreamReturns(endsBefore: Bool) async throws {
        let (connection, carrier) = try await self.connection(endsBefore: endsBefore)
        let code = await Self.code { _ = try await connection.openStream() }
        #expect(code == (endsBefore ? .idleTimeout : .cancelled))
        withExtendedLifetime(carrier) {}
    }

    @Test(arguments: [true, false])
    func askingReturns(endsBefore: Bool) async throws {
        let (connection, carrier) = try await self.connection(endsBefore: endsBefore)
        let expected: TransportError.Code = endsBefore ? .idleTimeout : .cancelled
        #expect(await connection.remoteAddress() == nil)
        #expect(await connection.statistics().bytesSent == 0)
        #expect(await Self.code { try await connection.sendDatagram(ByteBuffer()) } == expected)
        #expect(await Self.code { _ = try await connection.sendTrackedDatagram(ByteBuffer()) } == expected)
        #expect(await Self.code { try await connection.migrate() } == expected)
        #expect(await Self.code { _ = try await connection.probe() } == expected)
        #expect(await connection.maximumDatagramSize() == 0)
        #expect(await Self.code { try await connection.closeGracefully() } == .undelivered)
        withExtendedLifetime(carrier) {}
    }

    @Test func aConnectionThatIsAdoptedTooLateIsOver() async throws {
        let (_, carrier) = try await self.connection(endsBefore: true)
        let connection = Connection(adopting: carrier)
        #expect(await connection.closed().code == .cancelled)
        #expect(await Self.code { try await connection.handshakeCompleted() } == .cancelled)
        #expect(await Self.code { for try await _ in connection.inboundStreams {} } == .cancelled)
        for await _ in connection.events {}
    }
}
