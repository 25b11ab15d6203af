// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CarrierSupport
import Logging
import NIOCore
import NIOPosix
import TernTransport
import Testing

@testable import TernQMux
@testable import TernTLS

#if canImport(Glibc)
import Glibc
#endif

/// Runs `body` with a listener, and makes sure that nothing is left of it.
func withListener(
    on host: String = "127.0.0.1", port: Int = 0, tls: TLSServerConfiguration? = nil,
    limits: ConnectionLimits = ConnectionLimits(), listenerLimits: ListenerLimits = ListenerLimits(),
    options: TCPOptions = TCPOptions(), group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton,
    onConnection: @escaping @Sendable (any LoopConnection) -> Void = { echo($0) },
    _ body: (QMuxListener) async throws -> Void
) async throws {
    let (address, server) = (try SocketAddress(ipAddress: host, port: port), try tls ?? TestTLS.server())
    // The socket belongs to the network of the thread that makes it.
    let listener = try await group.next().flatSubmit {
        QMuxListener.bind(
            to: address, tls: server, applicationProtocols: [testProtocol], limits: limits,
            listenerLimits: listenerLimits, options: options, eventLoopGroup: group, logger: testLogger,
            onConnection: onConnection)
    }.get()
    do {
        try await body(listener)
    } catch {
        try? await listener.close().get()
        throw error
    }
    try await listener.close().get()
    #expect(listener.connectionCount == 0)
}

func connect(
    to address: SocketAddress, serverName: String = "localhost", tls: TLSClientConfiguration? = nil,
    applicationProtocols: [String] = [testProtocol], limits: ConnectionLimits = ConnectionLimits(),
    on eventLoop: any EventLoop = MultiThreadedEventLoopGroup.singleton.next()
) throws -> ConnectionAttempt {
    let connector = try QMuxConnector(
        tls: try tls ?? TestTLS.client(), applicationProtocols: applicationProtocols, limits: limits,
        logger: testLogger)
    return connector.connect(to: address, serverName: serverName, on: eventLoop)
}

/// Connects, starts the connection, runs `body` on its event loop, waits for what it promises, and closes.
func withConnection<Answer: Sendable>(
    to address: SocketAddress, limits: ConnectionLimits = ConnectionLimits(),
    _ body: @escaping @Sendable (TestHandler, EventLoopPromise<Answer>) throws -> Void
) async throws -> Answer {
    let connection = try await connect(to: address, limits: limits).established.get()
    return try await use(connection, body)
}

/// Connects and starts; whoever calls closes.
func started(
    at address: SocketAddress, limits: ConnectionLimits = ConnectionLimits(),
    on eventLoop: any EventLoop = MultiThreadedEventLoopGroup.singleton.next()
) async throws -> TestHandler {
    let attempt = try await eventLoop.submit { try connect(to: address, limits: limits, on: eventLoop) }.get()
    let connection = try await attempt.established.get()
    return try await connection.eventLoop.submit {
        let handler = TestHandler(connection)
        connection.start(handler: handler)
        return handler
    }.get()
}

func echoes(_ count: Int, at address: SocketAddress) async throws -> Bool {
    let answer = try await withConnection(to: address) { handler, answer in
        try roundTrip(count, over: handler, answer: answer)
    }
    return answer == Pattern.bytes(at: 0, count: count)
}
