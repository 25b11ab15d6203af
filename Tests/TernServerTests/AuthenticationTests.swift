// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import NIOCore
import TernMessages
import TernStore
import TernTransport
import TestTimeLimits
import Testing

@testable import TernServer

@Suite(.untilItHangs) struct AuthenticationTests {
    static let secret = AccessSecret.random()

    static func token(
        user: String = "alice", audience: String = "tern", expiresIn: Int64 = 3600, notBefore: Int64? = nil,
        secret: AccessSecret = secret
    ) throws -> String {
        let now = Int64(Date().timeIntervalSince1970)
        return try AccessToken(
            user: Name(user), device: Name("phone"), audience: Name(audience), expires: now + expiresIn,
            notBefore: notBefore.map { now + $0 }, issuedAt: now
        ).signed(with: secret)
    }

    @Test func aValidTokenIsAnswered() async throws {
        try await Harness.run(configure: { $0.secret = Self.secret }) { harness in
            let client = try await TestClient(harness.connect(), token: try Self.token())
            #expect(client.answer.userName.text == "alice")
            #expect(client.answer.deviceName.text == "phone")
            #expect(client.answer.serverName.text == "tern")
            #expect(client.answer.maximumPayloadLength == 65536)
            let again = try await TestClient(harness.connect(), token: try Self.token())
            #expect(again.user == client.user)
            #expect(again.answer.device == client.answer.device)
        }
    }

    @Test func refusedTokensSayWhyAndDisconnect() async throws {
        let cases: [(String, ErrorCode)] = [
            (try Self.token(secret: .random()), .unauthenticated),
            (try Self.token(expiresIn: -120), .tokenExpired),
            (try Self.token(audience: "elsewhere"), .wrongAudience),
            (try Self.token(notBefore: 600), .tokenNotYetValid),
            ("", .unauthenticated),
            ("a.b.c", .unauthenticated),
            ("dev:alice", .unauthenticated),
            (String(repeating: "x", count: 9000), .unauthenticated),
            (String(repeating: "x", count: 70_000), .unauthenticated),
            (try Self.token(user: "al\u{200b}ice"), .invalidName),
        ]
        try await Harness.run(configure: {
            $0.secret = Self.secret
            $0.acceptsDevelopmentTokens = false
        }) { harness in
            for (token, code) in cases {
                let connection = harness.connect()
                let failure = await #expect(throws: Failure.self) { try await TestClient(connection, token: token) }
                #expect(failure?.code == code, "\(token.prefix(20))")
                let end = await connection.closed()
                #expect(end.wireCode == CloseCode.authenticationFailed.rawValue)
            }
        }
    }

    /// Nothing is wrong with the token of a new user when the disk is full.
    @Test func aServerThatCannotRegisterANameDoesNotBlameTheToken() async throws {
        try await Harness.run(store: { $0.maximumPages = 64 }) { harness in
            let alice = try await harness.client("alice")
            let text = String(repeating: "x", count: 60_000)
            let full = await #expect(throws: Failure.self) {
                for _ in 0..<20 { try await alice.send(text, to: PartyID(alice.user)) }
            }
            #expect(full?.code == .storageFull)
            let connection = harness.connect()
            let refused = await #expect(throws: Failure.self) { try await TestClient(connection, token: "dev:bob") }
            #expect(refused?.code == .storageFull)
            #expect(await connection.closed().wireCode == CloseCode.internalError.rawValue)
            // Who is known is let in.
            _ = try await harness.client("alice")
        }
    }

    @Test func aFirstMessageThatIsNoAuthenticationDisconnects() async throws {
        try await Harness.run { harness in
            let connection = harness.connect()
            let control = try await MessageStream.open(.control, on: connection)
            try await control.write(Message(type: .ping))
            #expect(try await control.failure().code == .unauthenticated)
            #expect(await connection.closed().wireCode == CloseCode.authenticationFailed.rawValue)
        }
    }

    @Test func noMessageInTimeDisconnects() async throws {
        try await Harness.run(configure: { $0.authenticationTimeout = .milliseconds(20) }) { harness in
            let silent = harness.connect()
            #expect(await silent.closed().wireCode == CloseCode.authenticationTimeout.rawValue)
            // Streams that wait for the authentication do not keep a connection.
            let eager = harness.connect()
            let stream = try await MessageStream.open(.channelSend, on: eager)
            try await stream.write(Message(type: .text))
            #expect(await eager.closed().wireCode == CloseCode.authenticationTimeout.rawValue)
        }
    }

    @Test func anUnknownVersionIsAnsweredAndDisconnected() async throws {
        try await Harness.run { harness in
            let connection = harness.connect()
            let control = try await MessageStream.open(.control, on: connection)
            try await control.stream.write(ByteBuffer(repeating: 0xff, count: 40))
            let message = try await control.message()
            #expect(try Failure(message).code == .unsupportedVersion)
            #expect(message.extensions[.supportedVersions]?.value == ByteBuffer(bytes: [1, 1]))
            #expect(await connection.closed().wireCode == CloseCode.unsupportedVersion.rawValue)
        }
    }

    @Test func thereIsOneControlStream() async throws {
        try await Harness.run { harness in
            let client = try await harness.client("alice")
            let second = try await MessageStream.open(.control, on: client.connection)
            #expect(await client.connection.closed().wireCode == CloseCode.protocolViolation.rawValue)
            withExtendedLifetime(second) {}
            let other = try await harness.client("alice")
            try await other.control.stream.finish()
            let end = await other.connection.closed()
            #expect(end.code == .application)
            #expect(end.wireCode == 0)
        }
    }

    @Test func streamsMayBeWrittenBeforeTheAnswer() async throws {
        try await Harness.run { harness in
            let connection = harness.connect()
            let early = try await MessageStream.open(.channelSend, on: connection)
            // User 1 is the first user of a new store: alice sends to herself before she knows who she is.
            let receiver = try #require(UserID(rawValue: 1))
            let message = OutgoingMessage(
                sender: receiver, receiver: PartyID(receiver), id: .random(), payload: ByteBuffer())
            try await early.write(message.message)
            let client = try await TestClient(connection, token: "dev:alice")
            #expect(client.user == receiver)
            #expect(try await early.acknowledgement().sequence.rawValue == 1)
        }
    }

    @Test func aUserHasSoManyConnections() async throws {
        try await Harness.run(configure: {
            $0.maximumConnectionsPerUser = 2
            $0.silenceBeforeGivingWay = .seconds(100)
        }) { harness in
            let first = try await harness.client("alice")
            let second = try await harness.client("alice/other")
            let connection = harness.connect()
            let refused = await #expect(throws: Failure.self) {
                try await TestClient(connection, token: "dev:alice/third")
            }
            #expect(refused?.code == .rateLimited)
            #expect(refused?.isRetryable == true)
            // When the one that is silent for longest would give way.
            #expect((1...100_000).contains(try #require(refused?.retryAfter)))
            #expect(await connection.closed().wireCode == CloseCode.tooManyConnectionsOfUser.rawValue)
            _ = try await harness.client("bob")
            await first.close()
            withExtendedLifetime(second) {}
        }
    }

    /// As many as a user may have vanished without a word: the next one is not locked out until their carriers notice.
    @Test func aSilentConnectionGivesWay() async throws {
        try await Harness.run(configure: {
            $0.maximumConnectionsPerUser = 2
            $0.silenceBeforeGivingWay = .zero
        }) { harness in
            let vanished = try await harness.client("alice")
            let lively = try await harness.client("alice")
            let bob = try await harness.client("bob")
            let sessions = harness.server.hub.sessions(of: vanished.user)
            for session in sessions where session.connection.role == .server { session.heard() }
            // Heard after the other one, whichever came first.
            try await lively.control.write(Message(type: .ping))
            _ = try await lively.control.message()
            let next = try await harness.client("alice")
            #expect(await vanished.connection.closed().wireCode == CloseCode.gaveWay.rawValue)
            #expect(harness.server.hub.sessions(of: next.user).count == 2)
            try await bob.send("hello", to: PartyID(next.user))
            for client in [lively, next] { #expect(await client.nextPushes(1).count == 1) }
        }
    }

    /// A token that is nearly over, with time for a busy machine to log in; 60 s are forgiven, here as at the login.
    @Test func aSessionEndsWithItsToken() async throws {
        try await Harness.run(configure: { $0.secret = Self.secret }) { harness in
            let client = try await TestClient(harness.connect(), token: try Self.token(expiresIn: -50))
            let lasting = try await TestClient(harness.connect(), token: try Self.token(expiresIn: 3600))
            let end = await client.connection.closed()
            #expect(end.wireCode == CloseCode.tokenExpired.rawValue)
            #expect(end.initiator == .peer)
            let again = await #expect(throws: Failure.self) {
                try await TestClient(harness.connect(), token: try Self.token(expiresIn: -60))
            }
            #expect(again?.code == .tokenExpired)
            try await lasting.send("still here", to: PartyID(lasting.user))
        }
    }

    @Test func aServerHasSoManyConnections() async throws {
        try await Harness.run(configure: { $0.maximumConnections = 1 }) { harness in
            let first = try await harness.client("alice")
            let second = harness.connect()
            #expect(await second.closed().wireCode == CloseCode.tooManyConnections.rawValue)
            withExtendedLifetime(first) {}
        }
    }
}
