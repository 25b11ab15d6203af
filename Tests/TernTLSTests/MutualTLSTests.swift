// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernTLS

@Suite("Mutual TLS")
struct MutualTLSTests {
    @Test func aServerLearnsWhoItsClientIs() throws {
        let parties = try Parties()
        let pair = try parties.pair { .required($0) }
        try pair.finish()
        let leaf = try #require(pair.server.session.peerCertificates.first)
        let certificate = try TLSCertificate(der: leaf)
        #expect(certificate.commonName == "alice")
        #expect(certificate.alternativeNames.isEmpty)
        #expect(certificate.subjectPublicKeyInfoSHA256 == parties.alice.identity.subjectPublicKeyInfoSHA256)
        #expect(certificate.notAfter == parties.alice.identity.notAfter)
    }

    @Test func aClientWithoutACertificateIsRefusedOrNot() throws {
        let parties = try Parties()
        let refused = try parties.pair(identity: nil) { .required($0) }
        #expect(throws: TransportError(.certificateRejected, message: "", wireCode: 0x174)) {
            try refused.finishServer()
        }
        // The client, which was done by then, hears certificate_required.
        #expect(throws: TransportError(.certificateRejected, message: "", wireCode: 0x174, initiator: .peer)) {
            try refused.readAsClient()
        }
        let welcome = try parties.pair(identity: nil) { .optional($0) }
        try welcome.finish()
        #expect(welcome.server.session.peerCertificates.isEmpty)
    }

    @Test func whoIsNotAskedShowsNothing() throws {
        let pair = try Parties().pair { _ in .none }
        try pair.finish()
        #expect(pair.server.session.peerCertificates.isEmpty)
    }

    @Test(arguments: [false, true])
    func aStrangerIsRefused(isOptional: Bool) throws {
        let parties = try Parties()
        let mallory = try TLSIdentity.selfSigned(client: "mallory")
        let pair = try parties.pair(identity: mallory.identity) { isOptional ? .optional($0) : .required($0) }
        let error = #expect(throws: TransportError(.certificateRejected, message: "", wireCode: 0x130)) {
            try pair.finishServer()
        }
        #expect(error?.message.contains("the client") == true)
        #expect(throws: TransportError(.certificateRejected, message: "", wireCode: 0x130, initiator: .peer)) {
            try pair.readAsClient()
        }
    }

    @Test func anExpiredClientIsRefused() throws {
        let parties = try Parties()
        let old = try TLSIdentity.selfSigned(client: "old", validFor: .hours(1), now: 1_600_000_000)
        let pair = try parties.pair(identity: old.identity) { _ in
            .required(.certificateAuthorities(pem: old.certificateAuthorityPEM))
        }
        #expect(throws: TransportError(.certificateRejected, message: "", wireCode: 0x12d)) { try pair.finishServer() }
        #expect(throws: TransportError(.certificateRejected, message: "", wireCode: 0x12d, initiator: .peer)) {
            try pair.readAsClient()
        }
    }

    @Test func aServerCertificateIsNoClient() throws {
        let parties = try Parties()
        let server = try TLSIdentity.selfSigned()
        let pair = try parties.pair(identity: server.identity) { _ in
            .required(.certificateAuthorities(pem: server.certificateAuthorityPEM))
        }
        let error = #expect(throws: TransportError(.certificateRejected, message: "", wireCode: 0x12b)) {
            try pair.finishServer()
        }
        #expect(error?.message.contains("purpose") == true)
    }

    @Test func aClientsKeyCanBePinned() throws {
        let parties = try Parties()
        let good = try parties.pair { _ in
            .required(.pinned(subjectPublicKeyInfoSHA256: [parties.alice.identity.subjectPublicKeyInfoSHA256]))
        }
        try good.finish()
        let bad = try parties.pair { _ in
            .required(.pinned(subjectPublicKeyInfoSHA256: [[UInt8](repeating: 1, count: 32)]))
        }
        #expect(throws: TransportError(.certificateRejected, message: "", wireCode: 0x12e)) { try bad.finishServer() }
    }

    @Test func aResumedClientIsStillWhoItWas() throws {
        let parties = try Parties()
        let client = try parties.clientContext()
        let server = try parties.serverContext(.required(parties.clients))
        let first = try TLSPair(client, server)
        try first.finish()
        try first.keepTickets()
        let second = try TLSPair(client, server)
        try second.finish()
        #expect(second.client.session.isResumed)
        #expect(second.server.session.isResumed)
        let leaf = try #require(second.server.session.peerCertificates.first)
        #expect(try TLSCertificate(der: leaf).commonName == "alice")
    }

    /// A client that came by a ticket without the key proves after one lifetime of a ticket that it has none.
    @Test func aResumedClientGetsNoNewTickets() throws {
        let parties = try Parties()
        for authentication in [TLSClientAuthentication.required(parties.clients), .optional(parties.clients)] {
            let client = try parties.clientContext()
            let server = try parties.serverContext(authentication)
            let first = try TLSPair(client, server)
            try first.finish()
            try first.keepTickets()
            let second = try TLSPair(client, server)
            try second.finish()
            #expect(second.server.session.isResumed)
            var none = ByteBuffer()
            #expect(try second.client.read(into: &none, limit: 100) == .starved)
            #expect(!second.client.session.hasNewTickets)
        }
    }

    /// Tickets of servers that share a secret, but not their trust.
    @Test func aTicketDoesNotOutliveTheTrustInItsOwner() throws {
        let parties = try Parties()
        let client = try parties.clientContext()
        let secret = [UInt8](repeating: 3, count: 64)
        let before = try TLSPair(client, parties.serverContext(.required(parties.clients), secret: secret))
        try before.finish()
        try before.keepTickets()
        let others = try TLSIdentity.selfSigned(client: "bob").certificateAuthorityPEM
        let after = try TLSPair(
            client, parties.serverContext(.required(.certificateAuthorities(pem: others)), secret: secret))
        #expect(throws: TransportError(.certificateRejected, message: "", wireCode: 0x130)) { try after.finishServer() }
    }

    /// A ticket of a client that never showed a certificate.
    @Test func anAnonymousTicketDoesNotReplaceACertificate() throws {
        let parties = try Parties()
        let client = try parties.clientContext(identity: nil)
        let secret = [UInt8](repeating: 3, count: 64)
        let before = try TLSPair(client, parties.serverContext(.none, secret: secret))
        try before.finish()
        try before.keepTickets()
        let after = try TLSPair(client, parties.serverContext(.required(parties.clients), secret: secret))
        #expect(throws: TransportError(.certificateRejected, message: "", wireCode: 0x174)) { try after.finishServer() }
    }

    @Test func aTrustThatTrustsNobodyIsRefused() throws {
        let parties = try Parties()
        #expect(throws: TLSError(.emptyTrust, message: "")) {
            _ = try parties.serverContext(.required(.pinned(subjectPublicKeyInfoSHA256: [])))
        }
        #expect(throws: TLSError.self) {
            _ = try parties.serverContext(.optional(.certificateAuthorities(pem: Array("no".utf8))))
        }
    }
}

/// A server, a client with a name, and who trusts whom.
private struct Parties {
    let server: SelfSignedIdentity
    let alice: SelfSignedIdentity
    let clients: TLSTrust

    init() throws {
        self.server = try TLSIdentity.selfSigned()
        self.alice = try TLSIdentity.selfSigned(client: "alice")
        self.clients = .certificateAuthorities(pem: self.alice.certificateAuthorityPEM)
    }

    func clientContext(identity: TLSIdentity?) throws -> TLSClientContext {
        var configuration = TLSClientConfiguration(
            trust: .certificateAuthorities(pem: self.server.certificateAuthorityPEM))
        configuration.identity = identity
        return try TLSClientContext(configuration)
    }

    func clientContext() throws -> TLSClientContext { try self.clientContext(identity: self.alice.identity) }

    func serverContext(
        _ clientAuthentication: TLSClientAuthentication, secret: [UInt8]? = nil
    ) throws -> TLSServerContext {
        var configuration = TLSServerConfiguration(identity: self.server.identity)
        configuration.clientAuthentication = clientAuthentication
        configuration.tickets?.secret = secret
        return try TLSServerContext(configuration)
    }

    func pair(
        identity: TLSIdentity?, _ clientAuthentication: (TLSTrust) -> TLSClientAuthentication
    ) throws -> TLSPair {
        try TLSPair(self.clientContext(identity: identity), self.serverContext(clientAuthentication(self.clients)))
    }

    func pair(_ clientAuthentication: (TLSTrust) -> TLSClientAuthentication) throws -> TLSPair {
        try self.pair(identity: self.alice.identity, clientAuthentication)
    }
}

extension TLSPair {
    /// Until both ends know that both are done; throws what the client meets, then what the server meets.
    func finish() throws {
        try self.handshake()
        try self.finishServer()
    }

    /// What a client meets that reads on.
    func readAsClient() throws {
        var none = ByteBuffer()
        while try !self.client.handshake() {}
        _ = try self.client.read(into: &none, limit: 100)
    }

    /// Lets the tickets that the server sent reach the client's cache.
    func keepTickets() throws {
        var none = ByteBuffer()
        #expect(try self.client.read(into: &none, limit: 100) == .starved)
        #expect(self.client.session.hasNewTickets)
        self.client.session.rememberTickets(carrierState: [])
    }
}
