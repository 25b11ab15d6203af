// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTLS
import TernTransport
import Testing

@testable import TernQUICCore

@Suite("Mutual TLS over QUIC")
struct MutualTLSTests {
    private let alice = Result { try TLSIdentity.selfSigned(client: "alice") }

    @Test("the server learns who its client is, also when it resumes, and takes nothing early")
    func known() throws {
        let world = try self.world(alice.get().identity)
        for isResumed in [false, true] {
            let pair = try world.pair([ReplayableStream(ByteBuffer(string: "hello"))])
            try pair.establish()
            try pair.run(for: .milliseconds(200))
            let server = try #require(pair.server.core)
            #expect(server.tls.isResumed == isResumed)
            let leaf = try #require(server.peerCertificates.first)
            #expect(try TLSCertificate(der: leaf).commonName == "alice")
            #expect(server.earlyData == .notOffered)
            #expect(pair.server.received[StreamID(rawValue: 0)] == Array("hello".utf8))
        }
    }

    @Test("a client without a certificate hears certificate_required")
    func anonymous() throws {
        try self.expectRefusal(of: nil, code: 0x174)
    }

    @Test("a client of another authority hears unknown_ca")
    func stranger() throws {
        try self.expectRefusal(of: TLSIdentity.selfSigned(client: "mallory").identity, code: 0x130)
    }

    @Test("a server that has expired is told certificate_expired")
    func expired() throws {
        let old = try TLSIdentity.selfSigned(validFor: .hours(1), now: 1_600_000_000)
        let client = try TLSClientContext(
            TLSClientConfiguration(trust: .certificateAuthorities(pem: old.certificateAuthorityPEM)))
        let server = try TLSServerContext(TLSServerConfiguration(identity: old.identity))
        let pair = try Pair(
            clientSession: client.makeSession(
                for: .quic, applicationProtocols: ["test/1"], serverName: "localhost"),
            makeServerSession: { try server.makeSession(for: .quic, applicationProtocols: ["test/1"]) })
        try pair.run(for: .seconds(20))
        #expect(pair.client.closeReason == TransportError(.certificateRejected, message: "", wireCode: 0x12d))
        #expect(
            pair.server.closeReason
                == TransportError(.certificateRejected, message: "", wireCode: 0x12d, initiator: .peer))
    }

    @Test("one cipher suite only", arguments: [TLSCipherSuite.aes256GCM, .chaCha20Poly1305])
    func cipherSuite(suite: TLSCipherSuite) throws {
        let world = try self.world(nil, isRequired: false, cipherSuites: [suite])
        let pair = try world.pair([ReplayableStream(ByteBuffer(string: "hello"))])
        try pair.establish()
        try pair.run(for: .milliseconds(200))
        #expect(pair.client.core?.tls.cipherSuite == suite)
        #expect(pair.server.received[StreamID(rawValue: 0)] == Array("hello".utf8))
    }

    private func expectRefusal(of identity: TLSIdentity?, code: UInt64) throws {
        let pair = try self.world(identity).pair([])
        try pair.run(for: .seconds(5))
        #expect(!pair.server.isEstablished)
        #expect(pair.server.closeReason == TransportError(.certificateRejected, message: "", wireCode: code))
        #expect(
            pair.client.closeReason
                == TransportError(.certificateRejected, message: "", wireCode: code, initiator: .peer))
    }

    private func world(
        _ identity: TLSIdentity?, isRequired: Bool = true, cipherSuites: [TLSCipherSuite] = .standard
    ) throws -> MutualWorld {
        let made = try Sessions.server.get()
        var client = TLSClientConfiguration(trust: .certificateAuthorities(pem: made.certificateAuthorityPEM))
        client.identity = identity
        client.cipherSuites = cipherSuites
        var server = TLSServerConfiguration(identity: made.identity)
        if isRequired {
            server.clientAuthentication = .required(
                .certificateAuthorities(pem: try self.alice.get().certificateAuthorityPEM))
        }
        server.earlyData = TLSEarlyData()
        return MutualWorld(client: try TLSClientContext(client), server: try TLSServerContext(server))
    }
}

private struct MutualWorld {
    let client: TLSClientContext
    let server: TLSServerContext

    func pair(_ replayable: [ReplayableStream]) throws -> Pair {
        try Pair(
            replayable: replayable,
            clientSession: self.client.makeSession(
                for: .quic, applicationProtocols: ["test/1"], serverName: "localhost", port: 4433,
                hasEarlyData: !replayable.isEmpty),
            makeServerSession: { try self.server.makeSession(for: .quic, applicationProtocols: ["test/1"]) })
    }
}
