// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import Synchronization
import TernMessages
import TernTransport
import Testing

@testable import TernServer
@testable import TernStore

/// Clients that go away while the store looks at their tokens leave no session behind: so many would lock their user out, and each
/// would keep what is pushed to it.
@Suite(.timeLimit(.minutes(5)))
struct VanishingClientTests {
    @Test func whoGoesAwayWhileLoggingInIsForgotten() async throws {
        try await Harness.run(configure: { $0.maximumConnectionsPerUser = 3 }, store: { $0.readers = 1 }) { harness in
            let user = try await harness.store.registerUser(named: "alice")
            _ = try await harness.store.registerDevice(named: AccessToken.defaultDevice, of: user)
            let gate = Monitor(false)
            await withTaskGroup(of: Void.self) { held in
                // Both readers are busy: whoever logs in waits for the store.
                for lane in [ReaderPool.Lane.login, .any] {
                    held.addTask {
                        _ = try? await harness.store.readers.read(lane) { _ throws(StoreError) in
                            gate.wait(until: nil) { $0 ? true : nil } ?? false
                        }
                    }
                }
                for _ in 0..<6 {
                    let connection = harness.connect()
                    let control = try? await MessageStream.open(.control, on: connection)
                    try? await control?.write(AuthenticationRequest(token: "dev:alice").message)
                    try? await control?.stream.finish()
                    await connection.close()
                }
                gate.update { $0 = true }
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
