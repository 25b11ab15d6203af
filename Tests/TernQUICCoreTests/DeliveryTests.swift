// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernQUICCore

/// What counts as delivered where the end of the connection, or of a path, comes between.
@Suite("Delivery")
struct DeliveryTests {
    private func established() throws -> (Pair, StreamID) {
        let pair = try Pair()
        try pair.establish()
        try pair.run(for: .seconds(1))
        let stream = try #require(try pair.client.core?.openStream(.bidirectional))
        return (pair, stream)
    }

    /// - Returns: what the watches 1, of the stream, and 2, of all, heard.
    private func answers(_ pair: Pair) throws -> (ofStream: TransportError?, ofAll: TransportError?) {
        let answers = try #require(pair.client.core?.takeDeliveryAnswers())
        let ofStream = try #require(answers.first { $0.tag == 1 })
        let ofAll = try #require(answers.first { $0.tag == 2 })
        return (ofStream.error, ofAll.error)
    }

    /// A CONNECTION_CLOSE acknowledges nothing (ngtcp2 puts no ACK frame beside it).
    @Test(
        "The peer closes when all bytes were acknowledged, and the end was not", arguments: [0, 1] as [UInt64],
        [false, true])
    func lateEnd(code: UInt64, asksLate: Bool) throws {
        let (pair, stream) = try self.established()
        _ = try pair.client.core?.write(ByteBuffer(bytes: pattern(3000)), to: stream, finish: false)
        try pair.run(for: .seconds(1))
        _ = try pair.client.core?.write(ByteBuffer(), to: stream, finish: true)
        func watch() {
            pair.client.core?.watchDelivery(of: stream, tag: 1)
            pair.client.core?.watchDelivery(of: nil, tag: 2)
        }
        if !asksLate { watch() }
        pair.server.core?.close(code: code, reason: "")
        try pair.run(for: .milliseconds(20), until: { pair.client.closeReason != nil })
        if asksLate { watch() }
        let (ofStream, ofAll) = try self.answers(pair)
        // Who asked for the end of the stream does not hear that it came.
        #expect(ofStream?.code == .application && ofStream?.wireCode == code)
        if code == 0 { #expect(ofAll == nil) } else { #expect(ofAll?.wireCode == code) }
    }

    @Test("The peer closes when bytes were not acknowledged, or never sent", arguments: [10, 3_000_000])
    func lateBytes(count: Int) throws {
        let (pair, stream) = try self.established()
        _ = try pair.client.core?.write(ByteBuffer(bytes: pattern(count)), to: stream, finish: true)
        pair.client.core?.watchDelivery(of: stream, tag: 1)
        pair.client.core?.watchDelivery(of: nil, tag: 2)
        pair.server.core?.close(code: 0, reason: "")
        try pair.run(for: .milliseconds(20), until: { pair.client.closeReason != nil })
        let (ofStream, ofAll) = try self.answers(pair)
        #expect(ofStream?.code == .application && ofAll?.code == .application)
    }

    /// ngtcp2 counts what is in flight anew on a new path: "nothing" says nothing of an end that left on the old one.
    @Test(
        "The end of a stream is lost when the path changes", arguments: [false, true],
        [0, 900, 1500, 3100])
    func endBeforeMove(rebinds: Bool, bytesBehind: Int) throws {
        let (pair, stream) = try self.established()
        let sender = rebinds ? pair.server : pair.client
        if rebinds {
            _ = try pair.client.core?.write(ByteBuffer(bytes: pattern(10)), to: stream, finish: false)
            try pair.run(for: .seconds(1))
        }
        let core = try #require(sender.core)
        _ = try core.write(ByteBuffer(bytes: pattern(3000)), to: stream, finish: false)
        try pair.run(for: .seconds(1))
        _ = try core.write(ByteBuffer(), to: stream, finish: true)
        core.watchDelivery(of: stream, tag: 1)
        var losesAll = true
        pair.network = { losesAll && $0.toServer != rebinds ? nil : $0 }
        try pair.run(for: .microseconds(10))
        losesAll = false
        if rebinds {
            pair.serverPath = QUICPath(
                local: pair.serverPath.local, remote: try SocketAddress(ipAddress: "192.0.2.1", port: 40_001))
            let other = try #require(try pair.client.core?.openStream(.unidirectional))
            _ = try pair.client.core?.write(ByteBuffer(bytes: pattern(10)), to: other, finish: true)
        } else {
            try core.migrate(to: try SocketAddress(ipAddress: "192.0.2.99", port: 40_000), now: pair.now)
        }
        // What follows on the new path is acknowledged at once, or later.
        let more = try #require(try core.openStream(.bidirectional))
        _ = try core.write(ByteBuffer(bytes: pattern(bytesBehind)), to: more, finish: false)
        let receiver = rebinds ? pair.client : pair.server
        var answer: DeliveryWatches.Answer?
        let isAnswered = try pair.run(for: .seconds(20)) {
            if answer == nil {
                answer = core.takeDeliveryAnswers().first
                if answer != nil { #expect(receiver.finished.contains(stream), "it is said to have arrived") }
            }
            return answer != nil
        }
        #expect(isAnswered && answer?.error == nil)
    }
}
