// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CarrierSupport
import NIOCore
import NIOPosix
import TernTransport
import Testing

@testable import TernQUIC

extension SocketTests {
    /// Retry and NEW_TOKEN (RFC 9000, section 8.1), over sockets.
    @Suite(.serialized) struct AddressValidation {
        private static func options(
            _ policy: QUICServerOptions.AddressValidation, secret: [UInt8]? = nil
        ) -> QUICServerOptions {
            var options = QUICServerOptions()
            options.addressValidation = policy
            options.secret = secret
            return options
        }

        private func connector() throws -> QUICConnector {
            try QUICConnector(tls: TestTLS.client(), applicationProtocols: [testProtocol], logger: testLogger)
        }

        /// Connects, sends a little there and back, and closes; then a token that the server gave has arrived.
        private func visit(_ listener: QUICListener, with connector: QUICConnector) async throws {
            let connection = try await connector.connect(
                to: listener.localAddress, serverName: "localhost", on: MultiThreadedEventLoopGroup.singleton.next()
            ).established.get()
            let (answer, closed) = try await connection.eventLoop.submit {
                let handler = TestHandler(connection)
                let promise = connection.eventLoop.makePromise(of: ByteBuffer.self)
                handler.closed.whenSuccess { promise.fail($0) }
                connection.start(handler: handler)
                try roundTrip(1000, over: handler, answer: promise)
                return (promise.futureResult, handler.closed)
            }.get()
            #expect(try await answer.get() == Pattern.bytes(at: 0, count: 1000))
            connection.eventLoop.execute { connection.close(code: 0, reason: "") }
            _ = try await closed.get()
        }

        @Test func withoutATokenARetryIsSentAndWithOneNot() async throws {
            try await withListener(serverOptions: Self.options(.always)) { listener in
                let connector = try self.connector()
                try await self.visit(listener, with: connector)
                #expect(try await listener.counters().get().retries == 1)
                for _ in 0..<5 {
                    // A NEW_TOKEN frame that seemed lost comes twice.
                    #expect(connector.tokens.count >= 1)
                    try await self.visit(listener, with: connector)
                }
                let counters = try await listener.counters().get()
                #expect(counters.retries == 1)
                #expect(counters.accepted == 6)
            }
        }

        @Test func aTokenIsGoodOnce() async throws {
            try await withListener(serverOptions: Self.options(.always)) { listener in
                let connector = try self.connector()
                let server = QUICTokenStore.Server(address: listener.localAddress, name: "localhost")
                try await self.visit(listener, with: connector)
                let token = connector.tokens.take(for: server)
                #expect(!token.isEmpty)
                for retries in [1, 2, 3] {
                    let other = try self.connector()
                    other.tokens.add(token, of: server)
                    try await self.visit(listener, with: other)
                    #expect(try await listener.counters().get().retries == UInt64(retries))
                }
            }
        }

        @Test func neverMeansNoRetryAndNoTokens() async throws {
            try await withListener(serverOptions: Self.options(.never)) { listener in
                let connector = try self.connector()
                try await self.visit(listener, with: connector)
                #expect(try await listener.counters().get().retries == 0)
                #expect(connector.tokens.count == 0)
            }
        }

        @Test func aTokenOutlivesTheServer() async throws {
            let secret = (0..<32).map { UInt8($0) }
            let connector = try self.connector()
            var token: [UInt8] = []
            try await withListener(serverOptions: Self.options(.always, secret: secret)) { listener in
                try await self.visit(listener, with: connector)
                token = connector.tokens.take(for: .init(address: listener.localAddress, name: "localhost"))
            }
            for (secret, retries) in [(secret, 0), (secret.reversed(), 1)] as [([UInt8], UInt64)] {
                try await withListener(serverOptions: Self.options(.always, secret: secret)) { listener in
                    connector.tokens.add(token, of: .init(address: listener.localAddress, name: "localhost"))
                    try await self.visit(listener, with: connector)
                    #expect(try await listener.counters().get().retries == retries)
                }
            }
        }

        @Test func aForgedRetryTokenIsRefusedAtOnce() async throws {
            try await withListener(serverOptions: Self.options(.always)) { listener in
                let connector = try self.connector()
                let server = QUICTokenStore.Server(address: listener.localAddress, name: "localhost")
                // The shape of a Retry token of ours.
                connector.tokens.add([0xb6] + Array(repeating: 7, count: 77), of: server)
                let refused = await #expect(throws: TransportError.self) {
                    try await self.visit(listener, with: connector)
                }
                #expect(refused?.wireCode == 0xb)
                #expect(refused?.isRetrySafe == true)
                #expect(try await listener.counters().get().refusals == 1)
                #expect(try await listener.occupancy().get().connections == 0)
                try await self.visit(listener, with: connector)
            }
        }

        @Test func foreignTokensCountAsNone() async throws {
            try await withListener(serverOptions: Self.options(.underLoad)) { listener in
                let connector = try self.connector()
                let server = QUICTokenStore.Server(address: listener.localAddress, name: "localhost")
                for length in [1, 57, 78, 300] {
                    connector.tokens.add(Array(repeating: 0x36, count: length), of: server)
                    try await self.visit(listener, with: connector)
                }
                let counters = try await listener.counters().get()
                #expect(counters.retries == 0)
                #expect(counters.refusals == 0)
            }
        }

        @Test func aShortSecretIsRefused() async throws {
            let error = await #expect(throws: TransportError.self) {
                try await withListener(serverOptions: Self.options(.always, secret: [1, 2, 3])) { _ in }
            }
            #expect(error?.code == .misuse)
        }
    }
}

@Suite struct QUICTokenStoreTests {
    private func server(_ port: Int, name: String = "a") throws -> QUICTokenStore.Server {
        QUICTokenStore.Server(address: try SocketAddress(ipAddress: "192.0.2.1", port: port), name: name)
    }

    @Test func aTokenIsTakenOnceByItsServer() throws {
        let store = QUICTokenStore()
        store.add([1], of: try self.server(1))
        store.add([2], of: try self.server(1))
        #expect(store.take(for: try self.server(2)) == [])
        #expect(store.take(for: try self.server(1, name: "b")) == [])
        #expect(store.take(for: try self.server(1)) == [2])
        #expect(store.take(for: try self.server(1)) == [1])
        #expect(store.take(for: try self.server(1)) == [])
        #expect(store.count == 0)
    }

    @Test func itIsBounded() throws {
        let store = QUICTokenStore()
        for port in 1...1000 {
            for token in 0..<10 { store.add([UInt8(token)], of: try self.server(port)) }
        }
        #expect(store.count == QUICTokenStore.maximumServers * QUICTokenStore.tokensPerServer)
        #expect(store.take(for: try self.server(1)) == [])
        #expect(store.take(for: try self.server(1000)) == [9])
    }
}
