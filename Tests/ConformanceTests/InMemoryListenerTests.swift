// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import NIOPosix
import TernTesting
import TernTransport
import TestTimeLimits
import Testing

@Suite("The in-memory listener", .untilItHangs)
struct InMemoryListenerTests {
    private let group = MultiThreadedEventLoopGroup.singleton

    /// A listener, and what it accepted.
    private func listen() throws -> (InMemoryListener, AsyncStream<any LoopConnection>) {
        let (accepted, sink) = AsyncStream.makeStream(of: (any LoopConnection).self)
        return (try InMemoryListener(group: self.group) { sink.yield($0) }, accepted)
    }

    private func connect(_ listener: InMemoryListener) -> ConnectionAttempt {
        listener.connector().connect(to: listener.localAddress, serverName: "memory", on: self.group.next())
    }

    @Test("Connects, and closing the listener closes what it accepted")
    func connectsAndCloses() async throws {
        let (listener, accepted) = try self.listen()
        let client = Connection(adopting: try await self.connect(listener).established.get())
        let server = Connection(adopting: try #require(await accepted.first { _ in true }))
        #expect(client.carrier == .memory && server.role == .server)
        try await listener.close().get()
        let reason = await client.closed()
        #expect(reason == TransportError(.application, message: "", wireCode: 0, initiator: .peer))
        #expect(await server.closed() == TransportError(.application, message: "", wireCode: 0))
    }

    @Test("Refuses after it stopped accepting, and what was accepted lives on")
    func stopsAccepting() async throws {
        let (listener, accepted) = try self.listen()
        let client = Connection(adopting: try await self.connect(listener).established.get())
        let server = Connection(adopting: try #require(await accepted.first { _ in true }))
        try await listener.stopAccepting().get()
        await #expect(throws: TransportError(.connectionRefused, message: "")) {
            try await self.connect(listener).established.get()
        }
        try await client.sendDatagram(.init(string: "still here"))
        #expect(try await server.inboundDatagrams.first { _ in true } == .init(string: "still here"))
        await client.close()
        await server.close()
    }

    @Test("A cut is carrierLost at both ends, once")
    func cut() async throws {
        let (listener, accepted) = try self.listen()
        let client = Connection(adopting: try await self.connect(listener).established.get())
        let server = Connection(adopting: try #require(await accepted.first { _ in true }))
        listener.cutAll()
        listener.cutAll()
        #expect(await client.closed().code == .carrierLost)
        #expect(await server.closed().code == .carrierLost)
    }

    @Test("A cancelled attempt closes the connection that nobody took")
    func cancel() async throws {
        let (listener, accepted) = try self.listen()
        let attempt = self.connect(listener)
        let connection = try await attempt.established.get()
        attempt.cancel()
        let server = Connection(adopting: try #require(await accepted.first { _ in true }))
        #expect(await server.closed().code == .application)
        #expect(await Connection(adopting: connection).closed().code == .cancelled)
    }
}
