// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CarrierSupport
import Foundation
import NIOCore
import NIOPosix
import TernTransport
import Testing

@testable import TernQUIC
@testable import TernQUICCore

extension SocketTests {
    @Suite(.serialized) struct Migration {
        /// Connects, and starts the connection once the handshake is confirmed.
        private func confirmed(
            to address: SocketAddress, socketOptions: UDPSocketOptions = UDPSocketOptions()
        ) async throws -> TestHandler {
            let connection = try await connect(to: address, socketOptions: socketOptions).established.get()
            let handler = try await connection.eventLoop.submit {
                let handler = TestHandler(connection)
                connection.start(handler: handler)
                return handler
            }.get()
            let isConfirmed = try await eventually {
                try await connection.eventLoop.submit { (connection as? QUICConnection)?.core.isConfirmed == true }
                    .get()
            }
            #expect(isConfirmed)
            return handler
        }

        private func close(_ handler: TestHandler) async throws {
            let connection = handler.connection
            connection.eventLoop.execute { connection.close(code: 0, reason: "") }
            #expect(try await handler.closed.get() == TransportError(.application, message: "", wireCode: 0))
        }

        private func echoes(_ count: Int, over handler: TestHandler) async throws -> Bool {
            let answer = try await handler.connection.eventLoop.flatSubmit {
                let promise = handler.connection.eventLoop.makePromise(of: ByteBuffer.self)
                do { try roundTrip(count, over: handler, answer: promise) } catch { promise.fail(error) }
                return promise.futureResult
            }.get()
            return answer == Pattern.bytes(at: 0, count: count)
        }

        private func go(
            _ handler: TestHandler, to address: SocketAddress?, probes: Bool = false
        ) async throws -> PathReport {
            try await handler.connection.eventLoop.flatSubmit {
                probes ? handler.connection.probe(from: address) : handler.connection.migrate(to: address)
            }.get()
        }

        private func localAddress(_ handler: TestHandler) async throws -> SocketAddress? {
            try await handler.connection.eventLoop.submit { handler.connection.localAddress }.get()
        }

        @Test("a client moves to another port, and to another address", arguments: ["127.0.0.1", "::1"])
        func moves(host: String) async throws {
            try await withListener(on: host) { listener in
                let handler = try await self.confirmed(to: listener.localAddress)
                #expect(handler.connection.capabilities.canMigrate)
                let before = try await self.localAddress(handler)
                let report = try await self.go(handler, to: nil)
                #expect(report.validationTime > .zero)
                #expect(report.validationTime < .seconds(5))
                #expect(report.remoteAddress == listener.localAddress)
                #expect(report.localAddress != before)
                #expect(try await self.localAddress(handler) == report.localAddress)
                #expect(try await self.echoes(300_000, over: handler))
                if host == "127.0.0.1" {
                    let other = try await self.go(handler, to: try SocketAddress(ipAddress: "127.0.0.2", port: 0))
                    #expect(other.localAddress.ipAddress == "127.0.0.2")
                    #expect(try await self.echoes(300_000, over: handler))
                }
                try await self.close(handler)
            }
        }

        @Test("a probe measures, and the connection stays")
        func probes() async throws {
            try await withListener { listener in
                let handler = try await self.confirmed(to: listener.localAddress)
                let before = try await self.localAddress(handler)
                let report = try await self.go(handler, to: nil, probes: true)
                #expect(report.localAddress != before)
                #expect(report.validationTime > .zero)
                #expect(try await self.localAddress(handler) == before)
                #expect(try await self.echoes(100_000, over: handler))
                try await self.close(handler)
            }
        }

        @Test("fifty migrations leave no route and few sockets")
        func fifty() async throws {
            try await withListener { listener in
                let handler = try await self.confirmed(to: listener.localAddress)
                var moved = 0
                for _ in 0..<50 {
                    // All spare connection IDs may be in use for a moment.
                    let isDone = try await eventually {
                        do {
                            _ = try await self.go(handler, to: nil)
                            return true
                        } catch let error as TransportError {
                            try #require(error.code == .misuse, "\(error)")
                            return false
                        }
                    }
                    if isDone { moved += 1 }
                }
                #expect(moved == 50)
                #expect(try await self.echoes(10_000, over: handler))
                let isTidy = try await eventually { try await listener.occupancy().get().routes <= 9 }
                #expect(isTidy)
                let sockets = try await handler.connection.eventLoop.submit {
                    let connection = handler.connection as? QUICConnection
                    return (connection?.owner as? QUICClientEndpoint)?.sockets.count ?? 0
                }.get()
                #expect((1...4).contains(sockets))
                try await self.close(handler)
            }
        }

        @Test("what is refused: a server's end, another family, an address that is not ours")
        func refusals() async throws {
            let atServer = MultiThreadedEventLoopGroup.singleton.next().makePromise(of: (any LoopConnection).self)
            try await withListener(
                onConnection: {
                    echo($0)
                    atServer.succeed($0)
                }
            ) { listener in
                let handler = try await self.confirmed(to: listener.localAddress)
                let server = try await atServer.futureResult.get()
                #expect(!server.capabilities.canMigrate)
                func code(_ connection: any LoopConnection, _ address: SocketAddress?) async -> TransportError.Code? {
                    do {
                        _ = try await connection.eventLoop.flatSubmit { connection.migrate(to: address) }.get()
                        return nil
                    } catch { return (error as? TransportError)?.code }
                }
                #expect(await code(server, nil) == .misuse)
                #expect(await code(handler.connection, try SocketAddress(ipAddress: "::1", port: 0)) == .misuse)
                #expect(
                    await code(handler.connection, try SocketAddress(ipAddress: "192.0.2.1", port: 0)) == .unreachable)
                #expect(try await self.echoes(10_000, over: handler))
                try await self.close(handler)
                #expect(await code(handler.connection, nil) == .application)
            }
        }

        @Test("the client goes to the server's preferred address, and migrates from there")
        func preferredAddress() async throws {
            var options = QUICServerOptions()
            options.preferredIPv4Address = try SocketAddress(ipAddress: "127.0.0.2", port: 0)
            try await withListener(on: "0.0.0.0", serverOptions: options) { listener in
                let port = try #require(listener.localAddress.port)
                let handler = try await self.confirmed(to: try SocketAddress(ipAddress: "127.0.0.1", port: port))
                let connection = handler.connection
                let hasMoved = try await eventually {
                    try await connection.eventLoop.submit { connection.remoteAddress?.ipAddress == "127.0.0.2" }.get()
                }
                #expect(hasMoved)
                #expect(try await self.echoes(100_000, over: handler))
                let report = try await self.go(handler, to: nil)
                #expect(report.remoteAddress == (try SocketAddress(ipAddress: "127.0.0.2", port: port)))
                #expect(try await self.echoes(100_000, over: handler))
                try await self.close(handler)
            }
        }

        @Test("an old socket whose buffer stays full holds nothing up")
        func oldSocketIsFull() async throws {
            try await self.moves(from: EAGAIN)
        }

        @Test("a route that is gone ends nothing: the client moves to another socket")
        func routeIsGone() async throws {
            try await self.moves(from: ENETUNREACH)
        }

        /// The first socket answers every send with an errno, from the middle of the connection on.
        private func moves(from code: CInt) async throws {
            let firstIsDead = NIOLockedBox(false)
            var options = UDPSocketOptions()
            let opened = NIOLockedBox(0)
            options.makeSender = { channel, descriptor in
                opened.update { $0 += 1 }
                let isFirst = opened.value == 1
                return RoutelessSender(channel: channel, descriptor: descriptor, code: code) {
                    isFirst && firstIsDead.value
                }
            }
            let socketOptions = options
            try await withListener { listener in
                let handler = try await self.confirmed(to: listener.localAddress, socketOptions: socketOptions)
                firstIsDead.value = true
                let connection = handler.connection
                let answer = connection.eventLoop.flatSubmit {
                    let promise = connection.eventLoop.makePromise(of: ByteBuffer.self)
                    do { try roundTrip(200_000, over: handler, answer: promise) } catch { promise.fail(error) }
                    return promise.futureResult
                }
                _ = try await self.go(handler, to: nil)
                #expect(try await answer.get() == Pattern.bytes(at: 0, count: 200_000))
                try await self.close(handler)
            }
        }
    }
}

/// A socket whose interface may disappear.
private final class RoutelessSender: DatagramSender {
    private let system: SystemDatagramSender
    private let code: CInt
    private let hasNoRoute: () -> Bool

    init(
        channel: any Channel, descriptor: CInt, code: CInt = ENETUNREACH, hasNoRoute: @escaping () -> Bool
    ) {
        self.code = code
        self.system = SystemDatagramSender(channel: channel, descriptor: descriptor, usesSourceAddress: false)
        self.hasNoRoute = hasNoRoute
    }

    var canSegment: Bool { self.system.canSegment }

    func send(_ bytes: UnsafeRawBufferPointer, segmentSize: Int, path: QUICPath, ecn: ECN) -> CInt {
        if self.hasNoRoute() { return self.code }
        return self.system.send(bytes, segmentSize: segmentSize, path: path, ecn: ecn)
    }
}
