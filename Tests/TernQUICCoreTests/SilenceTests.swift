// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernQUICCore

@Suite("Silence")
struct SilenceTests {
    @Test("the keep-alive follows the shorter idle timeout, whose ever it is", arguments: [true, false])
    func keepAlive(isServers: Bool) throws {
        var patient = ConnectionLimits()
        patient.keepAliveInterval = .seconds(10)
        var hasty = ConnectionLimits()
        hasty.idleTimeout = .seconds(3)
        hasty.keepAliveInterval = nil
        let pair = try Pair(
            clientLimits: isServers ? patient : hasty, serverLimits: isServers ? hasty : patient)
        try pair.establish()
        try pair.run(for: .seconds(120))
        #expect(pair.client.closeReason == nil && pair.server.closeReason == nil)
        #expect(pair.datagramsSent < 600)
    }

    /// Small packets pass, so that the idle timeout never comes.
    @Test("a path that takes small packets only ends an upload, and says so")
    func nothingLargePasses() throws {
        let pair = try Pair()
        try pair.establish()
        try pair.run(for: .seconds(3))
        pair.network = { flight in flight.toServer && flight.bytes.count > 1100 ? nil : flight }
        let id = try #require(try pair.client.core?.openStream(.bidirectional))
        try StreamTests.send(pattern(1_000_000), on: id, from: pair.client)
        let began = pair.now
        #expect(try pair.run(for: .seconds(120), until: { pair.client.closeReason != nil }))
        #expect(pair.now - began < .seconds(40))
        let reason = try #require(pair.client.closeReason)
        #expect(reason.code == .carrierLost)
        #expect(reason.message.contains("acknowledged nothing of what was sent for 30 s"), "\(reason)")
        // The other end hears it.
        try pair.run(for: .seconds(5))
        #expect(pair.server.closeReason?.wireCode == TransportErrorCode.internalError)
    }

    @Test("what is acknowledged slowly, or waits for credit, or was reset, ends nothing")
    func patience() throws {
        var limits = ConnectionLimits()
        limits.unacknowledgedTimeout = .seconds(2)
        var small = ConnectionLimits()
        small.streamWindow = 16_384
        small.connectionWindow = 65_536
        let pair = try Pair(clientLimits: limits, serverLimits: small, growsWindows: false)
        pair.server.consumes = false
        try pair.establish()
        let reset = try #require(try pair.client.core?.openStream(.bidirectional))
        let waiting = try #require(try pair.client.core?.openStream(.bidirectional))
        try StreamTests.send(pattern(100_000), on: waiting, from: pair.client)
        try StreamTests.send(pattern(10_000), on: reset, from: pair.client)
        try pair.run(for: .milliseconds(5))
        pair.client.core?.reset(reset, code: 1)
        try pair.run(for: .seconds(20))
        #expect(pair.client.closeReason == nil)
    }

    @Test("the end of a stream needs no credit of the connection")
    func emptyFinish() throws {
        var small = ConnectionLimits()
        small.connectionWindow = 20_000
        small.streamWindow = 20_000
        let pair = try Pair(serverLimits: small, growsWindows: false)
        pair.server.consumes = false
        try pair.establish()
        let done = try #require(try pair.client.core?.openStream(.bidirectional))
        let waiting = try #require(try pair.client.core?.openStream(.bidirectional))
        _ = try pair.client.core?.write(ByteBuffer(bytes: pattern(100)), to: done, finish: false)
        try pair.run(for: .seconds(1))
        try StreamTests.send(pattern(100_000), on: waiting, from: pair.client)
        try pair.run(for: .seconds(1))
        #expect(pair.server.received[waiting]?.count == 19_900)
        _ = try pair.client.core?.write(ByteBuffer(), to: done, finish: true)
        #expect(try pair.run(for: .seconds(5), until: { pair.server.finished.contains(done) }))
    }

    @Test("an alert of the peer has words, and says what was offered")
    func alerts() throws {
        let protocols = try Pair(clientProtocols: ["ours/1", "ours/2"], serverProtocols: ["theirs/1"])
        try protocols.run(for: .seconds(5), until: { protocols.client.closeReason != nil })
        let refused = try #require(protocols.client.closeReason)
        #expect(refused.code == .handshakeFailed && refused.wireCode == 0x178 && refused.initiator == .peer)
        #expect(refused.message.hasPrefix("TLS alert: "))
        let meaning = #": it speaks none of the application protocols of this end ("ours/1", "ours/2")"#
        #expect(refused.message.hasSuffix(meaning), "\(refused)")
        let stranger = try Pair(trustsServer: false)
        try stranger.run(for: .seconds(5), until: { stranger.server.closeReason != nil })
        let rejected = try #require(stranger.server.closeReason)
        #expect(rejected.code == .certificateRejected, "\(rejected)")
        #expect(
            rejected.message.contains("it does not know the authority that signed this end's certificate"),
            "\(rejected)")
    }
}
