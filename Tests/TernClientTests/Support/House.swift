// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import Logging
import NIOCore
import NIOPosix
import Synchronization
import TernClient
import TernMessages
import TernServer
import TernStore
import TernTesting
import TernTransport

/// A message server over a real store in a folder of its own, and in-memory connections to it that can be cut.
final class House: Sendable {
    private struct State {
        var pairs: [InMemoryTransport.Pair] = []
        var served: [Task<Void, Never>] = []
        var isClosedForNewcomers = false
    }

    private static let forEver = Duration.seconds(240)

    let server: MessageServer
    let store: SQLiteMessageStore
    private let state = Mutex(State())

    private init(server: MessageServer, store: SQLiteMessageStore) {
        self.server = server
        self.store = store
    }

    static func run(
        store edit: (inout SQLiteMessageStore.Options) -> Void = { _ in },
        server editServer: (inout ServerConfiguration) -> Void = { _ in }, _ body: (House) async throws -> Void
    ) async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("tern-client-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        var options = SQLiteMessageStore.Options()
        options.durability = .normal
        edit(&options)
        let store = try SQLiteMessageStore(directory: folder.path, options: options, logger: logger)
        var configuration = ServerConfiguration(name: try Name("tern"))
        configuration.acceptsDevelopmentTokens = true
        configuration.durability = .normal
        configuration.authenticationTimeout = Self.forEver
        editServer(&configuration)
        let house = House(
            server: MessageServer(store: store, configuration: configuration, logger: logger), store: store)
        let result: Result<Void, any Error>
        do { result = .success(try await body(house)) } catch { result = .failure(error) }
        await house.server.drain(grace: .zero)
        for task in house.state.withLock({ $0.served }) {
            task.cancel()
            await task.value
        }
        await store.close()
        try result.get()
    }

    @Sendable func connect() throws -> Connection {
        let group = MultiThreadedEventLoopGroup.singleton
        guard !self.state.withLock({ $0.isClosedForNewcomers }) else {
            throw TransportError(.connectionRefused, message: "the house is closed")
        }
        let pair = InMemoryTransport.makePair(clientLoop: group.next(), serverLoop: group.next())
        let connection = Connection(adopting: pair.server)
        let task = Task { await self.server.serve(connection) }
        self.state.withLock {
            $0.pairs.append(pair)
            $0.served.append(task)
        }
        return Connection(adopting: pair.client)
    }

    /// Cuts every connection that there is.
    func cutAll() {
        let pairs = self.state.withLock { state in
            defer { state.pairs = [] }
            return state.pairs
        }
        for pair in pairs { pair.cut() }
    }

    func closeForNewcomers(_ isClosed: Bool) {
        self.state.withLock { $0.isClosedForNewcomers = isClosed }
    }

    func client(
        _ user: String, receives: ReceiveStart? = .sequence(1), _ edit: (inout ClientConfiguration) -> Void = { _ in }
    ) -> MessageClient {
        var configuration = ClientConfiguration(token: "dev:\(user)", receives: receives)
        configuration.reconnecting.initialDelay = .milliseconds(5)
        configuration.reconnecting.maximumDelay = .milliseconds(20)
        // However busy the machine is; what is about time says which one.
        configuration.requestTimeout = Self.forEver
        configuration.liveness.busyPingInterval = Self.forEver
        configuration.liveness.idlePingInterval = Self.forEver
        configuration.liveness.pingTimeout = Self.forEver
        edit(&configuration)
        return MessageClient(configuration, connect: self.connect)
    }
}

/// Runs clients beside `body` and closes them after it.
func withRunning(_ clients: [MessageClient], _ body: () async throws -> Void) async throws {
    let runs = clients.map { client in Task { try? await client.run() } }
    let result: Result<Void, any Error>
    do { result = .success(try await body()) } catch { result = .failure(error) }
    for client in clients { await client.close() }
    for run in runs { await run.value }
    try result.get()
}

extension MessageClient {
    /// The next `count` messages.
    func messages(_ count: Int) async throws -> [ChannelMessage] {
        var messages: [ChannelMessage] = []
        guard count > 0 else { return [] }
        for try await update in self.updates {
            guard case .message(let message) = update else { continue }
            messages.append(message)
            if messages.count == count { break }
        }
        return messages
    }
}

struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = self.state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

struct TookTooLong: Error {}

/// Runs `body`, or cancels it after `timeout`.
func withTimeout<Value: Sendable>(
    _ timeout: Duration, _ body: @escaping @Sendable () async throws -> Value
) async throws -> Value {
    try await withThrowingTaskGroup(of: Value?.self) { group in
        group.addTask { try await body() }
        group.addTask {
            try await Task.sleep(for: timeout)
            return nil
        }
        defer { group.cancelAll() }
        guard let first = try await group.next(), let value = first else { throw TookTooLong() }
        return value
    }
}
