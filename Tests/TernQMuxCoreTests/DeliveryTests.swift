// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernQMuxCore

/// What counts as delivered when the end of the connection comes before the peer's answer.
@Suite("QMux: delivery at the end")
struct DeliveryTests {
    /// The client has written `request`, and perhaps its end; then the server's close comes.
    private func answers(
        finishes: Bool, code: UInt64, arrival: QMuxArrival, written: Bool = true
    ) throws -> (ofStream: TransportError?, ofAll: TransportError?, frames: (all: UInt64, withBytes: UInt64)) {
        var pair = CorePair()
        pair.pump()
        let client = pair.client
        let stream = try #require(try client.openStream(.bidirectional))
        _ = try client.write(ByteBuffer(string: "request"), to: stream, finish: false)
        if written { while client.nextBytes(now: pair.now) != nil {} }
        if finishes { _ = try client.write(ByteBuffer(), to: stream, finish: true) }
        client.watchDelivery(of: stream, tag: 1)
        client.watchDelivery(of: nil, tag: 2)
        if written { while client.nextBytes(now: pair.now) != nil {} }
        pair.server.close(code: code, reason: "", now: pair.now)
        while let bytes = pair.server.nextBytes(now: pair.now) { client.receive(bytes, now: pair.now) }
        client.settleDeliveriesAtEnd(arrival)
        let answers = client.takeDeliveryAnswers()
        let ofStream = try #require(answers.first { $0.tag == 1 })
        let ofAll = try #require(answers.first { $0.tag == 2 })
        return (ofStream.error, ofAll.error, client.streamFramesWritten)
    }

    @Test("Everything was acknowledged", arguments: [0, 7] as [UInt64])
    func everything(code: UInt64) throws {
        let (ofStream, ofAll, frames) = try self.answers(finishes: true, code: code, arrival: .everything)
        #expect(ofStream == nil && ofAll == nil)
        #expect(frames == (2, 1))
    }

    @Test("All bytes were acknowledged, and the end was not", arguments: [0, 7] as [UInt64])
    func bytes(code: UInt64) throws {
        let (ofStream, ofAll, _) = try self.answers(finishes: true, code: code, arrival: .bytes)
        #expect(ofStream?.code == .application)
        // The peer wants nothing more only when it closes in order.
        #expect((ofAll == nil) == (code == 0))
    }

    @Test("Nothing is known, or not everything was written", arguments: [true, false])
    func unknown(written: Bool) throws {
        let arrival = written ? QMuxArrival.unknown : .everything
        let (ofStream, ofAll, _) = try self.answers(finishes: false, code: 0, arrival: arrival, written: written)
        #expect(ofStream?.code == .application && ofAll?.code == .application)
    }
}
