// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernQMuxCore

/// Every MUST that closes the connection, one row each.
@Suite("QMux: what ends the connection")
struct ViolationTests {
    struct Offence: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let code: UInt64
        var frames: [UInt8]

        init(_ description: String, _ code: UInt64, _ frames: [UInt8]) {
            self.testDescription = description
            self.code = code
            self.frames = frames
        }
    }

    static let magic = WireFormatTests.magic

    static func limits() -> ConnectionLimits {
        var limits = ConnectionLimits()
        limits.connectionWindow = 60
        limits.streamWindow = 40
        limits.bidirectionalStreams = 4
        limits.unidirectionalStreams = 4
        limits.datagramFrameSize = 10
        return limits
    }

    /// To a server that has received transport parameters and opened no stream of its own.
    static let offences: [Offence] = [
        // Frames that QMux prohibits.
        Offence("PING", 0x7, [0x01]),
        Offence("ACK", 0x7, [0x02, 0x00, 0x00, 0x00, 0x00]),
        Offence("ACK with ECN", 0x7, [0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00]),
        Offence("CRYPTO", 0x7, [0x06, 0x00, 0x00]),
        Offence("NEW_TOKEN", 0x7, [0x07, 0x01, 0x00]),
        Offence("NEW_CONNECTION_ID", 0x7, [0x18, 0x01, 0x00, 0x01, 0x00] + Array(repeating: 0, count: 16)),
        Offence("RETIRE_CONNECTION_ID", 0x7, [0x19, 0x00]),
        Offence("PATH_CHALLENGE", 0x7, [0x1a, 1, 2, 3, 4, 5, 6, 7, 8]),
        Offence("PATH_RESPONSE", 0x7, [0x1b, 1, 2, 3, 4, 5, 6, 7, 8]),
        Offence("HANDSHAKE_DONE", 0x7, [0x1e]),
        Offence("an unknown frame", 0x7, [0x21]),
        // Encoding.
        Offence("a frame that its record cuts", 0x7, [0x10]),
        Offence("a frame type in two bytes that fits one", 0xa, [0x40, 0x10, 0x01]),
        Offence("a stream longer than 2^62-1", 0x7, [0x0c, 0x00] + Array(repeating: 0xff, count: 8) + [1]),
        Offence("MAX_STREAMS above 2^60", 0x7, [0x12, 0xd0, 0, 0, 0, 0, 0, 0, 1]),
        Offence("STREAMS_BLOCKED above 2^60", 0x7, [0x17, 0xd0, 0, 0, 0, 0, 0, 0, 1]),
        Offence("a reliable size above the final size", 0x7, [0x24, 0x00, 0x00, 0x01, 0x02]),
        Offence("a reason longer than its record", 0x7, [0x1d, 0x00, 0x05, 0x61]),
        // Order.
        Offence("transport parameters twice", 0xa, magic + [0x00]),
        Offence("a gap in a stream", 0xa, [0x0e, 0x00, 0x01, 0x01, 0x61]),
        Offence("an overlap in a stream", 0xa, [0x0a, 0x00, 0x02, 0x61, 0x62, 0x0e, 0x00, 0x01, 0x01, 0x62]),
        Offence("a stream that starts again", 0xa, [0x0a, 0x00, 0x01, 0x61, 0x0a, 0x00, 0x01, 0x61]),
        // Stream states.
        Offence("STREAM on a stream of ours that is not open", 0x5, [0x0a, 0x01, 0x01, 0x61]),
        Offence("STREAM on a stream that only we send on", 0x5, [0x0a, 0x03, 0x01, 0x61]),
        Offence("RESET_STREAM on a stream that only we send on", 0x5, [0x04, 0x03, 0x00, 0x00]),
        Offence("RESET_STREAM on a stream of ours that is not open", 0x5, [0x04, 0x01, 0x00, 0x00]),
        Offence("STOP_SENDING on a stream that only the peer sends on", 0x5, [0x05, 0x02, 0x00]),
        Offence("STOP_SENDING on a stream of ours that is not open", 0x5, [0x05, 0x01, 0x00]),
        Offence("MAX_STREAM_DATA on a stream that only the peer sends on", 0x5, [0x11, 0x02, 0x09]),
        Offence("MAX_STREAM_DATA on a stream of ours that is not open", 0x5, [0x11, 0x01, 0x09]),
        Offence("STREAM_DATA_BLOCKED on a stream that only we send on", 0x5, [0x15, 0x03, 0x09]),
        Offence("STREAM_DATA_BLOCKED on a stream of ours that is not open", 0x5, [0x15, 0x01, 0x09]),
        // Limits.
        Offence("one stream too many", 0x4, [0x0a, 0x10, 0x00]),
        Offence("one unidirectional stream too many", 0x4, [0x0a, 0x12, 0x00]),
        Offence("a reset of a stream too many", 0x4, [0x04, 0x10, 0x00, 0x00]),
        Offence("a stop of a stream too many", 0x4, [0x05, 0x10, 0x00]),
        Offence("STREAM_DATA_BLOCKED of a stream too many", 0x4, [0x15, 0x10, 0x00]),
        Offence("more than the stream's credit", 0x3, [0x0a, 0x00, 41] + Array(repeating: 0, count: 41)),
        Offence(
            "more than the connection's credit", 0x3,
            [0x0a, 0x00, 40] + Array(repeating: 0, count: 40) + [0x0a, 0x04, 21] + Array(repeating: 0, count: 21)),
        Offence("a reset beyond the stream's credit", 0x3, [0x04, 0x00, 0x00, 41]),
        Offence(
            "resets beyond the connection's credit", 0x3,
            [0x0a, 0x04, 30] + Array(repeating: 0, count: 30)
                + [0x04, 0x00, 0x00, 31]),
        Offence(
            "resets at a promise beyond the connection's credit", 0x3,
            [0x24, 0x00, 0x00, 31, 31, 0x24, 0x04, 0x00, 30, 30]),
        Offence(
            "data in place of what a reset at a promise reserved", 0x3,
            [0x24, 0x00, 0x00, 30, 30, 0x24, 0x04, 0x00, 30, 30, 0x0a, 0x08, 0x01, 0x61]),
        // Final size.
        Offence("data after the end", 0x6, [0x0b, 0x00, 0x01, 0x61, 0x0e, 0x00, 0x01, 0x01, 0x62]),
        Offence("another end", 0x6, [0x0b, 0x00, 0x02, 0x61, 0x62, 0x0f, 0x00, 0x01, 0x00]),
        Offence("a reset below what came", 0x6, [0x0a, 0x00, 0x02, 0x61, 0x62, 0x04, 0x00, 0x00, 0x01]),
        Offence("a reset at another size than the end", 0x6, [0x0b, 0x00, 0x02, 0x61, 0x62, 0x04, 0x00, 0x00, 0x03]),
        Offence("two resets at different sizes", 0x6, [0x24, 0, 0, 9, 9, 0x04, 0, 0, 8]),
        // Datagrams and pings.
        Offence("a datagram larger than allowed", 0xa, [0x31, 0x09] + Array(repeating: 0, count: 9)),
        Offence(
            "a ping number that does not rise", 0xa,
            [
                0xf4, 0x8c, 0x67, 0x52, 0x9e, 0xf8, 0xc7, 0xbd, 0x05, 0xf4, 0x8c, 0x67, 0x52, 0x9e, 0xf8, 0xc7, 0xbd,
                0x05,
            ]
        ),
        Offence("an answer to no ping", 0xa, [0xf4, 0x8c, 0x67, 0x52, 0x9e, 0xf8, 0xc7, 0xbe, 0x09]),
    ]

    @Test("Each offence is answered with its own code, once, and nothing after it counts", arguments: offences)
    func offence(_ offence: Offence) throws {
        let lone = LoneCore(limits: Self.limits())
        _ = lone.sentFrames()
        lone.receiveRecord(offence.frames)
        try self.expectClose(lone, code: offence.code)
    }

    @Test("Empty and oversized records end the connection")
    func badRecords() throws {
        let empty = LoneCore()
        empty.receive([0x00])
        try self.expectClose(empty, code: 0xa)
        let oversized = LoneCore()
        oversized.receive([0x7f, 0xff])
        try self.expectClose(oversized, code: 0x7)
        let gigantic = LoneCore(peer: nil)
        gigantic.receive(Array(repeating: 0xff, count: 8))
        try self.expectClose(gigantic, code: 0x7)
        let largest = LoneCore()
        largest.receive([0x7f, 0xfe] + Array(repeating: 0x00, count: 16_382))
        #expect(largest.core.closeReason == nil)
    }

    @Test(
        "Whoever speaks another protocol is told at its first byte that differs",
        arguments: [
            Array("GET / HTTP/1.1\r\n".utf8), [0x16, 0x03, 0x01, 0x02, 0x00], [0x05, 0x10],
            [0x40, 0x09, 0xff, 0x51, 0x51],
            [0x01, 0xff], [0x09, 0xff, 0x51, 0x4d, 0x30],
        ] as [[UInt8]])
    func otherProtocols(bytes: [UInt8]) throws {
        let lone = LoneCore(peer: nil)
        lone.receive(bytes)
        try self.expectClose(lone, code: 0xa)
    }

    static let badParameters: [Offence] =
        [0x00, 0x02, 0x03, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10].map { identifier in
            Offence("parameter \(identifier)", 0x8, [UInt8(identifier), 0x01, 0x01])
        } + [
            Offence("a parameter twice", 0x8, [0x04, 0x01, 0x07, 0x04, 0x01, 0x07]),
            Offence("an unknown parameter twice", 0x8, [0x3f, 0x00, 0x3f, 0x00]),
            Offence("a parameter that the list cuts", 0x8, [0x04, 0x02, 0x07]),
            Offence("an integer shorter than its length", 0x8, [0x04, 0x02, 0x07, 0x07]),
            Offence("an integer longer than its length", 0x8, [0x04, 0x01, 0x40, 0x05, 0x01, 0x07]),
            Offence("an empty integer", 0x8, [0x04, 0x00]),
            Offence("a stream count above 2^60", 0x8, [0x08, 0x08, 0xd0, 0, 0, 0, 0, 0, 0, 1]),
            Offence("reset_stream_at with a value", 0x8, [0x1d, 0x01, 0x00]),
            Offence(
                "max_record_size below 16382", 0x8,
                [0xc5, 0x71, 0xc5, 0x94, 0x29, 0xcd, 0x08, 0x45, 0x02, 0x7f, 0xfd]),
        ]

    @Test("Bad transport parameters are a TRANSPORT_PARAMETER_ERROR", arguments: badParameters)
    func parameters(_ offence: Offence) throws {
        let lone = LoneCore(peer: nil)
        lone.receiveRecord(Self.magic + [UInt8(offence.frames.count)] + offence.frames)
        try self.expectClose(lone, code: 0x8)
    }

    @Test("DATAGRAM without permission is a PROTOCOL_VIOLATION")
    func datagramRefused() throws {
        var limits = ConnectionLimits()
        limits.datagramFrameSize = 0
        let lone = LoneCore(limits: limits)
        lone.receiveRecord([0x30])
        try self.expectClose(lone, code: 0xa)
    }

    @Test("Data on a stream that is closed and forgotten is a STREAM_STATE_ERROR; what is merely late is not")
    func afterTheEnd() throws {
        let lone = LoneCore()
        lone.receiveRecord([0x0b, 0x02, 0x00])
        #expect(
            lone.events() == [
                .streamOpened(StreamID(rawValue: 2)),
                .streamReceived(StreamID(rawValue: 2), ByteBuffer(), finished: true),
                .streamClosed(StreamID(rawValue: 2)),
            ])
        lone.receiveRecord([0x04, 0x02, 0x00, 0x00])
        lone.receiveRecord([0x0b, 0x02, 0x00])
        lone.receiveRecord([0x15, 0x02, 0x00])
        #expect(lone.core.closeReason == nil)
        #expect(lone.events().isEmpty)
        lone.receiveRecord([0x0a, 0x02, 0x01, 0x61])
        try self.expectClose(lone, code: 0x5)
    }

    @Test("A flood of frames that bring nothing ends; the same number over time does not")
    func floods() throws {
        var configuration = QMuxConfiguration()
        configuration.idleFrameBurst = 100
        configuration.idleFramesPerSecond = 50
        let flooded = LoneCore(configuration: configuration)
        for _ in 0..<101 { flooded.receive([.dataBlocked(1)]) }
        try self.expectClose(flooded, code: 0xa)
        var patient = LoneCore(configuration: configuration)
        for _ in 0..<500 {
            patient.now = patient.now + .milliseconds(100)
            for _ in 0..<4 { patient.receive([.dataBlocked(1)]) }
        }
        #expect(patient.core.closeReason == nil)
    }

    @Test("Streams that end are no flood, however many; what says it again is")
    func droppedStreams() throws {
        var configuration = QMuxConfiguration()
        configuration.idleFrameBurst = 100
        let lone = LoneCore(configuration: configuration)
        for index in 0..<12_000 {
            let stream = StreamID(index: UInt64(index), initiator: .client, direction: .bidirectional)
            lone.receive([.resetStream(stream, code: 0, finalSize: 0), .stopSending(stream, code: 0)])
            _ = lone.events()
            #expect(lone.sentFrames().contains { if case .maxStreams = $0 { true } else { false } })
        }
        #expect(lone.core.closeReason == nil)
        let stream = StreamID(rawValue: 0)
        for _ in 0..<101 { lone.receive([.resetStream(stream, code: 0, finalSize: 0)]) }
        try self.expectClose(lone, code: 0xa)
    }

    @Test("What says an end again, or promises less and less, is a flood")
    func floodsOfEnds() throws {
        var configuration = QMuxConfiguration()
        configuration.idleFrameBurst = 100
        let stream = StreamID(rawValue: 0)
        let ended = LoneCore(configuration: configuration)
        for _ in 0..<102 { ended.receive([.stream(stream, offset: 0, ByteBuffer(), finished: true)]) }
        try self.expectClose(ended, code: 0xa)
        let promising = LoneCore(configuration: configuration)
        for number in 0..<102 as Range<UInt64> {
            promising.receive([.resetStreamAt(stream, code: 0, finalSize: 1000, reliableSize: 1000 - number)])
        }
        try self.expectClose(promising, code: 0xa)
        let late = LoneCore(configuration: configuration)
        late.receive([.resetStream(stream, code: 0, finalSize: 1000)])
        for _ in 0..<101 { late.receive([.stream(stream, offset: 0, ByteBuffer(string: "x"), finished: false)]) }
        try self.expectClose(late, code: 0xa)
    }

    @Test("Who reads nothing of our answers gets no more streams to be answered on")
    func streamsAreGrantedWhenTheyAreTold() throws {
        let lone = LoneCore()
        _ = lone.sentFrames()
        for index in 0..<256 {
            let stream = StreamID(index: UInt64(index), initiator: .client, direction: .bidirectional)
            lone.receive([.resetStream(stream, code: 0, finalSize: 0), .stopSending(stream, code: 0)])
            _ = lone.events()
        }
        #expect(lone.core.closeReason == nil)
        lone.receive([.stream(StreamID(rawValue: 4 * 256), offset: 0, ByteBuffer(string: "x"), finished: true)])
        try self.expectClose(lone, code: 0x4)
    }

    private func expectClose(_ lone: LoneCore, code: UInt64) throws {
        let expected = TransportError(.transport, message: "", wireCode: code)
        #expect(lone.core.closeReason == expected, "\(String(describing: lone.core.closeReason))")
        // What comes later is discarded.
        lone.receive([.maxData(1)])
        lone.receive([0x00])
        #expect(lone.events().last == .connectionClosed(expected))
        #expect(lone.core.carrierDemand == .keepOpen)
        let frames = lone.sentFrames()
        guard case .connectionClose(code, _, let reason)? = frames.last else {
            Issue.record("no CONNECTION_CLOSE with code \(code): \(frames)")
            return
        }
        #expect(!reason.isEmpty)
        #expect(frames.filter { $0.type == QMuxFrameType.connectionClose }.count == 1)
        #expect(lone.core.carrierDemand == .finishSending)
        lone.core.peerFinished(now: lone.now)
        #expect(lone.core.carrierDemand == .close)
    }
}
