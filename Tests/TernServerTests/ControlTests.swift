// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernMessages
import TernServer
import TernTransport
import TestTimeLimits
import Testing

@Suite(.untilItHangs) struct ControlTests {
    @Test func pingsAndEchoesComeBack() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            let payload = ByteBuffer(repeating: 0xff, count: 256)
            let sequence = try #require(MessageSequence(rawValue: 42))
            try await alice.control.write(Message(type: .ping, sequence: sequence, payload: payload))
            let pong = try await alice.control.message()
            #expect(pong.type == .pong)
            #expect(pong.sequence == sequence)
            #expect(pong.payload == payload)
            #expect(pong.timestamp > .none)
            let large = ByteBuffer(repeating: 0xff, count: 65536)
            try await alice.control.write(Message(type: .echo, payload: large))
            #expect(try await alice.control.message().payload == large)
            for (message, code) in [
                (Message(type: .ping, payload: ByteBuffer(repeating: 0, count: 257)), ErrorCode.payloadTooLarge),
                (Message(type: .echo, payload: ByteBuffer(repeating: 0, count: 65537)), .payloadTooLarge),
                (Message(type: .text), .unsupportedType), (Message(type: .authentication), .unsupportedType),
                (Message(type: .system), .unsupportedType),
            ] {
                try await alice.control.write(message)
                #expect(try await alice.control.failure().code == code)
            }
            try await alice.control.write(Message(type: .ping))
            #expect(try await alice.control.message().type == .pong)
        }
    }

    @Test func anotherVersionAfterTheAuthenticationDisconnects() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            try await alice.control.stream.write(ByteBuffer(repeating: 0, count: 1))
            #expect(try await alice.control.failure().code == .unsupportedVersion)
            #expect(await alice.connection.closed().wireCode == CloseCode.unsupportedVersion.rawValue)
        }
    }

    @Test func unknownStreamsAreRefusedAndTheConnectionLives() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            for kind: UInt64 in [2, 4, 63, 1 << 40] {
                let stream = try await MessageStream.open(StreamKind(rawValue: kind), on: alice.connection)
                let error = await #expect(throws: TransportError.self) { try await stream.next() }
                #expect(error?.code == .streamReset)
                #expect(error?.wireCode == CloseCode.unknownStreamKind.rawValue)
            }
            let oneWay = try await alice.connection.openStream(.unidirectional)
            await #expect(throws: TransportError.self) {
                while true { try await oneWay.write(ByteBuffer(repeating: 0, count: 1024)) }
            }
            let empty = try await alice.connection.openStream()
            try await empty.finish()
            let error = await #expect(throws: TransportError.self) { try await empty.read() }
            #expect(error?.wireCode == CloseCode.streamMalformed.rawValue)
            _ = try await alice.ask(NoOperation())
        }
    }

    /// Nothing is on its way to the client, and nothing will be for long: the end is noticed all the same.
    @Test func aControlStreamThatTheClientStopsEndsTheConnection() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            alice.control.stream.stopSending(code: CloseCode.streamCancelled.rawValue)
            let end = await alice.connection.closed()
            #expect(end.code == .application)
            #expect(end.wireCode == 0)
            #expect(end.initiator == .peer)
        }
    }

    @Test func aClientThatLeavesIsPushedNothingMore() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            let bob = try await harness.client("bob")
            try await alice.send("1", to: PartyID(bob.user))
            #expect(await bob.nextPushes(1).count == 1)
            try await bob.control.write(GoOffline().message)
            #expect(try await bob.control.next() == nil)
            try await alice.send("2", to: PartyID(bob.user))
            await bob.close()
            #expect(await bob.nextPushes(1).isEmpty)
        }
    }

    @Test func drainingAnnouncesRefusesAndCloses() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            let bob = try await harness.client("bob")
            async let draining: Void = harness.server.drain(grace: .seconds(60))
            for client in [alice, bob] {
                #expect(try GoOffline(try await client.control.message()).retryAfter == 60_000)
            }
            // What is under way is still stored, new connections are not taken.
            #expect(try await alice.send("last", to: PartyID(bob.user)).sequence.rawValue == 1)
            let connection = harness.connect()
            let refused = await #expect(throws: Failure.self) { try await TestClient(connection, token: "dev:carol") }
            #expect(refused?.code == .draining)
            #expect(await connection.closed().wireCode == CloseCode.draining.rawValue)
            await alice.close()
            await bob.close()
            // Long before the grace is over.
            await draining
            #expect(harness.server.connectionCount == 0)
        }
    }

    @Test func whoStaysIsClosed() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            let silent = harness.connect()
            while harness.server.connectionCount < 2 { await Task.yield() }
            await harness.server.drain(grace: .milliseconds(10))
            #expect(await silent.closed().wireCode == CloseCode.draining.rawValue)
            #expect(await alice.connection.closed().wireCode == CloseCode.draining.rawValue)
        }
    }
}
