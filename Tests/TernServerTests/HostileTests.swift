// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernMessages
import TernServer
import TernTransport
import TestTimeLimits
import Testing

/// Random and mutated bytes on every stream: the server answers or ends what was wrong, and goes on to serve others.
@Suite(.untilItHangs) struct HostileTests {
    struct Random: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            self.state = self.state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return (self.state >> 33) ^ (self.state << 17)
        }
    }

    private func noise(_ random: inout Random) -> ByteBuffer {
        let count = Int.random(in: 1...400, using: &random)
        return ByteBuffer(bytes: (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) })
    }

    private func mutatedMessage(_ client: TestClient, _ random: inout Random) throws -> ByteBuffer {
        var bytes = try client.text("hello", to: PartyID(client.user)).encoded()
        // The version stays, so that the bytes behind it are looked at.
        for _ in 0..<Int.random(in: 1...3, using: &random) {
            let index = Int.random(in: 1..<bytes.readableBytes, using: &random)
            bytes.setInteger(UInt8.random(in: 0...255, using: &random), at: index)
        }
        return bytes
    }

    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func theServerSurvives(seed: UInt64) async throws {
        try await Harness.run(configure: { $0.refusalLinger = .milliseconds(1) }) { harness in
            var random = Random(state: seed)
            let bob = try await harness.client("bob")
            for _ in 0..<40 {
                let connection = harness.connect()
                if Bool.random(using: &random) {
                    let client = try await TestClient(connection, token: "dev:eve")
                    for kind: UInt64 in [1, 3, 1, 3, 0] {
                        let stream = try await connection.openStream()
                        try? await stream.write(ByteBuffer(bytes: [UInt8(kind)]))
                        let bytes = kind == 1 ? try self.mutatedMessage(client, &random) : self.noise(&random)
                        try? await stream.finish(bytes)
                        _ = try? await connection.sendDatagram(self.noise(&random))
                        if kind != 0 { while (try? await stream.read()) ?? nil != nil {} }
                    }
                } else {
                    let stream = try await connection.openStream()
                    try? await stream.write(self.noise(&random))
                    try? await stream.finish()
                }
                await connection.close()
            }
            #expect(try await bob.send("still here", to: PartyID(bob.user)).sequence.rawValue == 1)
        }
    }

    @Test func clientsThatVanishLeaveNothingBehind() async throws {
        try await Harness.run { harness in
            let bob = try await harness.client("bob")
            for index in 0..<20 {
                let client = try await harness.client("eve\(index % 3)")
                let stream = try await client.sender()
                for _ in 0..<20 { try await stream.write(client.text("x", to: PartyID(bob.user))) }
                await client.connection.close(code: 77)
            }
            try await bob.send("on", to: PartyID(bob.user))
            await bob.close()
            await harness.server.drain(grace: .seconds(60))
            #expect(harness.server.connectionCount == 0)
        }
    }
}
