// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CarrierSupport
import Logging
import NIOCore
import NIOPosix
import TernTLS
import TernTransport
import Testing

@testable import TernQUIC

/// Runs `body` with a listener, and makes sure that nothing is left of it.
func withListener(
    on host: String = "127.0.0.1", port: Int = 0, limits: ConnectionLimits = ConnectionLimits(),
    serverOptions: QUICServerOptions = QUICServerOptions(), socketOptions: UDPSocketOptions = UDPSocketOptions(),
    group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton,
    onConnection: @escaping @Sendable (any LoopConnection) -> Void = { echo($0) },
    _ body: (QUICListener) async throws -> Void
) async throws {
    let listener = try await QUICListener.bind(
        to: try SocketAddress(ipAddress: host, port: port), tls: try TestTLS.server(),
        applicationProtocols: [testProtocol], limits: limits, serverOptions: serverOptions,
        socketOptions: socketOptions, eventLoopGroup: group, logger: testLogger, onConnection: onConnection
    ).get()
    do {
        try await body(listener)
    } catch {
        try? await listener.close().get()
        throw error
    }
    try await listener.close().get()
    let occupancy = try await listener.occupancy().get()
    #expect(occupancy.connections == 0)
    #expect(occupancy.routes == 0)
}

func connect(
    to address: SocketAddress, tls: TLSClientConfiguration? = nil, limits: ConnectionLimits = ConnectionLimits(),
    socketOptions: UDPSocketOptions = UDPSocketOptions()
) throws -> ConnectionAttempt {
    var connector = try QUICConnector(
        tls: tls ?? TestTLS.client(), applicationProtocols: [testProtocol], limits: limits, logger: testLogger)
    connector.socketOptions = socketOptions
    return connector.connect(to: address, serverName: "localhost", on: MultiThreadedEventLoopGroup.singleton.next())
}

/// Connects, starts the connection, runs `body` on its event loop, waits for what it promises, and closes.
func withConnection<Answer: Sendable>(
    to address: SocketAddress, limits: ConnectionLimits = ConnectionLimits(),
    socketOptions: UDPSocketOptions = UDPSocketOptions(),
    _ body: @escaping @Sendable (TestHandler, EventLoopPromise<Answer>) throws -> Void
) async throws -> Answer {
    let connection = try await connect(to: address, limits: limits, socketOptions: socketOptions).established.get()
    return try await use(connection, body)
}

func echoes(_ count: Int, at address: SocketAddress) async throws -> Bool {
    let answer = try await withConnection(to: address) { handler, answer in
        try roundTrip(count, over: handler, answer: answer)
    }
    return answer == Pattern.bytes(at: 0, count: count)
}
