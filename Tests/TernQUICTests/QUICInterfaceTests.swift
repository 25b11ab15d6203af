// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#if os(Linux)
import CarrierSupport
import NIOCore
import NIOPosix
import TernTransport
import TestTimeLimits
import Testing

@testable import TernQUIC

extension SocketTests {
    /// Servers with several addresses, and devices that come and go.
    @Suite(.serialized) struct Interfaces {
        private func connect(to host: String, port: Int, in namespace: NetworkNamespace) async throws -> TestHandler {
            let connector = try QUICConnector(
                tls: TestTLS.client(), applicationProtocols: [testProtocol], logger: testLogger)
            let address = try SocketAddress(ipAddress: host, port: port)
            let connection = try await connector.connect(
                to: address, serverName: "localhost", on: namespace.eventLoop
            ).established.get()
            return try await connection.eventLoop.submit {
                let handler = TestHandler(connection)
                connection.start(handler: handler)
                return handler
            }.get()
        }

        /// Sends on a new stream; the future is what comes back.
        private func echo(_ count: Int, over handler: TestHandler) async throws -> EventLoopFuture<ByteBuffer> {
            try await handler.connection.eventLoop.submit {
                let answer = handler.connection.eventLoop.makePromise(of: ByteBuffer.self)
                handler.closed.whenSuccess { answer.fail($0) }
                try roundTrip(count, over: handler, answer: answer)
                return answer.futureResult
            }.get()
        }

        private func close(_ handler: TestHandler) async throws {
            handler.connection.eventLoop.execute { handler.connection.close(code: 0, reason: "") }
            _ = try await handler.closed.get()
        }

        @Test func aServerAnswersFromTheAddressItWasAskedAt() async throws {
            try await NetworkNamespace.with { namespace in
                try await namespace.ip("link add d0 type veth peer name p0")
                let addresses = ["10.9.0.1", "10.9.0.2", "10.9.7.1", "fd00:9::1", "fd00:9::2"]
                for address in addresses {
                    let isSixth = address.contains(":")
                    try await namespace.ip(
                        "addr add \(address)/\(isSixth ? 64 : 24) dev d0" + (isSixth ? " nodad" : ""))
                }
                try await namespace.ip("link set d0 up")
                try await withListener(on: "::", group: namespace.group) { listener in
                    let port = try #require(listener.localAddress.port)
                    for address in addresses + ["127.0.0.1", "127.8.8.8", "::1"] {
                        // A client hears nothing but what comes from the address that it asked.
                        let handler = try await self.connect(to: address, port: port, in: namespace)
                        let answer = try await self.echo(100_000, over: handler).get()
                        #expect(answer == Pattern.bytes(at: 0, count: 100_000))
                        try await self.close(handler)
                    }
                }
            }
        }

        @Test(arguments: ["0.0.0.0", "::"])
        func aDeviceThatVanishesTakesNoSocketAlong(host: String) async throws {
            try await NetworkNamespace.with { namespace in
                try await namespace.ip("link add d0 type veth peer name p0")
                try await namespace.ip("addr add 10.9.0.1/24 dev d0")
                try await namespace.ip("link set d0 up")
                try await withListener(on: host, group: namespace.group) { listener in
                    let port = try #require(listener.localAddress.port)
                    let orphan = try await self.connect(to: "10.9.0.1", port: port, in: namespace)
                    let other = try await self.connect(to: "127.0.0.1", port: port, in: namespace)
                    #expect(try await self.echo(1000, over: orphan).get().readableBytes == 1000)

                    try await namespace.ip("link del d0")
                    let late = try await self.echo(200_000, over: orphan)
                    // Who is not concerned notices nothing, on old connections and on new ones.
                    #expect(try await self.echo(200_000, over: other).get().readableBytes == 200_000)
                    let another = try await self.connect(to: "127.0.0.1", port: port, in: namespace)
                    #expect(try await self.echo(1000, over: another).get().readableBytes == 1000)
                    let occupancy = try await listener.occupancy().get()
                    #expect(occupancy.connections == 3)

                    try await namespace.ip("link add d1 type veth peer name p1")
                    try await namespace.ip("addr add 10.9.0.1/24 dev d1")
                    try await namespace.ip("link set d1 up")
                    #expect(try await late.get() == Pattern.bytes(at: 0, count: 200_000))
                    for handler in [orphan, other, another] { try await self.close(handler) }
                }
            }
        }

        @Test(.untilItHangs) func packetsThatHaveBecomeTooLargeAreNotTheEnd() async throws {
            try await NetworkNamespace.with { namespace in
                try await withListener(on: "127.0.0.1", group: namespace.group) { listener in
                    let port = try #require(listener.localAddress.port)
                    let handler = try await self.connect(to: "127.0.0.1", port: port, in: namespace)
                    #expect(try await self.echo(1_000_000, over: handler).get().readableBytes == 1_000_000)
                    // EMSGSIZE from now on for what filled a packet.
                    try await namespace.ip("link set lo mtu 1280")
                    #expect(try await self.echo(500_000, over: handler).get() == Pattern.bytes(at: 0, count: 500_000))
                    let another = try await self.connect(to: "127.0.0.1", port: port, in: namespace)
                    #expect(try await self.echo(500_000, over: another).get().readableBytes == 500_000)
                    for handler in [handler, another] { try await self.close(handler) }
                }
            }
        }

        @Test func noWayOutAtAllIsEnduredToo() async throws {
            try await NetworkNamespace.with { namespace in
                try await withListener(on: "127.0.0.1", group: namespace.group) { listener in
                    let port = try #require(listener.localAddress.port)
                    let handler = try await self.connect(to: "127.0.0.1", port: port, in: namespace)
                    #expect(try await self.echo(1000, over: handler).get().readableBytes == 1000)
                    try await namespace.ip("link set lo down")
                    let late = try await self.echo(200_000, over: handler)
                    // A turn of the loop in which everything is refused.
                    _ = try await listener.counters().get()
                    try await namespace.ip("link set lo up")
                    #expect(try await late.get() == Pattern.bytes(at: 0, count: 200_000))
                    try await self.close(handler)
                }
            }
        }
    }
}
#endif
