// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernQMuxCore

@Suite("0-RTT of QMux, without I/O")
struct EarlyDataTests {
    private let granted = QMuxTransportParameters(ConnectionLimits())

    private func client(remembering parameters: QMuxTransportParameters) -> LoneCore {
        let client = LoneCore(role: .client, peer: nil)
        client.core.recall(parameters)
        return client
    }

    @Test func aClientUsesWhatItRemembers() throws {
        let client = self.client(remembering: self.granted)
        #expect(!client.core.isEstablished)
        let stream = try #require(try client.core.openStream(.bidirectional))
        _ = try client.core.write(ByteBuffer(string: "early"), to: stream, finish: true)
        let frames = client.sentFrames()
        guard case .transportParameters = frames.first else {
            Issue.record("QX_TRANSPORT_PARAMETERS must be the first frame, not \(frames)")
            return
        }
        #expect(frames.contains(.stream(stream, offset: 0, ByteBuffer(string: "early"), finished: true)))
        client.core.earlyDataWasAccepted()
        #expect(client.core.isEstablished)
        // The server's own come later, once, and first.
        client.receive([.transportParameters(self.granted.encoded())])
        #expect(client.core.closeReason == nil)
    }

    @Test func aServerThatAcceptsMayGrantMoreButNotLess() throws {
        var small = self.granted
        small.initialMaxStreamDataBidirectionalRemote = 10
        small.initialMaxStreamsBidirectional = 1
        let client = self.client(remembering: small)
        client.core.earlyDataWasAccepted()
        let stream = try #require(try client.core.openStream(.bidirectional))
        #expect(try client.core.openStream(.bidirectional) == nil)
        _ = try client.core.write(ByteBuffer(repeating: 7, count: 30), to: stream, finish: false)
        #expect(client.sentBytes(of: stream) == 10)
        client.receive([.transportParameters(self.granted.encoded())])
        #expect(client.sentBytes(of: stream) == 20)
        #expect(try client.core.openStream(.bidirectional) != nil)

        let other = self.client(remembering: self.granted)
        other.core.earlyDataWasAccepted()
        other.receive([.transportParameters(small.encoded())])
        #expect(other.core.closeReason?.code == .transport)
        #expect(other.core.closeReason?.wireCode == 0xa)
    }

    @Test func acceptedOrNotTheServerBeginsWithItsParameters() {
        let client = self.client(remembering: self.granted)
        client.core.earlyDataWasAccepted()
        client.receive([.maxData(1 << 20)])
        #expect(client.core.closeReason?.wireCode == 0xa)
    }

    @Test func aServerKnowsWhichStreamsMayBeCopies() {
        let server = LoneCore(peer: nil)
        let (early, cut, late) = (StreamID(rawValue: 0), StreamID(rawValue: 4), StreamID(rawValue: 8))
        var first = record([.transportParameters(self.granted.encoded())])
        first.writeImmutableBuffer(record([.stream(early, offset: 0, ByteBuffer(string: "a"), finished: false)]))
        // A record that is cut by the end of the early data counts as early.
        var second = record([.stream(cut, offset: 0, ByteBuffer(string: "b"), finished: false)])
        let head = second.readSlice(length: 3)
        first.writeImmutableBuffer(head ?? ByteBuffer())
        server.core.receive(first, isEarly: true, now: server.now)
        #expect(server.core.isEstablished)
        server.core.receive(second, now: server.now)
        server.receive([.stream(late, offset: 0, ByteBuffer(string: "c"), finished: false)])
        #expect(server.core.closeReason == nil)
        #expect([early, cut, late].map(server.core.isReplayable) == [true, true, false])
        // What came later on an early stream does not make it less of a copy.
        server.receive([.stream(early, offset: 1, ByteBuffer(string: "d"), finished: true)])
        #expect(server.core.isReplayable(early))
    }

    @Test func oneTimeoutCoversTheWholeHandshake() {
        var limits = ConnectionLimits()
        limits.handshakeTimeout = .seconds(10)
        let start = NIODeadline.uptimeNanoseconds(5_000_000_000)
        let now = start + .seconds(9)
        let core = QMuxConnectionCore(role: .server, limits: limits, now: now, handshakeStart: start)
        #expect(core.nextDeadline == start + .seconds(10))
        core.deadlineReached(now: start + .seconds(10))
        #expect(core.closeReason?.code == .timedOut)
    }
}

extension LoneCore {
    /// How many bytes of a stream it wants to send now.
    fileprivate func sentBytes(of stream: StreamID) -> Int {
        self.sentFrames().reduce(0) { sum, frame in
            guard case .stream(stream, _, let bytes, _) = frame else { return sum }
            return sum + bytes.readableBytes
        }
    }
}
