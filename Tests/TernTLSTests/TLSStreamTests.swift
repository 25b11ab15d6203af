// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernTLS

@Suite("TLS over a byte stream")
struct TLSStreamTests {
    @Test(arguments: ["localhost", "127.0.0.1", "::1"])
    func theAuthorityOfASelfSignedIdentityIsEnough(serverName: String) throws {
        let made = try TLSIdentity.selfSigned()
        let pair = try TLSPair(
            identity: made.identity, trust: .certificateAuthorities(pem: made.certificateAuthorityPEM),
            serverName: serverName)
        try pair.handshake()
        #expect(pair.client.session.applicationProtocol == "one")
        #expect(pair.server.session.applicationProtocol == "one")
        #expect(pair.client.session.peerCertificates.count == 2)
    }

    @Test(arguments: ["example.org", "127.0.0.2", "::2"])
    func anotherNameIsRejected(serverName: String) throws {
        let made = try TLSIdentity.selfSigned()
        let pair = try TLSPair(
            identity: made.identity, trust: .certificateAuthorities(pem: made.certificateAuthorityPEM),
            serverName: serverName)
        let error = #expect(throws: TransportError.self) { try pair.handshake() }
        #expect(error?.code == .certificateRejected)
        #expect(error?.message.contains(serverName) == true)
        #expect(throws: TransportError.self, "the server hears of it") { try pair.finishServer() }
    }

    @Test func anUnknownAuthorityIsRejected() throws {
        let other = try TLSIdentity.selfSigned()
        let pair = try TLSPair(
            identity: try TLSIdentity.selfSigned().identity,
            trust: .certificateAuthorities(pem: other.certificateAuthorityPEM))
        #expect(throws: TransportError(.certificateRejected, message: "", wireCode: 0x130)) { try pair.handshake() }
    }

    @Test func theSystemDoesNotTrustIt() throws {
        let pair = try TLSPair(identity: try TLSIdentity.selfSigned().identity, trust: .system)
        #expect(throws: TransportError(.certificateRejected, message: "", wireCode: 0x130)) { try pair.handshake() }
    }

    @Test func anExpiredCertificateIsRejected() throws {
        let made = try TLSIdentity.selfSigned(validFor: .hours(1), now: 1_600_000_000)
        let pair = try TLSPair(
            identity: made.identity, trust: .certificateAuthorities(pem: made.certificateAuthorityPEM))
        let error = #expect(throws: TransportError.self) { try pair.handshake() }
        #expect(error?.code == .certificateRejected)
        #expect(error?.message.contains("expired") == true)
    }

    @Test func aCertificateForClientsIsNoServer() throws {
        let made = try TLSIdentity.selfSigned(for: ["localhost"], validFor: .hours(1), now: nil, purpose: .client)
        let pair = try TLSPair(
            identity: made.identity, trust: .certificateAuthorities(pem: made.certificateAuthorityPEM))
        let error = #expect(throws: TransportError.self) { try pair.handshake() }
        #expect(error?.code == .certificateRejected)
        #expect(error?.message.contains("purpose") == true, "\(String(describing: error))")
    }

    @Test func aPinnedKeyNeedsNoAuthority() throws {
        let made = try TLSIdentity.selfSigned()
        let pin = made.identity.subjectPublicKeyInfoSHA256
        let other = [UInt8](repeating: 7, count: 32)
        let good = try TLSPair(
            identity: made.identity, trust: .pinned(subjectPublicKeyInfoSHA256: [other, pin]), serverName: "any.example"
        )
        try good.handshake()
        let bad = try TLSPair(identity: made.identity, trust: .pinned(subjectPublicKeyInfoSHA256: [other]))
        let error = #expect(throws: TransportError.self) { try bad.handshake() }
        #expect(error?.code == .certificateRejected)
        #expect(error?.message.contains("not pinned") == true)
    }

    @Test func noCommonApplicationProtocolFailsBothEnds() throws {
        let made = try TLSIdentity.selfSigned()
        let pair = try TLSPair(
            identity: made.identity, trust: .certificateAuthorities(pem: made.certificateAuthorityPEM),
            protocols: (client: ["two"], server: ["one"]))
        #expect(throws: TransportError(.handshakeFailed, message: "", wireCode: 0x178)) { try pair.finishServer() }
        #expect(throws: TransportError(.handshakeFailed, message: "", wireCode: 0x178, initiator: .peer)) {
            try pair.handshake()
        }
    }

    @Test(arguments: [1, 7, 16_384, .max])
    func bytesArriveAsSent(pieceSize: Int) throws {
        let pair = try TLSPair.trusting()
        try pair.handshake()
        let total = pieceSize == 1 ? 20_000 : 4 << 20
        let sent = ByteBuffer(bytes: (0..<total).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) })
        try pair.client.write(sent)
        let received = try pair.carry(from: pair.client, to: pair.server, pieceSize: pieceSize)
        #expect(received == sent)
    }

    @Test func aCleanCloseIsToldFromATruncation() throws {
        let clean = try TLSPair.trusting()
        try clean.handshake()
        clean.client.close()
        if let bytes = clean.client.takeCiphertext() { clean.server.receive(bytes) }
        clean.server.receiveEndOfFile()
        var none = ByteBuffer()
        #expect(try clean.server.read(into: &none, limit: 10) == .closed)
        let cut = try TLSPair.trusting()
        try cut.handshake()
        cut.server.receiveEndOfFile()
        #expect(throws: TransportError(.carrierLost, message: "", initiator: .peer)) {
            _ = try cut.server.read(into: &none, limit: 10)
        }
    }

    @Test func whatCameBeforeATruncationIsNotLost() throws {
        let pair = try TLSPair.trusting()
        try pair.handshake()
        try pair.client.write(ByteBuffer(string: "last words"))
        pair.server.receive(try #require(pair.client.takeCiphertext()))
        pair.server.receiveEndOfFile()
        var received = ByteBuffer()
        #expect(try pair.server.read(into: &received, limit: 1 << 20) == .bytes)
        #expect(received == ByteBuffer(string: "last words"))
        for _ in 0..<2 {
            #expect(throws: TransportError(.carrierLost, message: "", initiator: .peer)) {
                _ = try pair.server.read(into: &received, limit: 10)
            }
        }
    }

    @Test func aCloseRightBehindBytesIsHeard() throws {
        let pair = try TLSPair.trusting()
        try pair.handshake()
        try pair.client.write(ByteBuffer(string: "last words"))
        pair.client.close()
        pair.server.receive(try #require(pair.client.takeCiphertext()))
        var received = ByteBuffer()
        #expect(try pair.server.read(into: &received, limit: 1 << 20) == .bytes)
        #expect(received == ByteBuffer(string: "last words"))
        for _ in 0..<2 { #expect(try pair.server.read(into: &received, limit: 10) == .closed) }
    }

    @Test func whatComesBehindACloseIsNotKept() throws {
        let pair = try TLSPair.trusting()
        try pair.handshake()
        pair.client.close()
        var bytes = try #require(pair.client.takeCiphertext())
        let behind = ByteBuffer(repeating: 0x17, count: 4096)
        bytes.writeImmutableBuffer(behind)
        pair.server.receive(bytes)
        var none = ByteBuffer()
        #expect(try pair.server.read(into: &none, limit: 10) == .closed)
        #expect(pair.server.waitingCiphertext == 0)
        pair.server.receive(behind)
        #expect(pair.server.waitingCiphertext == 0)
    }

    @Test func aServerSpeaksBeforeTheClientHasFinished() throws {
        let pair = try TLSPair.trusting()
        _ = try pair.client.handshake()
        pair.server.receive(try #require(pair.client.takeCiphertext()))
        #expect(try pair.server.handshake())
        try pair.server.write(ByteBuffer(string: "hello"))
        pair.client.receive(try #require(pair.server.takeCiphertext()))
        #expect(try pair.client.handshake())
        var received = ByteBuffer()
        #expect(try pair.client.read(into: &received, limit: 100) == .bytes)
        #expect(received == ByteBuffer(string: "hello"))
        // And hears the client after it.
        try pair.client.write(ByteBuffer(string: "you too"))
        pair.server.receive(try #require(pair.client.takeCiphertext()))
        received.clear()
        #expect(try pair.server.read(into: &received, limit: 100) == .bytes)
        #expect(received == ByteBuffer(string: "you too"))
    }

    @Test func aServerReadsNothingOfAClientThatDidNotFinish() throws {
        let pair = try TLSPair.trusting()
        _ = try pair.client.handshake()
        pair.server.receive(try #require(pair.client.takeCiphertext()))
        #expect(try pair.server.handshake())
        // A record of application data, in clear.
        pair.server.receive(ByteBuffer(bytes: [0x17, 3, 3, 0, 20] + [UInt8](repeating: 9, count: 20)))
        var received = ByteBuffer()
        let error = #expect(throws: TransportError.self) { _ = try pair.server.read(into: &received, limit: 100) }
        #expect(error?.code == .handshakeFailed)
        #expect(received.readableBytes == 0)
    }

    @Test func aRecordThatWasChangedIsToldAsALostCarrier() throws {
        let pair = try TLSPair.trusting()
        try pair.handshake()
        try pair.server.write(ByteBuffer(string: "hello"))
        var bytes = try #require(pair.server.takeCiphertext())
        bytes.setInteger(UInt8(0), at: bytes.writerIndex - 1)
        bytes.setInteger(UInt8(1), at: bytes.writerIndex - 2)
        pair.client.receive(bytes)
        var none = ByteBuffer()
        #expect(throws: TransportError(.carrierLost, message: "", wireCode: 0x114)) {
            _ = try pair.client.read(into: &none, limit: 100)
        }
        // The peer hears why.
        pair.server.receive(try #require(pair.client.takeCiphertext()))
        #expect(throws: TransportError.self) { _ = try pair.server.read(into: &none, limit: 100) }
    }

    @Test func randomBytesFailAndNeverTrap() throws {
        var generator = SplitMix(state: 42)
        let made = try TLSIdentity.selfSigned()
        for _ in 0..<200 {
            let pair = try TLSPair(
                identity: made.identity, trust: .certificateAuthorities(pem: made.certificateAuthorityPEM))
            let length = Int.random(in: 1...400, using: &generator)
            let noise = (0..<length).map { _ in UInt8.random(in: 0...255, using: &generator) }
            pair.server.receive(ByteBuffer(bytes: noise))
            pair.server.receiveEndOfFile()
            #expect(throws: TransportError.self) { while try !pair.server.handshake() {} }
        }
    }

    @Test func flippedRecordsFailAndNeverTrap() throws {
        var generator = SplitMix(state: 7)
        for _ in 0..<50 {
            let pair = try TLSPair.trusting()
            try pair.handshake()
            try pair.client.write(ByteBuffer(repeating: 1, count: 1000))
            var bytes = try #require(pair.client.takeCiphertext())
            let position = Int.random(in: 5..<bytes.readableBytes, using: &generator)
            bytes.setInteger(try #require(bytes.getInteger(at: position, as: UInt8.self)) ^ 0x40, at: position)
            pair.server.receive(bytes)
            var none = ByteBuffer()
            #expect(throws: TransportError.self) { _ = try pair.server.read(into: &none, limit: 1000) }
        }
    }
}

/// A client and a server joined in memory.
final class TLSPair {
    let client: TLSStream
    let server: TLSStream

    convenience init(
        identity: TLSIdentity, trust: TLSTrust, serverName: String = "localhost",
        protocols: (client: [String], server: [String]) = (["two", "one"], ["one"])
    ) throws {
        try self.init(
            TLSClientContext(TLSClientConfiguration(trust: trust)),
            TLSServerContext(TLSServerConfiguration(identity: identity)), serverName: serverName, protocols: protocols)
    }

    init(
        _ clientContext: TLSClientContext, _ serverContext: TLSServerContext, serverName: String = "localhost",
        protocols: (client: [String], server: [String]) = (["two", "one"], ["one"])
    ) throws {
        self.client = TLSStream(
            session: try clientContext.makeSession(
                for: .stream, applicationProtocols: protocols.client, serverName: serverName))
        self.server = TLSStream(
            session: try serverContext.makeSession(for: .stream, applicationProtocols: protocols.server))
    }

    init(client: TLSStream, server: TLSStream) {
        self.client = client
        self.server = server
    }

    static func trusting() throws -> TLSPair {
        let made = try TLSIdentity.selfSigned()
        return try TLSPair(identity: made.identity, trust: .certificateAuthorities(pem: made.certificateAuthorityPEM))
    }

    /// Until both are done; throws what the client meets.
    func handshake() throws {
        var (clientIsDone, serverIsDone) = (false, false)
        while !clientIsDone || !serverIsDone {
            defer { if let bytes = self.client.takeCiphertext() { self.server.receive(bytes) } }
            clientIsDone = try self.client.handshake()
            if let bytes = self.client.takeCiphertext() { self.server.receive(bytes) }
            serverIsDone = (try? self.server.handshake()) ?? false
            if let bytes = self.server.takeCiphertext() { self.client.receive(bytes) }
        }
    }

    /// Until the server knows that the client is done; throws what the server meets.
    func finishServer() throws {
        while true {
            _ = try? self.client.handshake()
            if let bytes = self.client.takeCiphertext() { self.server.receive(bytes) }
            defer { if let bytes = self.server.takeCiphertext() { self.client.receive(bytes) } }
            var none = ByteBuffer()
            if try self.server.handshake(), case .starved = try self.server.read(into: &none, limit: 1) { return }
        }
    }

    func carry(from sender: TLSStream, to receiver: TLSStream, pieceSize: Int) throws -> ByteBuffer {
        var received = ByteBuffer()
        while var bytes = sender.takeCiphertext() {
            while let piece = bytes.readSlice(length: min(pieceSize, bytes.readableBytes)), piece.readableBytes > 0 {
                receiver.receive(piece)
                while case .bytes = try receiver.read(into: &received, limit: 64 << 10) {}
            }
        }
        return received
    }
}

struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = self.state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
