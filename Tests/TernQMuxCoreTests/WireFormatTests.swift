// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernQMuxCore

@Suite("QMux: the bytes on the wire")
struct WireFormatTests {
    static let magic: [UInt8] = [0xff, 0x51, 0x53, 0x30, 0x0d, 0x0a, 0x0d, 0x0a]

    @Test("The smallest first record")
    func smallestFirstRecord() {
        let bytes = record([.transportParameters(QMuxTransportParameters().encoded())])
        #expect(Array(bytes.readableBytesView) == [0x09] + Self.magic + [0x00])
    }

    @Test("The first record of an endpoint carries its limits, before anything else")
    func firstRecord() {
        var limits = ConnectionLimits()
        limits.connectionWindow = 100
        limits.streamWindow = 63
        limits.bidirectionalStreams = 3
        limits.unidirectionalStreams = 0
        limits.datagramFrameSize = 0
        limits.idleTimeout = .seconds(30)
        let lone = LoneCore(limits: limits, peer: nil)
        let parameters: [UInt8] = [
            0x01, 0x04, 0x80, 0x00, 0x75, 0x30,  // max_idle_timeout 30000 ms
            0x04, 0x02, 0x40, 0x64,  // initial_max_data 100
            0x05, 0x01, 0x3f, 0x06, 0x01, 0x3f, 0x07, 0x01, 0x3f,  // initial_max_stream_data_* 63
            0x08, 0x01, 0x03,  // initial_max_streams_bidi 3
            0x1d, 0x00,  // reset_stream_at
        ]
        let frame = Self.magic + [UInt8(parameters.count)] + parameters
        let bytes = lone.core.nextBytes(now: lone.now)
        #expect(bytes.map { Array($0.readableBytesView) } == [UInt8(frame.count)] + frame)
        #expect(lone.core.nextBytes(now: lone.now) == nil)
    }

    static let golden: [(QMuxFrame, [UInt8])] = [
        (.padding(count: 1), [0x00]),
        (.resetStream(StreamID(rawValue: 4), code: 7, finalSize: 100), [0x04, 0x04, 0x07, 0x40, 0x64]),
        (.stopSending(StreamID(rawValue: 4), code: 7), [0x05, 0x04, 0x07]),
        (
            .stream(StreamID(rawValue: 0), offset: 0, ByteBuffer(string: "hi"), finished: false),
            [0x0a, 0, 2, 0x68, 0x69]
        ),
        (.stream(StreamID(rawValue: 0), offset: 2, ByteBuffer(), finished: true), [0x0f, 0, 2, 0]),
        (.maxData(15_293), [0x10, 0x7b, 0xbd]),
        (.maxStreamData(StreamID(rawValue: 1), 37), [0x11, 0x01, 0x25]),
        (.maxStreams(.bidirectional, 494_878_333), [0x12, 0x9d, 0x7f, 0x3e, 0x7d]),
        (.maxStreams(.unidirectional, 1), [0x13, 0x01]),
        (.dataBlocked(1), [0x14, 0x01]),
        (.streamDataBlocked(StreamID(rawValue: 2), 1), [0x15, 0x02, 0x01]),
        (.streamsBlocked(.bidirectional, 1), [0x16, 0x01]),
        (.streamsBlocked(.unidirectional, 1), [0x17, 0x01]),
        (.connectionClose(code: 10, frameType: 6, reason: "no"), [0x1c, 0x0a, 0x06, 0x02, 0x6e, 0x6f]),
        (.applicationClose(code: 42, reason: "ok"), [0x1d, 0x2a, 0x02, 0x6f, 0x6b]),
        (
            .resetStreamAt(StreamID(rawValue: 4), code: 7, finalSize: 9, reliableSize: 8),
            [0x24, 0x04, 0x07, 0x09, 0x08]
        ),
        (.datagram(ByteBuffer(string: "x"), frameSize: 3), [0x31, 0x01, 0x78]),
        (.pingRequest(1), [0xf4, 0x8c, 0x67, 0x52, 0x9e, 0xf8, 0xc7, 0xbd, 0x01]),
        (.pingResponse(1), [0xf4, 0x8c, 0x67, 0x52, 0x9e, 0xf8, 0xc7, 0xbe, 0x01]),
        (.transportParameters(ByteBuffer()), magic + [0x00]),
    ]

    @Test("Every frame has the bytes of RFC 9000, both ways", arguments: golden)
    func frames(frame: QMuxFrame, bytes: [UInt8]) throws {
        var written = ByteBuffer()
        frame.write(to: &written)
        #expect(Array(written.readableBytesView) == bytes)
        #expect(try QMuxFrame.read(from: &written) == frame)
        #expect(written.readableBytes == 0)
    }

    @Test("A frame that is cut anywhere is a FRAME_ENCODING_ERROR", arguments: golden)
    func cutFrames(frame: QMuxFrame, bytes: [UInt8]) {
        for count in 1..<max(bytes.count, 2) where count < bytes.count {
            var cut = ByteBuffer(bytes: bytes.prefix(count))
            #expect(throws: QMuxViolation.self, "\(count) bytes of \(frame)") { try QMuxFrame.read(from: &cut) }
        }
    }

    @Test("STREAM without a length and DATAGRAM 0x30 reach to the end of their record")
    func untilTheEndOfTheRecord() throws {
        var stream = ByteBuffer(bytes: [0x08, 0x00, 1, 2, 3])
        #expect(
            try QMuxFrame.read(from: &stream)
                == .stream(StreamID(rawValue: 0), offset: 0, ByteBuffer(bytes: [1, 2, 3]), finished: false))
        var datagram = ByteBuffer(bytes: [0x30, 1, 2, 3])
        #expect(try QMuxFrame.read(from: &datagram) == .datagram(ByteBuffer(bytes: [1, 2, 3]), frameSize: 4))
    }

    @Test(
        "Both spellings of the magic are understood",
        arguments: [[0x51, 0x53, 0x30], [0x51, 0x4d, 0x58]] as [[UInt8]])
    func bothMagics(middle: [UInt8]) {
        let lone = LoneCore(peer: nil)
        lone.receive([0x09, 0xff] + middle + [0x0d, 0x0a, 0x0d, 0x0a, 0x00])
        #expect(lone.core.isEstablished)
    }

    @Test("Transport parameters survive the wire, and those with their default value stay at home")
    func parametersRoundTrip() throws {
        var parameters = QMuxTransportParameters(ConnectionLimits())
        #expect(try QMuxTransportParameters(decoding: parameters.encoded()) == parameters)
        parameters.maxRecordSize = 100_000
        #expect(try QMuxTransportParameters(decoding: parameters.encoded()) == parameters)
        var encoded = ByteBuffer(bytes: [0xc5, 0x71, 0xc5, 0x94, 0x29, 0xcd, 0x08, 0x45, 0x04, 0x80, 0x01, 0x86, 0xa0])
        #expect(try QMuxTransportParameters(decoding: encoded).maxRecordSize == 100_000)
        encoded.clear()
        #expect(QMuxTransportParameters().encoded().readableBytes == 0)
    }

    @Test("Unknown and reserved transport parameters are ignored")
    func unknownParameters() throws {
        let list = ByteBuffer(bytes: [0x1b, 0x03, 1, 2, 3, 0x04, 0x01, 0x07, 0x40, 0x99, 0x00])
        #expect(try QMuxTransportParameters(decoding: list).initialMaxData == 7)
    }

    @Test("A full record is one full TLS record")
    func fullRecord() throws {
        let lone = LoneCore(role: .client)
        _ = lone.sentFrames()
        let stream = try #require(try lone.core.openStream(.bidirectional))
        _ = try lone.core.write(ByteBuffer(repeating: 1, count: 100_000), to: stream, finish: false)
        let bytes = try #require(lone.core.nextBytes(now: lone.now))
        #expect(bytes.readableBytes == 16_384)
        #expect(Array(bytes.readableBytesView.prefix(2)) == [0x7f, 0xfe])
    }
}
