// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernQMuxCore

@Suite("QMux: time and the end")
struct EndTests {
    static func limits(idle: TimeAmount?, keepAlive: TimeAmount? = nil) -> ConnectionLimits {
        var limits = ConnectionLimits()
        limits.idleTimeout = idle
        limits.keepAliveInterval = keepAlive
        return limits
    }

    @Test("A close tells its code and reason once, then ends the byte stream, then waits for the peer's end")
    func closePhases() throws {
        var pair = CorePair()
        pair.pump()
        pair.client.close(code: 42, reason: "done", now: pair.now)
        pair.client.close(code: 43, reason: "again", now: pair.now)
        #expect(pair.client.nextEvent() == .connectionClosed(TransportError(.application, message: "", wireCode: 42)))
        #expect(pair.client.nextEvent() == nil)
        let bytes = try #require(pair.client.nextBytes(now: pair.now))
        #expect(decode(bytes) == [.applicationClose(code: 42, reason: "done")])
        #expect(pair.client.nextBytes(now: pair.now) == nil)
        #expect(pair.client.carrierDemand == .finishSending)
        pair.server.receive(bytes, now: pair.now)
        let closed = try #require(pair.server.nextEvent())
        #expect(closed == .connectionClosed(TransportError(.application, message: "", wireCode: 42, initiator: .peer)))
        #expect(pair.server.closeReason?.message == "done")
        #expect(pair.server.nextBytes(now: pair.now) == nil)
        #expect(pair.server.carrierDemand == .finishSending)
        pair.client.peerFinished(now: pair.now)
        #expect(pair.client.carrierDemand == .close)
        #expect(pair.client.nextDeadline == nil)
        pair.server.peerFinished(now: pair.now)
        #expect(pair.server.carrierDemand == .close)
    }

    @Test("After the end every call throws the reason or does nothing")
    func afterTheEnd() throws {
        var pair = CorePair()
        pair.pump()
        let stream = try #require(try pair.client.openStream(.bidirectional))
        pair.client.close(code: 1, reason: "", now: pair.now)
        let reason = TransportError(.application, message: "", wireCode: 1)
        #expect(throws: reason) { try pair.client.openStream(.bidirectional) }
        #expect(throws: reason) { try pair.client.write(ByteBuffer(), to: stream, finish: true) }
        #expect(throws: reason) { try pair.client.sendDatagram(ByteBuffer()) }
        pair.client.reset(stream, code: 1)
        pair.client.stopSending(stream, code: 1)
        pair.client.consumed(1, of: stream)
        #expect(pair.client.nextBytes(now: pair.now).map { decode($0) } == [.applicationClose(code: 1, reason: "")])
        #expect(pair.client.nextBytes(now: pair.now) == nil)
    }

    @Test("A close before anything was said still begins with the transport parameters")
    func closeAtOnce() throws {
        let lone = LoneCore(peer: nil)
        lone.core.close(code: 5, reason: "busy", now: lone.now)
        let frames = lone.sentFrames()
        #expect(frames.map { $0.type } == [QMuxFrameType.transportParameters, QMuxFrameType.applicationClose])
    }

    @Test("A long reason is cut between characters, and a huge code to what fits")
    func longReason() throws {
        let lone = LoneCore()
        _ = lone.sentFrames()
        lone.core.close(code: .max, reason: String(repeating: "ä", count: 200) + "ö", now: lone.now)
        let expected = QMuxFrame.applicationClose(
            code: 1 << 62 - 1, reason: String(repeating: "ä", count: 128))
        #expect(lone.sentFrames() == [expected])
    }

    @Test("A peer that never ends its side is left at the drain deadline")
    func drainDeadline() throws {
        var lone = LoneCore()
        _ = lone.sentFrames()
        lone.core.close(code: 0, reason: "", now: lone.now)
        _ = lone.sentFrames()
        let deadline = try #require(lone.core.nextDeadline)
        #expect(deadline == lone.now + .seconds(3))
        lone.core.deadlineReached(now: lone.now + .milliseconds(2999))
        #expect(lone.core.carrierDemand == .finishSending)
        lone.now = deadline
        lone.core.deadlineReached(now: lone.now)
        #expect(lone.core.carrierDemand == .close)
    }

    @Test("An end of file without a close, and a broken carrier, are carrierLost")
    func carrierLost() throws {
        let ended = LoneCore()
        ended.core.peerFinished(now: ended.now)
        #expect(ended.events() == [.connectionClosed(TransportError(.carrierLost, message: "", initiator: .peer))])
        #expect(ended.core.carrierDemand == .close)
        let broken = LoneCore()
        let reason = TransportError(.carrierLost, message: "reset")
        broken.core.carrierLost(reason, now: broken.now)
        broken.core.carrierLost(reason, now: broken.now)
        broken.core.peerFinished(now: broken.now)
        #expect(broken.events() == [.connectionClosed(reason)])
        #expect(broken.core.carrierDemand == .close)
        #expect(broken.core.nextBytes(now: broken.now) == nil)
    }

    @Test("The peer's CONNECTION_CLOSE 0x1c is a transport error with its code and frame type")
    func peerFails() throws {
        let lone = LoneCore()
        lone.receive([.connectionClose(code: 0xa, frameType: 0x8, reason: "gap"), .maxData(7)])
        #expect(lone.core.closeReason == TransportError(.transport, message: "", wireCode: 0xa, initiator: .peer))
        #expect(lone.core.closeReason?.frameType == 8)
    }

    @Test("The smaller idle timeout counts; at its end no frame is sent, the sending side is shut down")
    func idleTimeout() throws {
        var peer = QMuxTransportParameters(ConnectionLimits())
        peer.maxIdleTimeout = 5_000
        var lone = LoneCore(limits: Self.limits(idle: .seconds(20)), peer: peer)
        let start = lone.now
        #expect(lone.core.nextDeadline == start + .seconds(5))
        lone.now = start + .milliseconds(4_999)
        lone.core.deadlineReached(now: lone.now)
        #expect(lone.core.closeReason == nil)
        // A complete record counts, a piece of one does not.
        lone.receive([.dataBlocked(1)])
        #expect(lone.core.nextDeadline == lone.now + .seconds(5))
        lone.receive([0x40] as [UInt8])
        _ = lone.sentFrames()
        lone.now = lone.now + .seconds(5)
        lone.core.deadlineReached(now: lone.now)
        #expect(lone.events() == [.connectionClosed(TransportError(.idleTimeout, message: ""))])
        #expect(lone.core.nextBytes(now: lone.now) == nil)
        #expect(lone.core.carrierDemand == .finishSending)
    }

    @Test("Records that are sent restart the idle timer, but a ping alone does not")
    func idleTimeoutWhenSending() throws {
        var lone = LoneCore(role: .client, limits: Self.limits(idle: .seconds(6), keepAlive: .seconds(2)))
        _ = lone.sentFrames()
        let start = lone.now
        lone.now = start + .seconds(2)
        lone.core.deadlineReached(now: lone.now)
        #expect(lone.sentFrames() == [.pingRequest(2)])
        lone.now = start + .seconds(4)
        lone.core.deadlineReached(now: lone.now)
        #expect(lone.sentFrames() == [.pingRequest(3)])
        #expect(lone.core.nextDeadline == start + .seconds(6))
        let stream = try #require(try lone.core.openStream(.unidirectional))
        _ = try lone.core.write(ByteBuffer(string: "x"), to: stream, finish: false)
        #expect(lone.sentFrames().count == 1)
        lone.now = start + .seconds(6)
        lone.core.deadlineReached(now: lone.now)
        #expect(lone.core.closeReason == nil)
        lone.now = start + .seconds(10)
        lone.core.deadlineReached(now: lone.now)
        #expect(lone.core.closeReason == TransportError(.idleTimeout, message: ""))
    }

    @Test("Two idle ends keep each other alive")
    func keepAlive() throws {
        var pair = CorePair(
            client: Self.limits(idle: .seconds(3), keepAlive: .seconds(1)),
            server: Self.limits(idle: .seconds(3), keepAlive: nil))
        pair.pump()
        for _ in 0..<100 {
            let deadline = [pair.client.nextDeadline, pair.server.nextDeadline].compactMap { $0 }.min()
            pair.now = try #require(deadline)
            pair.client.deadlineReached(now: pair.now)
            pair.server.deadlineReached(now: pair.now)
            pair.pump()
        }
        #expect(pair.client.closeReason == nil && pair.server.closeReason == nil)
    }

    @Test(
        "An idle timeout of one end that is below the keep-alive of the other costs no connection",
        arguments: [10, nil] as [Int64?])
    func keepAliveFollowsTheIdleTimeout(ofServer interval: Int64?) throws {
        var pair = CorePair(
            client: Self.limits(idle: .seconds(30), keepAlive: .seconds(10)),
            server: Self.limits(idle: .seconds(2), keepAlive: interval.map { .seconds($0) }))
        pair.pump()
        let start = pair.now
        for _ in 0..<100 {
            let deadline = [pair.client.nextDeadline, pair.server.nextDeadline].compactMap { $0 }.min()
            pair.now = try #require(deadline)
            pair.client.deadlineReached(now: pair.now)
            pair.server.deadlineReached(now: pair.now)
            pair.pump()
        }
        #expect(pair.client.closeReason == nil && pair.server.closeReason == nil)
        #expect(pair.now - start > .seconds(10))
    }

    @Test("A peer that declares next to no idle timeout is not asked without a pause")
    func shortestKeepAlive() {
        var limits = ConnectionLimits()
        #expect(limits.keepAliveInterval(within: .seconds(30)) == .seconds(10))
        #expect(limits.keepAliveInterval(within: .seconds(3)) == .seconds(1))
        #expect(limits.keepAliveInterval(within: .milliseconds(1)) == .milliseconds(50))
        #expect(limits.keepAliveInterval(within: nil) == .seconds(10))
        limits.keepAliveInterval = nil
        #expect(limits.keepAliveInterval(within: .seconds(3)) == nil)
    }

    @Test("Neither end having an idle timeout, there is none")
    func noIdleTimeout() {
        var peer = QMuxTransportParameters(ConnectionLimits())
        peer.maxIdleTimeout = 0
        let lone = LoneCore(limits: Self.limits(idle: nil), peer: peer)
        #expect(lone.core.nextDeadline == nil)
        peer.maxIdleTimeout = 1 << 62 - 1
        #expect(LoneCore(limits: Self.limits(idle: nil), peer: peer).core.nextDeadline == nil)
    }

    @Test("Several pings are answered once, with the largest number")
    func pings() throws {
        let lone = LoneCore(limits: Self.limits(idle: nil))
        _ = lone.sentFrames()
        lone.receive([.pingRequest(0), .pingRequest(5), .pingRequest(9)])
        #expect(lone.sentFrames() == [.pingResponse(9)])
        #expect(lone.sentFrames() == [])
    }

    @Test("Transport parameters that never come are a timeout")
    func handshakeTimeout() throws {
        var lone = LoneCore(peer: nil)
        #expect(lone.sentFrames().count == 1)
        #expect(lone.core.nextDeadline == lone.now + .seconds(10))
        lone.now = lone.now + .seconds(10)
        lone.core.deadlineReached(now: lone.now)
        #expect(lone.core.closeReason == TransportError(.timedOut, message: ""))
        #expect(lone.core.carrierDemand == .finishSending)
    }

    @Test("Nothing but the transport parameters is sent before the peer's came")
    func nothingBeforeParameters() throws {
        let lone = LoneCore(role: .client, peer: nil)
        #expect(try lone.core.openStream(.bidirectional) == nil)
        #expect(lone.sentFrames().map { $0.type } == [QMuxFrameType.transportParameters])
        #expect(lone.core.nextBytes(now: lone.now) == nil)
        #expect(lone.core.maximumDatagramSize == 0)
    }
}
