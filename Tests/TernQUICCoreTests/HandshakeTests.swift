// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernQUICCore

/// The TLS alert as a transport error code (RFC 9001, section 4.8).
private let noApplicationProtocol: UInt64 = 0x178

@Suite("Handshake")
struct HandshakeTests {
    @Test("a verified peer and a common protocol establish both ends")
    func succeeds() throws {
        let pair = try Pair(clientProtocols: ["test/1"])
        try pair.establish()
        try pair.run(for: .milliseconds(100))
        #expect(pair.client.core?.applicationProtocol == "test/1")
        #expect(pair.server.core?.applicationProtocol == "test/1")
        #expect(pair.client.core?.peerCertificates.isEmpty == false)
        #expect(pair.server.core?.peerCertificates.isEmpty == true)
        #expect(pair.client.core?.hasHeardFromPeer == true)
        for end in [pair.client, pair.server] {
            let confirmed = end.events.filter { if case .handshakeConfirmed = $0 { true } else { false } }
            #expect(confirmed.count == 1)
            #expect(end.closeReason == nil)
        }
        // A round trip of 10 ms: the handshake takes two of them at most, and never waits for a guessed pace.
        #expect(pair.now - .uptimeNanoseconds(1_000_000_000) < .milliseconds(150))
    }

    @Test("every connection ID of a server carries the prefix and the length of its source")
    func connectionIDs() throws {
        let pair = try Pair()
        try pair.establish()
        try pair.run(for: .milliseconds(100))
        let initial = try #require(pair.server.core?.connectionIDs.first)
        #expect(!pair.server.issued.isEmpty)
        for id in [initial] + pair.server.issued {
            #expect(id.count == QUICConnectionID.serverLength)
            #expect([id[0], id[1], id[2]] == [0x40, 0x01, 0x02])
        }
        #expect(Set(pair.server.issued).count == pair.server.issued.count)
        #expect(pair.client.issued.allSatisfy { $0.count == QUICConnectionID.clientLength })
    }

    @Test("a certificate of an unknown authority closes with a TLS alert before data flows")
    func unknownAuthority() throws {
        let pair = try Pair(trustsServer: false)
        try pair.run(for: .seconds(20))
        #expect(!pair.client.isEstablished)
        #expect(!pair.server.isEstablished)
        let client = try #require(pair.client.closeReason)
        #expect(client.code == .certificateRejected)
        #expect(client.initiator == .local)
        let server = try #require(pair.server.closeReason)
        #expect(server.code == .certificateRejected)
        #expect(server.initiator == .peer)
        #expect(server.wireCode == client.wireCode)
        #expect([UInt64(0x12a), 0x130].contains(server.wireCode))
    }

    @Test("a certificate for another name is rejected")
    func wrongName() throws {
        let pair = try Pair(serverName: "example.org")
        try pair.run(for: .seconds(20))
        #expect(pair.client.closeReason?.code == .certificateRejected)
        #expect(pair.server.closeReason?.code == .certificateRejected)
        #expect(!pair.client.isEstablished)
    }

    @Test("no application protocol in common: alert 120 at both ends")
    func protocolMismatch() throws {
        let pair = try Pair(clientProtocols: ["other/1"])
        try pair.run(for: .seconds(20))
        #expect(pair.client.closeReason?.code == .handshakeFailed)
        #expect(pair.client.closeReason?.initiator == .peer)
        #expect(pair.client.closeReason?.wireCode == noApplicationProtocol)
        #expect(pair.server.closeReason?.code == .handshakeFailed)
        #expect(pair.server.closeReason?.wireCode == noApplicationProtocol)
    }

    @Test("silence ends the handshake at its timeout")
    func timesOut() throws {
        var limits = ConnectionLimits()
        limits.handshakeTimeout = .seconds(3)
        let pair = try Pair(clientLimits: limits)
        pair.network = { _ in nil }
        let start = pair.now
        try pair.run(for: .seconds(20), until: { pair.client.closeReason != nil })
        #expect(pair.client.closeReason?.code == .timedOut)
        #expect(pair.client.closeReason?.isRetrySafe == true)
        #expect(pair.now - start - .nanoseconds(1) == .seconds(3))
        #expect(pair.client.core?.isFinished == true)
    }

    @Test("a client that gives up during the handshake tells the server, but not its application code")
    func closesEarly() throws {
        let pair = try Pair()
        try pair.run(until: { pair.server.core != nil })
        pair.client.core?.close(code: 77, reason: "secret")
        try pair.run(for: .seconds(20))
        #expect(pair.client.closeReason == TransportError(.application, message: "", wireCode: 77))
        #expect(pair.server.closeReason?.initiator == .peer)
        #expect(pair.server.closeReason?.wireCode == TransportErrorCode.applicationError)
        #expect(pair.server.closeReason?.message.contains("secret") == false)
        #expect(pair.client.core?.isFinished == true)
        #expect(pair.server.core?.isFinished == true)
    }

    @Test("a client that gives up before its first packet just ends")
    func closesAtOnce() throws {
        let pair = try Pair()
        pair.client.core?.close(code: 1, reason: "")
        try pair.run(for: .seconds(1))
        #expect(pair.client.closeReason?.code == .application)
        #expect(pair.client.core?.isFinished == true)
        #expect(pair.server.core == nil)
    }

    @Test("streams wait for the handshake")
    func opensLater() throws {
        let pair = try Pair()
        #expect(try pair.client.core?.openStream(.bidirectional) == nil)
        try pair.establish()
        #expect(
            pair.client.events.contains { if case .streamsAvailable(.bidirectional) = $0 { true } else { false } })
        #expect(try pair.client.core?.openStream(.bidirectional) == StreamID(rawValue: 0))
    }
}
