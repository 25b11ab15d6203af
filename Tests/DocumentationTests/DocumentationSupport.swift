// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import NIOPosix
import Tern
import TernTesting

/// Runs a server for both carriers while `body` runs.
func withServer(
    _ tls: TLSServerConfiguration, _ serve: @escaping @Sendable (Connection) async throws -> Void,
    _ body: (Endpoint) async throws -> Void
) async throws {
    let listener = try await Listener.bind(
        to: Endpoint(host: "127.0.0.1", port: 0), applicationProtocol: ApplicationProtocol("echo"), tls: tls)
    let server = Task { await listener.run { try? await serve($0) } }
    do {
        try await body(Endpoint(host: "127.0.0.1", port: listener.quicAddress.port ?? 0))
    } catch {
        server.cancel()
        await server.value
        await listener.close()
        throw error
    }
    server.cancel()
    await server.value
    await listener.close()
}

func withServer(
    _ development: SelfSignedIdentity, _ serve: @escaping @Sendable (Connection) async throws -> Void,
    _ body: (Endpoint) async throws -> Void
) async throws {
    try await withServer(TLSServerConfiguration(identity: development.identity), serve, body)
}

/// Two connected ends in memory.
func withPair(_ body: (_ client: Connection, _ server: Connection) async throws -> Void) async throws {
    let group = MultiThreadedEventLoopGroup.singleton
    let pair = InMemoryTransport.makePair(clientLoop: group.next(), serverLoop: group.next())
    let (client, server) = (Connection(adopting: pair.client), Connection(adopting: pair.server))
    try await body(client, server)
    await client.close()
    await server.closed()
}
