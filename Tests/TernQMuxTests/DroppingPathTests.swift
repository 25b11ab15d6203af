// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#if os(Linux)
import CarrierSupport
import NIOCore
import TernTransport
import Testing

@testable import TernQMux

extension SocketTests {
    /// Paths that take packets and lose them, without a word.
    @Suite(.serialized) struct DroppingPaths {
        /// A client's network and a server's, with a switch between them that can be opened.
        private func withSwitch(
            _ body: (_ client: NetworkNamespace, _ server: NetworkNamespace, _ open: () async throws -> Void)
                async throws -> Void
        ) async throws {
            try await NetworkNamespace.with { client in
                try await NetworkNamespace.with { server in
                    try await client.ip("link add b0 type bridge")
                    try await client.ip("link add d0 address 02:00:00:00:00:01 type veth peer name p0")
                    try await client.ip("link add q0 type veth peer name d1 address 02:00:00:00:00:02")
                    try await client.ip("link set d1 netns \(server.thread)")
                    for port in ["p0", "q0"] { try await client.ip("link set \(port) master b0 up") }
                    try await client.ip("link set b0 up")
                    try await client.ip("addr add 10.9.0.1/24 dev d0")
                    try await client.ip("link set d0 up")
                    try await server.ip("addr add 10.9.0.2/24 dev d1")
                    try await server.ip("link set d1 up")
                    // Nobody must ask where the other one is: without an answer the kernel would know that something is wrong.
                    try await client.ip("neigh replace 10.9.0.2 lladdr 02:00:00:00:00:02 dev d0 nud permanent")
                    try await server.ip("neigh replace 10.9.0.1 lladdr 02:00:00:00:00:01 dev d1 nud permanent")
                    try await body(client, server) { try await client.ip("link set p0 nomaster") }
                }
            }
        }

        @Test func whatIsNotAcknowledgedEndsTheConnectionOfBothEnds() async throws {
            var limits = ConnectionLimits()
            limits.unacknowledgedTimeout = .milliseconds(1500)
            limits.idleTimeout = nil
            limits.keepAliveInterval = nil
            let configured = limits
            try await self.withSwitch { client, server, open in
                let accepted = Accepted()
                try await withListener(
                    on: "10.9.0.2", limits: configured, group: server.group, onConnection: accepted.start
                ) { listener in
                    let ends = [
                        try await started(at: listener.localAddress, limits: configured, on: client.eventLoop),
                        try await accepted.next(),
                    ]
                    try await open()
                    for end in ends {
                        let connection = end.connection
                        try await connection.eventLoop.submit {
                            let stream = try #require(try connection.openStream(.unidirectional))
                            _ = try connection.write(ByteBuffer(string: "into the void"), to: stream, finish: true)
                        }.get()
                    }
                    for end in ends {
                        let reason = try await end.closed.get()
                        #expect(reason == TransportError(.carrierLost, message: ""))
                        #expect(reason.message.contains("for 1.5 s") && reason.message.contains("TCP_USER_TIMEOUT"))
                    }
                }
            }
        }
    }
}
#endif
