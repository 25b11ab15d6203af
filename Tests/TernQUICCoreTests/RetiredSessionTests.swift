// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTLS
import TernTransport
import Testing

@testable import TernQUICCore

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// A server gives back the memory of TLS when the handshake is done.
@Suite("Servers without a TLS session")
struct RetiredSessionTests {
    private func pair(_ suite: TLSCipherSuite) throws -> Pair {
        let development = try Sessions.server.get()
        var client = TLSClientConfiguration(
            trust: .certificateAuthorities(pem: development.certificateAuthorityPEM))
        client.cipherSuites = [suite]
        let server = try TLSServerContext(TLSServerConfiguration(identity: development.identity))
        let pair = try Pair(
            clientSession: try TLSClientContext(client).makeSession(
                for: .quic, applicationProtocols: ["test/1"], serverName: "localhost"),
            makeServerSession: { try server.makeSession(for: .quic, applicationProtocols: ["test/1"]) })
        try pair.establish()
        return pair
    }

    @Test("it derives the same bytes as a client that has one", arguments: [TLSCipherSuite].standard)
    func exporter(suite: TLSCipherSuite) throws {
        let pair = try self.pair(suite)
        let (client, server) = (try #require(pair.client.core), try #require(pair.server.core))
        #expect(!client.tls.isRetired && server.tls.isRetired)
        let contexts: [([UInt8], Int)] = [([], 1), ([1, 2, 3], 32), (Array(repeating: 9, count: 65_535), 8160)]
        for (context, count) in contexts {
            let label = count == 32 ? String(repeating: "E", count: 63) : "EXPORTER-test"
            let keys = try client.exportKeyingMaterial(label: label, context: context, count: count)
            #expect(try server.exportKeyingMaterial(label: label, context: context, count: count) == keys)
        }
        #expect(throws: TransportError.self) {
            try server.exportKeyingMaterial(label: "EXPORTER-test", context: [], count: 8161)
        }
    }

    @Test("it remembers what the handshake agreed on", arguments: [TLSCipherSuite].standard)
    func outcome(suite: TLSCipherSuite) throws {
        let server = try #require(try self.pair(suite).server.core)
        #expect(server.tls.cipherSuite == suite)
        #expect(server.tls.applicationProtocol == "test/1")
        #expect(!server.tls.isResumed && !server.tls.wasEarlyDataAccepted && server.peerCertificates.isEmpty)
        try server.tls.verifyPeer()
    }

    @Test("a client that goes on with TLS after the handshake hears that it must not")
    func clientGoesOn() throws {
        let pair = try self.pair(.aes128GCM)
        try pair.run(for: .milliseconds(200))
        // A KeyUpdate (RFC 8446, section 4.6.3), which QUIC forbids (RFC 9001, section 6).
        try self.submit([24, 0, 0, 1, 0], to: try #require(pair.client.core))
        try pair.run(for: .seconds(1), until: { pair.client.closeReason != nil })
        let reason = try #require(pair.server.closeReason)
        #expect(reason.code == .transport && reason.wireCode == 0x10a && reason.initiator == .local)
        #expect(pair.client.closeReason?.wireCode == 0x10a)
    }

    @Test("half a message is answered as a whole one, and the connection's last words still pass")
    func clientBegins() throws {
        let pair = try self.pair(.aes128GCM)
        try pair.run(for: .milliseconds(200))
        try self.submit([11], to: try #require(pair.client.core))
        try pair.run(for: .seconds(1), until: { pair.client.closeReason != nil })
        #expect(pair.server.closeReason?.wireCode == 0x10a)
        #expect(pair.client.closeReason?.initiator == .peer)
    }

    /// No client of ours says anything there, so ngtcp2 is asked directly.
    private func submit(_ message: [UInt8], to core: QUICConnectionCore) throws {
        typealias Submit = @convention(c) (OpaquePointer, CInt, UnsafePointer<UInt8>, Int) -> CInt
        let symbol = try #require(dlsym(nil, "ngtcp2_conn_submit_crypto_data"))
        // The first field of `tern_quic` is ngtcp2's connection; 2 is the level of 1-RTT.
        let connection = UnsafeRawPointer(core.native.quic).load(as: OpaquePointer.self)
        #expect(unsafeBitCast(symbol, to: Submit.self)(connection, 2, message, message.count) == 0)
    }
}
