// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import Testing

@testable import TernQUICCore

/// Retry and NEW_TOKEN tokens (RFC 9000, section 8.1), without sockets.
@Suite struct AddressTokenTests {
    private let tokens = QUICAddressTokens(
        secret: QUICResetSecret(bytes: Array(repeating: 3, count: 32)), lifetime: .hours(24))
    private let now = TimeAmount.hours(24 * 365 * 56)
    private let client: SocketAddress
    private let serverID = QUICConnectionID(Array(repeating: UInt8(9), count: 18))
    private let endpoint = QUICEndpointCore(
        connectionIDs: QUICConnectionIDSource(
            length: QUICConnectionID.serverLength, prefix: [0, 1, 2], resetSecret: QUICResetSecret()))

    init() throws {
        self.client = try SocketAddress(ipAddress: "192.0.2.7", port: 4000)
    }

    private func initial(token: [UInt8] = [], to destination: QUICConnectionID? = nil) -> QUICInitial {
        QUICInitial(
            version: 1, destinationConnectionID: destination ?? QUICConnectionID(1...8),
            sourceConnectionID: QUICConnectionID(11...18), token: token)
    }

    /// A Retry packet: first byte, version, both connection IDs, the token, and 16 bytes of tag.
    private func retryToken(for remote: SocketAddress? = nil, wallTime: TimeAmount? = nil) throws -> [UInt8] {
        var packet = [UInt8](repeating: 0, count: 256)
        let count = packet.withUnsafeMutableBytes {
            self.tokens.retry(
                self.initial(), from: self.serverID, to: remote ?? self.client, wallTime: wallTime ?? self.now, into: $0
            )
        }
        try #require(count > 0)
        #expect(count < 1200)
        #expect(packet[0] & 0xf0 == 0xf0)
        #expect(Array(packet[5..<14]) == [8] + Array(11...18))
        #expect(Array(packet[14..<33]) == [18] + Array(repeating: 9, count: 18))
        return Array(packet[33..<(count - 16)])
    }

    private func evidence(
        _ token: [UInt8], to destination: QUICConnectionID? = nil, from remote: SocketAddress? = nil,
        at wallTime: TimeAmount? = nil, tokens: QUICAddressTokens? = nil
    ) -> QUICAddressTokens.Evidence {
        (tokens ?? self.tokens).evidence(
            in: self.initial(token: token, to: destination), from: remote ?? self.client, wallTime: wallTime ?? self.now
        )
    }

    @Test func aRetryTokenProvesTheAddressAndTheFirstDestination() throws {
        let token = try self.retryToken()
        #expect(
            self.evidence(token, to: self.serverID) == .proven(.retry(original: QUICConnectionID(1...8))))
        #expect(
            self.evidence(token, to: self.serverID, at: self.now + .seconds(9))
                == .proven(.retry(original: QUICConnectionID(1...8))))
    }

    @Test func aRetryTokenHoldsForOneClientForAMoment() throws {
        let token = try self.retryToken()
        let otherPort = try SocketAddress(ipAddress: "192.0.2.7", port: 4001)
        let otherAddress = try SocketAddress(ipAddress: "192.0.2.8", port: 4000)
        let sixth = try SocketAddress(ipAddress: "2001:db8::1", port: 4000)
        for remote in [otherPort, otherAddress, sixth] {
            #expect(self.evidence(token, to: self.serverID, from: remote) == .badRetryToken)
        }
        #expect(self.evidence(token, to: QUICConnectionID(1...8)) == .badRetryToken)
        #expect(self.evidence(token, to: self.serverID, at: self.now + .seconds(10)) == .badRetryToken)
        let stranger = QUICAddressTokens(secret: QUICResetSecret(), lifetime: .hours(24))
        #expect(self.evidence(token, to: self.serverID, tokens: stranger) == .badRetryToken)
    }

    @Test func aTokenForLaterHoldsForTheAddressAndItsLifetime() throws {
        let token = self.tokens.token(for: self.client, wallTime: self.now)
        #expect(!token.isEmpty)
        let otherPort = try SocketAddress(ipAddress: "192.0.2.7", port: 9)
        #expect(self.evidence(token, from: otherPort, at: self.now + .hours(23)) == .proven(.token))
        #expect(self.evidence(token, at: self.now + .hours(24)) == .none)
        #expect(self.evidence(token, from: try SocketAddress(ipAddress: "192.0.2.8", port: 4000)) == .none)
        #expect(self.evidence(token, from: try SocketAddress(ipAddress: "2001:db8::1", port: 4000)) == .none)
        let stranger = QUICAddressTokens(secret: QUICResetSecret(), lifetime: .hours(24))
        #expect(self.evidence(token, tokens: stranger) == .none)
        #expect(self.tokens.token(for: self.client, wallTime: self.now) != token)
    }

    @Test func everyFlippedBitIsNoticed() throws {
        let token = self.tokens.token(for: self.client, wallTime: self.now)
        let retry = try self.retryToken()
        for position in 0..<(retry.count * 8) {
            var changed = retry
            changed[position / 8] ^= 1 << UInt8(position % 8)
            let evidence = self.evidence(changed, to: self.serverID)
            #expect(evidence == (position < 8 ? .none : .badRetryToken))
        }
        for position in 0..<(token.count * 8) {
            var changed = token
            changed[position / 8] ^= 1 << UInt8(position % 8)
            #expect(self.evidence(changed) == .none)
        }
    }

    @Test func garbageIsNoTokenAndNoCrash() throws {
        var generator = SystemRandomNumberGenerator()
        let unix = try SocketAddress(unixDomainSocketPath: "/nowhere")
        for length in 0..<200 {
            for first: UInt8 in [0, 0x36, 0xb6, 0xff] {
                var token = (0..<length).map { _ in UInt8.random(in: 0...255, using: &generator) }
                if length > 0 { token[0] = first }
                switch self.evidence(token) {
                case .none, .badRetryToken: break
                case .proven: Issue.record("\(token) proves nothing")
                }
                #expect(self.evidence(token, from: unix) != .proven(.token))
            }
        }
        #expect(self.tokens.token(for: unix, wallTime: self.now).isEmpty)
    }

    @Test func aRefusalIsAShortClose() {
        var packet = [UInt8](repeating: 0, count: 256)
        let count = packet.withUnsafeMutableBytes { self.tokens.refuse(self.initial(), into: $0) }
        #expect(count > 0 && count < 100)
        #expect(packet[0] & 0xf0 == 0xc0)
        var tiny = [UInt8](repeating: 0, count: 10)
        #expect(tiny.withUnsafeMutableBytes { self.tokens.refuse(self.initial(), into: $0) } == 0)
    }

    @Test func connectionIDsForRetryBeginWithThePrefix() {
        let id = self.endpoint.makeConnectionID()
        #expect(id.count == 18)
        #expect([id[0], id[1], id[2]] == [0, 1, 2])
        #expect(self.endpoint.makeConnectionID() != id)
    }

    @Test func secretsForTwoPurposesDiffer() {
        let secret = QUICResetSecret(bytes: Array(repeating: 1, count: 32))
        #expect(secret.derived(for: "a").bytes.count == 32)
        #expect(secret.derived(for: "a").bytes != secret.derived(for: "b").bytes)
        #expect(secret.derived(for: "a").bytes == secret.derived(for: "a").bytes)
        #expect(secret.derived(for: "a").bytes != secret.bytes)
    }
}
