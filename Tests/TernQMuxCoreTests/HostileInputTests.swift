// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import NIOCore
import TernTransport
import Testing

@testable import TernQMuxCore

/// Bytes from the network never crash, and never make a core forget its rules.
@Suite("QMux: hostile bytes")
struct HostileInputTests {
    /// Inputs for each of eight seeds; `TERN_FUZZ_ROUNDS=100000` looks for longer.
    private static let rounds = ProcessInfo.processInfo.environment["TERN_FUZZ_ROUNDS"].flatMap { Int($0) } ?? 2_500

    @Test("Random bytes", arguments: 0..<4 as Range<UInt64>)
    func randomBytes(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<Self.rounds {
            let lone = LoneCore(
                peer: Bool.random(using: &generator) ? QMuxTransportParameters(ConnectionLimits()) : nil)
            let count = Int.random(in: 1...40, using: &generator)
            let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
            if Bool.random(using: &generator) { lone.receiveRecord(bytes) } else { lone.receive(bytes) }
            self.expectSane(lone)
        }
    }

    /// Frames that are valid by themselves, with numbers that lie around the limits.
    @Test("Random frames", arguments: 10..<14 as Range<UInt64>)
    func randomFrames(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<Self.rounds {
            let lone = LoneCore(role: Bool.random(using: &generator) ? .client : .server)
            if Bool.random(using: &generator), let stream = try? lone.core.openStream(.bidirectional) {
                _ = try? lone.core.write(pattern(100, seed: 0), to: stream, finish: Bool.random(using: &generator))
            }
            for _ in 0..<Int.random(in: 1...6, using: &generator) {
                lone.receive([Self.randomFrame(using: &generator)])
            }
            self.expectSane(lone)
        }
    }

    @Test("A valid exchange, cut after every byte and with every byte changed")
    func mutations() throws {
        var exchange = record([.transportParameters(QMuxTransportParameters(ConnectionLimits()).encoded())])
        let stream = StreamID(rawValue: 0)
        exchange.writeImmutableBuffer(
            record([
                .stream(stream, offset: 0, ByteBuffer(string: "hello"), finished: false), .maxData(1 << 30),
                .maxStreamData(stream, 1 << 20), .pingRequest(4), .datagram(ByteBuffer(string: "d"), frameSize: 3),
                .stream(stream, offset: 5, ByteBuffer(), finished: true), .stopSending(stream, code: 3),
            ]))
        exchange.writeImmutableBuffer(record([.applicationClose(code: 0, reason: "bye")]))
        let bytes = Array(exchange.readableBytesView)
        for end in bytes.indices {
            let lone = LoneCore(peer: nil)
            lone.receive(Array(bytes[..<end]))
            #expect(lone.core.closeReason == nil, "\(end) bytes of a valid exchange are no offence")
            lone.receive(Array(bytes[end...]))
            #expect(lone.core.closeReason == TransportError(.application, message: "", wireCode: 0, initiator: .peer))
        }
        for index in bytes.indices {
            for bit in 0..<8 {
                var changed = bytes
                changed[index] ^= 1 << bit
                let lone = LoneCore(peer: nil)
                lone.receive(changed)
                self.expectSane(lone)
            }
        }
    }

    /// Whatever came: the events end with at most one close, nothing is sent after it, and time can pass.
    private func expectSane(_ lone: LoneCore) {
        let events = lone.events()
        let closes = events.filter { if case .connectionClosed = $0 { true } else { false } }
        self.require(closes.count == (lone.core.closeReason == nil ? 0 : 1), "\(closes.count) closes")
        self.require(closes.isEmpty || events.last == closes.first, "the close was not the last event")
        for case .streamReceived(let stream, let bytes, _) in events {
            lone.core.consumed(bytes.readableBytes, of: stream)
        }
        var records = 0
        while lone.core.nextBytes(now: lone.now) != nil { records += 1 }
        self.require(records < 10, "\(records) records")
        if let deadline = lone.core.nextDeadline { lone.core.deadlineReached(now: deadline) }
        lone.core.peerFinished(now: lone.now)
        self.require(lone.core.carrierDemand == .close, "it wants to live")
    }

    /// `#expect` is too slow for a hundred thousand inputs.
    private func require(_ condition: Bool, _ comment: @autoclosure () -> String) {
        if !condition { Issue.record("\(comment())") }
    }

    private static func randomFrame(using generator: inout SeededGenerator) -> QMuxFrame {
        let numbers: [UInt64] = [0, 1, 2, 3, 4, 5, 6, 7, 100, 1024, 1023, 1_048_576, 8_388_608, 1 << 60, 1 << 62 - 1]
        func number() -> UInt64 { numbers.randomElement(using: &generator) ?? 0 }
        let stream = StreamID(rawValue: number())
        let bytes = pattern(Int.random(in: 0...50, using: &generator), seed: 0)
        let direction: StreamDirection = Bool.random(using: &generator) ? .bidirectional : .unidirectional
        switch Int.random(in: 0..<14, using: &generator) {
        case 0: return .padding(count: Int.random(in: 1...50, using: &generator))
        case 1: return .resetStream(stream, code: number(), finalSize: number())
        case 2: return .resetStreamAt(stream, code: number(), finalSize: number(), reliableSize: number())
        case 3: return .stopSending(stream, code: number())
        case 4, 5, 6:
            let offset = Bool.random(using: &generator) ? 0 : number()
            return .stream(stream, offset: offset, bytes, finished: Bool.random(using: &generator))
        case 7: return .maxData(number())
        case 8: return .maxStreamData(stream, number())
        case 9: return .maxStreams(direction, number())
        case 10: return .streamDataBlocked(stream, number())
        case 11: return .datagram(bytes, frameSize: 0)
        case 12: return Bool.random(using: &generator) ? .pingRequest(number()) : .pingResponse(number())
        default: return .connectionClose(code: number(), frameType: number(), reason: "?")
        }
    }
}
