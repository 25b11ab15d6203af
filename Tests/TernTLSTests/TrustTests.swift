// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernTLS

@Suite("Trust and ciphers")
struct TrustTests {
    private let made = Result { try TLSIdentity.selfSigned() }
    private let other = Result { try TLSIdentity.selfSigned() }

    @Test func anAuthorityOfOnesOwnBesideThoseOfTheSystem() throws {
        let made = try self.made.get()
        let trust = TLSTrust.system.adding(certificateAuthoritiesPEM: made.certificateAuthorityPEM)
        try TLSPair(identity: made.identity, trust: trust).handshake()
        let stranger = try TLSPair(identity: self.other.get().identity, trust: trust)
        #expect(throws: TransportError(.certificateRejected, message: "", wireCode: 0x130)) { try stranger.handshake() }
    }

    @Test func twoAuthoritiesOfOnesOwn() throws {
        let (made, other) = (try self.made.get(), try self.other.get())
        let trust = TLSTrust.certificateAuthorities(pem: made.certificateAuthorityPEM)
            .adding(certificateAuthoritiesPEM: other.certificateAuthorityPEM)
        for identity in [made.identity, other.identity] {
            try TLSPair(identity: identity, trust: trust).handshake()
        }
    }

    @Test func anAuthorityAndAPinMustBothHold() throws {
        let made = try self.made.get()
        let authority = TLSTrust.certificateAuthorities(pem: made.certificateAuthorityPEM)
        let pin = made.identity.subjectPublicKeyInfoSHA256
        let wrong = [UInt8](repeating: 9, count: 32)
        try TLSPair(identity: made.identity, trust: authority.requiring(subjectPublicKeyInfoSHA256: [wrong, pin]))
            .handshake()
        let wrongKey = try TLSPair(
            identity: made.identity, trust: authority.requiring(subjectPublicKeyInfoSHA256: [wrong]))
        #expect(throws: TransportError(.certificateRejected, message: "", wireCode: 0x12e)) { try wrongKey.handshake() }
        let wrongName = try TLSPair(
            identity: made.identity, trust: authority.requiring(subjectPublicKeyInfoSHA256: [pin]),
            serverName: "example.org")
        #expect(throws: TransportError(.certificateRejected, message: "", wireCode: 0x12a)) {
            try wrongName.handshake()
        }
        let wrongAuthority = TLSTrust.certificateAuthorities(pem: try self.other.get().certificateAuthorityPEM)
        let unsigned = try TLSPair(
            identity: made.identity, trust: wrongAuthority.requiring(subjectPublicKeyInfoSHA256: [pin]))
        #expect(throws: TransportError(.certificateRejected, message: "", wireCode: 0x130)) { try unsigned.handshake() }
    }

    @Test func eachReasonHasItsAlertAndTheServerHearsIt() throws {
        let expired = try TLSIdentity.selfSigned(validFor: .hours(1), now: 1_600_000_000)
        let early = try TLSIdentity.selfSigned(validFor: .hours(1), now: 4_000_000_000)
        let client = try TLSIdentity.selfSigned(
            for: ["localhost"], validFor: .hours(1), now: nil, purpose: .client)
        let cases: [(SelfSignedIdentity, UInt64)] = [(expired, 0x12d), (early, 0x12d), (client, 0x12b)]
        for (made, code) in cases {
            let pair = try TLSPair(
                identity: made.identity, trust: .certificateAuthorities(pem: made.certificateAuthorityPEM))
            #expect(throws: TransportError(.certificateRejected, message: "", wireCode: code)) { try pair.handshake() }
            #expect(throws: TransportError(.certificateRejected, message: "", wireCode: code, initiator: .peer)) {
                try pair.finishServer()
            }
        }
    }

    @Test(arguments: [TLSCipherSuite.aes128GCM, .aes256GCM, .chaCha20Poly1305])
    func oneCipherSuiteOnly(suite: TLSCipherSuite) throws {
        let pair = try self.pair(client: [suite], server: .standard)
        try pair.handshake()
        #expect(pair.client.session.cipherSuite == suite)
        #expect(pair.server.session.cipherSuite == suite)
    }

    @Test func theServersOrderCounts() throws {
        let pair = try self.pair(client: [.aes128GCM, .chaCha20Poly1305], server: [.chaCha20Poly1305, .aes128GCM])
        try pair.handshake()
        #expect(pair.client.session.cipherSuite == .chaCha20Poly1305)
    }

    @Test func noCipherSuiteInCommonFails() throws {
        let pair = try self.pair(client: [.aes128GCM], server: [.chaCha20Poly1305])
        #expect(throws: TransportError(.handshakeFailed, message: "", wireCode: 0x128)) { try pair.finishServer() }
        #expect(throws: TLSError(.malformed, message: "")) { _ = try self.pair(client: [], server: .standard) }
    }

    @Test func aCertificateSaysItsNames() throws {
        let made = try TLSIdentity.selfSigned(for: ["tern.example", "192.0.2.1", "2001:db8::1"])
        let pair = try TLSPair(
            identity: made.identity, trust: .certificateAuthorities(pem: made.certificateAuthorityPEM),
            serverName: "tern.example")
        try pair.handshake()
        let certificate = try TLSCertificate(der: try #require(pair.client.session.peerCertificates.first))
        #expect(certificate.commonName == "tern.example")
        #expect(
            certificate.alternativeNames == [
                .dns("tern.example"), .address([192, 0, 2, 1]),
                .address([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            ])
        #expect(certificate.fingerprintSHA256.count == 32)
        #expect(throws: TLSError(.malformed, message: "")) { _ = try TLSCertificate(der: [0x30, 0x03, 1, 2, 3]) }
        #expect(throws: TLSError(.malformed, message: "")) { _ = try TLSCertificate(der: []) }
    }

    /// Whatever a peer calls its certificate.
    @Test func damagedCertificatesAreReadOrRefused() throws {
        let made = try self.made.get()
        let pair = try TLSPair(
            identity: made.identity, trust: .certificateAuthorities(pem: made.certificateAuthorityPEM))
        try pair.handshake()
        let good = try #require(pair.client.session.peerCertificates.first)
        var generator = SplitMix(state: 23)
        var (read, refused) = (0, 0)
        for _ in 0..<2000 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...6, using: &generator) {
                let position = Int.random(in: 0..<bytes.count, using: &generator)
                bytes[position] = UInt8.random(in: 0...255, using: &generator)
            }
            if Bool.random(using: &generator) { bytes.removeLast(Int.random(in: 0..<bytes.count, using: &generator)) }
            if (try? TLSCertificate(der: bytes)) != nil { read += 1 } else { refused += 1 }
        }
        #expect(read > 0 && refused > 0)
    }

    private func pair(client: [TLSCipherSuite], server: [TLSCipherSuite]) throws -> TLSPair {
        let made = try self.made.get()
        var clientConfiguration = TLSClientConfiguration(
            trust: .certificateAuthorities(pem: made.certificateAuthorityPEM))
        clientConfiguration.cipherSuites = client
        var serverConfiguration = TLSServerConfiguration(identity: made.identity)
        serverConfiguration.cipherSuites = server
        return try TLSPair(TLSClientContext(clientConfiguration), TLSServerContext(serverConfiguration))
    }
}
