// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import Testing

@testable import tern_lab

@Suite("Messages of the lab")
struct MessageTests {
    private let work = MessageWork(rate: 100, streams: 4, size: 100, seconds: 0.1, warmUpSeconds: 0.02)

    @Test("A message is read back, whole or in pieces")
    func roundTrip() throws {
        let bytes = LabMessage(number: 7, size: 100).bytes
        #expect(bytes.readableBytes == 100)
        var buffer = ByteBuffer()
        for byte in bytes.readableBytesView.dropLast() {
            buffer.writeInteger(byte)
            #expect(LabMessage.read(from: &buffer) == nil)
        }
        buffer.writeInteger(UInt8(0))
        let message = try #require(LabMessage.read(from: &buffer))
        #expect(message.number == 7)
        #expect(message.size == 100)
        #expect(buffer.readableBytes == 0)
    }

    @Test("A length that cannot be is no message", arguments: [0, 11, UInt32.max])
    func badLength(length: UInt32) {
        var buffer = ByteBuffer()
        buffer.writeInteger(length)
        buffer.writeRepeatingByte(0, count: 100)
        #expect(LabMessage.read(from: &buffer) == nil)
    }

    @Test("An unknown command is an error, a short one is not")
    func requests() throws {
        var short = ByteBuffer(repeating: 0x45, count: StreamRequest.byteCount - 1)
        let none = try StreamRequest(reading: &short)
        #expect(none == nil)
        var unknown = ByteBuffer(repeating: 0x99, count: StreamRequest.byteCount)
        #expect(throws: (any Error).self) { _ = try StreamRequest(reading: &unknown) }
        var whole = StreamRequest(.download, urgency: 7, count: 12).bytes
        let request = try #require(try StreamRequest(reading: &whole))
        #expect(request.command == .download)
        #expect(request.urgency == 7)
        #expect(request.count == 12)
    }

    @Test("Warm-up does not count, what comes twice counts once, and what never comes is named")
    func log() {
        let log = MessageLog(self.work)
        let start = ContinuousClock.now
        log.begin(at: start, measuredFrom: start + .milliseconds(20))
        for number in 0..<12 { log.send(number, due: start + .milliseconds(10 * number)) }
        for number in 0..<11 {
            log.received(number, at: start + .milliseconds(10 * number + 5))
            log.received(number, at: start + .milliseconds(10 * number + 6))
        }
        let result = log.result()
        #expect(result.latenciesMicroseconds?.count == 9)
        #expect(result.latenciesMicroseconds?.allSatisfy { $0 == 5_000 } == true)
        #expect(result.values["unanswered"] == 1)
        #expect(result.failure == "1 of 10 messages were not answered")
    }

    @Test("A new connection gets first what is not echoed, each message on its stream")
    func resending() async {
        let log = MessageLog(self.work)
        let start = ContinuousClock.now
        log.begin(at: start, measuredFrom: start)
        for number in 0..<8 { log.send(number, due: start) }
        log.received(4, at: start)
        let lanes = log.attach()
        log.send(8, due: start)
        log.detach()
        var sent: [[Int]] = []
        for lane in lanes { sent.append(await lane.reduce(into: [Int]()) { $0.append($1) }) }
        #expect(sent == [[0, 8], [1, 5], [2, 6], [3, 7]])
    }

    @Test("The run is over when everything is due and echoed")
    func end() async {
        let log = MessageLog(self.work)
        let start = ContinuousClock.now
        log.begin(at: start, measuredFrom: start)
        log.send(3, due: start)
        log.everythingIsDue()
        log.received(3, at: start)
        await log.untilDone()
        #expect(log.result().values["messages"] == 1)
    }

    @Test("The longest gap is between arrivals, and lasts until the end when something never came")
    func gap() throws {
        let log = MessageLog(self.work)
        let start = ContinuousClock.now
        log.begin(at: start, measuredFrom: start)
        for number in 2..<12 { log.send(number, due: start) }
        for number in 2..<12 { log.received(number, at: start + .milliseconds(number < 7 ? number : number + 50)) }
        let gap = try #require(log.result().values["gap"])
        #expect(abs(gap - 51) < 0.001)
    }
}
