// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernQMuxCore

/// Requirements of the draft that ``ViolationTests`` has no row for; Docs/QMUX.md lists them all.
@Suite("QMux: requirements of the draft")
struct RequirementTests {
    @Test(
        "Nothing but QX_TRANSPORT_PARAMETERS may come first",
        arguments: [
            [0x00], [0x01], [0x0a, 0x00, 0x01, 0x61], [0x10, 0x05], [0x1d, 0x00, 0x00], [0x30],
            [0xf4, 0x8c, 0x67, 0x52, 0x9e, 0xf8, 0xc7, 0xbd, 0x01],
        ] as [[UInt8]])
    func firstFrame(frame: [UInt8]) {
        for role in [ConnectionRole.client, .server] {
            let lone = LoneCore(role: role, peer: nil)
            lone.receiveRecord(frame)
            self.expectClose(lone, 0xa)
        }
    }

    @Test("QX_TRANSPORT_PARAMETERS come once, under either of its two numbers, in one record or two")
    func parametersOnce() {
        let qmx: [UInt8] = [0xff, 0x51, 0x4d, 0x58, 0x0d, 0x0a, 0x0d, 0x0a, 0x00]
        let qs0 = WireFormatTests.magic + [0x00]
        for second in [qmx, qs0] {
            let separate = LoneCore()
            separate.receiveRecord(second)
            self.expectClose(separate, 0xa)
            let joined = LoneCore(peer: nil)
            joined.receiveRecord(qs0 + second)
            self.expectClose(joined, 0xa)
        }
    }

    @Test("A frame does not go on in the next record")
    func spanning() {
        let lone = LoneCore()
        lone.receive([0x04, 0x0a, 0x00, 0x05, 0x61, 0x04, 0x62, 0x63, 0x64, 0x65])
        self.expectClose(lone, 0x7)
    }

    /// The rows of ``ViolationTests`` have a server; the streams' numbers are a client's here.
    @Test(
        "A client is as strict",
        arguments: [
            ([0x0e, 0x01, 0x01, 0x01, 0x61], 0xa), ([0x0a, 0x01, 0x01, 0x61, 0x0a, 0x01, 0x01, 0x61], 0xa),
            ([0x0a, 0x00, 0x01, 0x61], 0x5), ([0x0a, 0x02, 0x01, 0x61], 0x5), ([0x05, 0x03, 0x00], 0x5),
            ([0x11, 0x03, 0x09], 0x5), ([0x0a, 0x11, 0x00], 0x4), ([0x0a, 0x13, 0x00], 0x4),
            ([0x0a, 0x01, 41] + Array(repeating: 0, count: 41), 0x3),
            ([0x0b, 0x01, 0x01, 0x61, 0x0e, 0x01, 0x01, 0x01, 0x62], 0x6), ([0x01], 0x7), ([0x1e], 0x7),
            ([0x07, 0x01, 0x00], 0x7),
        ] as [([UInt8], UInt64)])
    func client(frames: [UInt8], code: UInt64) {
        let lone = LoneCore(role: .client, limits: ViolationTests.limits())
        lone.receiveRecord(frames)
        self.expectClose(lone, code)
    }

    @Test("No record is longer than the smallest maximum that a peer may declare", arguments: [16_384, 1 << 20])
    func recordSize(limit: Int) throws {
        let lone = LoneCore(role: .client)
        let stream = try #require(try lone.core.openStream(.unidirectional))
        _ = try lone.core.write(pattern(200_000, seed: 1), to: stream, finish: true)
        var largest: UInt64 = 0
        while var bytes = lone.core.nextBytes(limit: limit, now: lone.now) {
            let size = bytes.readVariableInteger() ?? .max
            #expect(size == UInt64(bytes.readableBytes))
            largest = max(largest, size)
        }
        #expect(largest > 16_000)
        #expect(largest <= QMuxTransportParameters.defaultMaxRecordSize)
    }

    @Test("Ping numbers rise, answers echo the largest number, and several requests may get one answer")
    func pingNumbers() {
        var lone = LoneCore()
        var asked: [UInt64] = []
        for round in 1...5 as ClosedRange<UInt64> {
            lone.receive([.pingRequest(round * 10), .pingRequest(round * 10 + 1)])
            lone.now = lone.core.nextDeadline ?? lone.now
            lone.core.deadlineReached(now: lone.now)
            var answers: [UInt64] = []
            for frame in lone.sentFrames() {
                if case .pingRequest(let number) = frame { asked.append(number) }
                if case .pingResponse(let number) = frame { answers.append(number) }
            }
            #expect(answers == [round * 10 + 1])
        }
        #expect(asked.count >= 5)
        #expect(zip(asked, asked.dropFirst()).allSatisfy { $0 < $1 })
    }

    private func expectClose(_ lone: LoneCore, _ code: UInt64) {
        #expect(lone.core.closeReason?.code == .transport)
        #expect(lone.core.closeReason?.wireCode == code, "\(String(describing: lone.core.closeReason))")
        let closes = lone.sentFrames().filter { if case .connectionClose(code, _, _) = $0 { true } else { false } }
        #expect(closes.count == 1)
    }
}
