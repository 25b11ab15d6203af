// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import NIOPosix
import TernTesting
import TernTransport
import Testing

private final class Echo: LoopConnectionHandler {
    let connection: any LoopConnection
    init(_ c: any LoopConnection) { self.connection = c }
    func streamOpened(_ stream: StreamID) {}
    func streamReceived(_ stream: StreamID, bytes: ByteBuffer, finished: Bool) {
        _ = try? self.connection.write(bytes, to: stream, finish: finished)
        self.connection.consumed(bytes.readableBytes, of: stream)
    }
    func streamWasReset(_ stream: StreamID, code: UInt64) {}
    func streamWasStopped(_ stream: StreamID, code: UInt64) {}
    func streamWritable(_ stream: StreamID) {}
    func streamClosed(_ stream: StreamID) {}
    func streamsAvailable(_ direction: StreamDirection) {}
    func datagramReceived(_ bytes: ByteBuffer) {}
    func connectionEventOccurred(_ event: ConnectionEvent) {}
    func connectionClosed(_ reason: TransportError) {}
}
private final class Collect: LoopConnectionHandler {
    let connection: any LoopConnection
    let done: EventLoopPromise<Int>
    let closed: EventLoopPromise<TransportError>
    var count = 0
    init(_ c: any LoopConnection) {
        self.connection = c
        self.done = c.eventLoop.makePromise()
        self.closed = c.eventLoop.makePromise()
    }
    func streamOpened(_ stream: StreamID) {}
    func streamReceived(_ stream: StreamID, bytes: ByteBuffer, finished: Bool) {
        self.count += bytes.readableBytes
        self.connection.consumed(bytes.readableBytes, of: stream)
        if finished { self.done.succeed(self.count) }
    }
    func streamWasReset(_ stream: StreamID, code: UInt64) {}
    func streamWasStopped(_ stream: StreamID, code: UInt64) {}
    func streamWritable(_ stream: StreamID) {}
    func streamClosed(_ stream: StreamID) { self.connection.close(code: 7, reason: "bye") }
    func streamsAvailable(_ direction: StreamDirection) {}
    func datagramReceived(_ bytes: ByteBuffer) {}
    func connectionEventOccurred(_ event: ConnectionEvent) {}
    func connectionClosed(_ reason: TransportError) { self.closed.succeed(reason) }
}

@Test func echoesTenMegabytes() async throws {
    let group = MultiThreadedEventLoopGroup.singleton
    let pair = InMemoryTransport.makePair(clientLoop: group.next(), serverLoop: group.next())
    try await pair.server.eventLoop.submit { pair.server.start(handler: Echo(pair.server)) }.get()
    let (count, reason) = try await pair.client.eventLoop.flatSubmit {
        let collect = Collect(pair.client)
        pair.client.start(handler: collect)
        do {
            let s = try pair.client.openStream(.bidirectional)!
            _ = try pair.client.write(ByteBuffer(repeating: 7, count: 10 << 20), to: s, finish: true)
        } catch { collect.done.fail(error) }
        return collect.done.futureResult.and(collect.closed.futureResult)
    }.get()
    #expect(count == 10 << 20)
    #expect(reason == TransportError(.application, message: "", wireCode: 7))
}
