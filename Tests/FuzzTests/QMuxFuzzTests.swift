// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTesting
import TernTransport
import Testing

@testable import TernQMuxCore

/// Whatever bytes come, in whatever state: the core goes on or closes with a proper error, and keeps no more than its
/// limits say.
@Suite("Fuzzing: QMux")
struct QMuxFuzzTests {
    private static var limits: ConnectionLimits {
        var limits = ConnectionLimits()
        limits.connectionWindow = 5000
        limits.streamWindow = 3000
        limits.bidirectionalStreams = 5
        limits.unidirectionalStreams = 5
        limits.datagramFrameSize = 300
        limits.bufferedDatagrams = 4
        return limits
    }

    @Test("Byte streams of records")
    func records() throws {
        let corpus = try Corpus.load("qmux-records")
        Effort.spend(6000) { mutator, seed in
            let bytes = mutator.mutate(mutator.pick(corpus), with: corpus)
            let core = self.core(in: Int(seed % 4), corpus: corpus)
            var now = Self.start
            var rest = ByteBuffer(bytes: bytes)
            while rest.readableBytes > 0 {
                let count = min(rest.readableBytes, 1 + Int(mutator.random.next() % 40))
                if let piece = rest.readSlice(length: count) { core.receive(piece, now: now) }
                now = now + .milliseconds(1)
            }
            self.judge(core, seed: seed, now: now)
        }
    }

    @Test("Frames that are whole, with numbers around the limits, in records that are too")
    func frames() throws {
        let corpus = try Corpus.load("qmux-records")
        Effort.spend(4000) { mutator, seed in
            let core = self.core(in: 1 + Int(seed % 3), corpus: corpus)
            for _ in 0..<8 {
                var body = ByteBuffer()
                for _ in 0...(mutator.random.next() % 3) { self.frame(&mutator.random).write(to: &body) }
                var record = ByteBuffer(variableInteger: UInt64(body.readableBytes))
                record.writeBuffer(&body)
                core.receive(record, now: Self.start)
                if mutator.random.chance(0.3) { _ = core.nextBytes(now: Self.start) }
            }
            self.judge(core, seed: seed, now: Self.start)
        }
    }

    @Test("Transport parameters that are taken are written again as they are")
    func parameters() throws {
        let corpus = try Corpus.load("transport-parameters")
        var taken = 0
        try Effort.spend(8000) { mutator, seed in
            let list = ByteBuffer(bytes: mutator.mutate(mutator.pick(corpus), with: corpus))
            guard let parameters = try? QMuxTransportParameters(decoding: list) else { return }
            taken += 1
            if try QMuxTransportParameters(decoding: parameters.encoded()) != parameters {
                Issue.record("seed \(seed): \(parameters)")
            }
        }
        #expect(taken > 100)
    }

    private static let start = NIODeadline.uptimeNanoseconds(1_000_000_000)

    /// Fresh; established; with a stream of its own that wrote; with streams in both directions, one stopped.
    private func core(in state: Int, corpus: [[UInt8]]) -> QMuxConnectionCore {
        let core = QMuxConnectionCore(role: state == 2 ? .client : .server, limits: Self.limits, now: Self.start)
        guard state > 0 else { return core }
        core.receive(ByteBuffer(bytes: corpus[0]), now: Self.start)
        guard state > 1 else { return core }
        for direction in StreamDirection.allCases {
            guard let stream = try? core.openStream(direction) else { continue }
            _ = try? core.write(ByteBuffer(repeating: 1, count: 2000), to: stream, finish: direction == .unidirectional)
        }
        if state == 3 {
            core.receive(ByteBuffer(bytes: [0x07, 0x0a, 0x04, 0x01, 0x61, 0x0a, 0x02, 0x00]), now: Self.start)
            core.stopSending(StreamID(rawValue: 4), code: 9)
            while core.nextEvent() != nil {}
            while core.nextBytes(now: Self.start) != nil {}
        }
        return core
    }

    private func judge(_ core: QMuxConnectionCore, seed: UInt64, now: NIODeadline) {
        func fail(_ text: String) { Issue.record("TERN_FUZZ_SEED=\(seed): \(text)") }
        var bytes = 0
        var datagrams = 0
        var ends = 0
        while let event = core.nextEvent() {
            if ends > 0 { fail("\(event) after the end") }
            switch event {
            case .streamReceived(_, let received, _): bytes += received.readableBytes
            case .datagramReceived: datagrams += 1
            case .connectionClosed: ends += 1
            default: break
            }
        }
        // Only what was not consumed counts, and nothing was; credit of resets and stops may have come back meanwhile.
        if bytes > 4 * Self.limits.connectionWindow { fail("\(bytes) bytes are kept") }
        if datagrams > Self.limits.bufferedDatagrams { fail("\(datagrams) datagrams are kept") }
        if ends != (core.closeReason == nil ? 0 : 1) { fail("\(ends) ends") }
        if let reason = core.closeReason, reason.initiator == .local, (reason.wireCode ?? 0) == 0 {
            fail("closed without a code: \(reason)")
        }
        var records = 0
        while records < 50, core.nextBytes(now: now) != nil { records += 1 }
        if records == 50 { fail("it talks without end") }
        core.peerFinished(now: now)
        while core.nextBytes(now: now) != nil {}
        if core.carrierDemand != .close { fail("it wants to live") }
    }

    private func frame(_ random: inout SeededRandom) -> QMuxFrame {
        let numbers: [UInt64] = [
            0, 1, 2, 3, 4, 5, 6, 7, 17, 18, 100, 2999, 3000, 3001, 4999, 5000, 5001, 1 << 60, 1 << 62 - 1,
        ]
        func number() -> UInt64 { numbers[Int(random.next() % UInt64(numbers.count))] }
        let stream = StreamID(rawValue: number())
        let bytes = ByteBuffer(repeating: 7, count: Int(random.next() % 400))
        let direction: StreamDirection = random.chance(0.5) ? .bidirectional : .unidirectional
        switch random.next() % 17 {
        case 0: return .padding(count: 1 + Int(random.next() % 50))
        case 1: return .resetStream(stream, code: number(), finalSize: number())
        case 2: return .resetStreamAt(stream, code: number(), finalSize: number(), reliableSize: number())
        case 3: return .stopSending(stream, code: number())
        case 4, 5, 6, 7:
            return .stream(stream, offset: random.chance(0.7) ? 0 : number(), bytes, finished: random.chance(0.2))
        case 8: return .maxData(number())
        case 9: return .maxStreamData(stream, number())
        case 10: return .maxStreams(direction, number())
        case 11: return .streamDataBlocked(stream, number())
        case 12: return .datagram(bytes, frameSize: 0)
        case 13: return .pingRequest(number())
        case 14: return .pingResponse(number())
        case 15: return .streamsBlocked(direction, number())
        default: return .connectionClose(code: number(), frameType: number(), reason: "?")
        }
    }
}
