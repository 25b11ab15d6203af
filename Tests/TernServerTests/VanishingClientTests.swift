// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import Synchronization
import TernMessages
import TernTransport
import TestTimeLimits
import Testing

@testable import TernServer
@testable import TernStore

/// Clients that go away while the store looks at their tokens leave no session behind: so many would lock their user out, and each
/// would keep what is pushed to it.
@Suite(.untilItHangs)
struct VanishingClientTests {
    /// The server begins to stop while the store looks at a token: the client is told, one way or the other.
    @Test func whoLogsInWhileTheServerBeginsToStopHearsOfIt() async throws {
        try await Harness.run(store: { $0.readers = 1 }) { harness in
            let user = try await harness.store.registerUser(named: "alice")
            _ = try await harness.store.registerDevice(named: AccessToken.defaultDevice, of: user)
            let connection = harness.connect()
            try await self.withBusyReaders(of: harness) { release in
                let control = try await MessageStream.open(.control, on: connection)
                try await control.write(AuthenticationRequest(token: "dev:alice").message)
                // It has been let in as far as the store.
                while harness.store.readers.waiting == 0 { await Task.yield() }
                async let stopping: Void = harness.server.drain(grace: .seconds(60))
                while !harness.server.hub.isDraining { await Task.yield() }
                release()
                #expect(try await control.failure().code == .draining)
                #expect(await connection.closed().wireCode == CloseCode.draining.rawValue)
                await stopping
            }
        }
    }

    /// Whoever logs in waits for the store until `release` is called.
    private func withBusyReaders(
        of harness: Harness, _ body: (_ release: @Sendable () -> Void) async throws -> Void
    ) async throws {
        let (gate, held) = (Monitor(false), Monitor(0))
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            defer { gate.update { $0 = true } }
            // The thread that takes anything first: it would take a login, too.
            for (count, lane) in [ReaderPool.Lane.any, .login].enumerated() {
                tasks.addTask {
                    _ = try? await harness.store.readers.read(lane) { _ throws(StoreError) in
                        held.update { $0 += 1 }
                        return gate.wait(until: nil) { $0 ? true : nil } ?? false
                    }
                }
                while held.withLock({ $0 }) <= count { await Task.yield() }
            }
            try await body { gate.update { $0 = true } }
        }
    }

    @Test func whoGoesAwayWhileLoggingInIsForgotten() async throws {
        try await Harness.run(configure: { $0.maximumConnectionsPerUser = 3 }, store: { $0.readers = 1 }) { harness in
            let user = try await harness.store.registerUser(named: "alice")
            _ = try await harness.store.registerDevice(named: AccessToken.defaultDevice, of: user)
            try await self.withBusyReaders(of: harness) { release in
                for _ in 0..<6 {
                    let connection = harness.connect()
                    let control = try? await MessageStream.open(.control, on: connection)
                    try? await control?.write(AuthenticationRequest(token: "dev:alice").message)
                    try? await control?.stream.finish()
                    await connection.close()
                }
                release()
            }
            while harness.server.connectionCount > 0 { await Task.yield() }
            let id = try #require(UserID(rawValue: user))
            #expect(harness.server.hub.sessions(of: id).isEmpty)
            // There is room for all that the user may have.
            var clients: [TestClient] = []
            for _ in 0..<3 { clients.append(try await harness.client("alice")) }
            #expect(harness.server.hub.sessions(of: id).count == 3)
            for client in clients { await client.close() }
        }
    }
}
