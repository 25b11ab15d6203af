// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import NIOCore
import TestTimeLimits
import Testing

@testable import TernQUIC
@testable import TernQUICCore

/// A network that refuses by script.
final class ScriptedSender: DatagramSender {
    struct Call: Equatable {
        var bytes: [UInt8]
        var segmentSize: Int
    }

    var canSegment = true
    /// What each call answers, by its size; 0 when it says nothing.
    var answer: (Call) -> CInt = { _ in 0 }
    private(set) var calls: [Call] = []
    /// What the network took.
    private(set) var taken: [Call] = []

    func send(_ bytes: UnsafeRawBufferPointer, segmentSize: Int, path: QUICPath, ecn: ECN) -> CInt {
        let call = Call(bytes: [UInt8](bytes), segmentSize: segmentSize)
        self.calls.append(call)
        let code = self.answer(call)
        if code == 0 { self.taken.append(call) }
        return code
    }
}

@Suite(.untilItHangs) struct DatagramOutputTests {
    let sender = ScriptedSender()
    let bytes = (0..<250).map { UInt8($0) }
    let train: DatagramTrain

    init() throws {
        let path = QUICPath(
            local: try SocketAddress(ipAddress: "127.0.0.1", port: 1),
            remote: try SocketAddress(ipAddress: "127.0.0.1", port: 2))
        self.train = DatagramTrain(segmentSize: 100, path: path, ecn: .ect0)
    }

    private func send(_ output: inout DatagramOutput) -> Bool {
        self.bytes.withUnsafeBytes { output.send($0, as: self.train) }
    }

    @Test func aTrainIsOneCall() {
        var output = DatagramOutput(sender: self.sender)
        #expect(self.send(&output))
        #expect(self.sender.calls == [.init(bytes: self.bytes, segmentSize: 100)])
    }

    @Test func withoutOffloadEachDatagramIsOneCall() {
        self.sender.canSegment = false
        var output = DatagramOutput(sender: self.sender)
        #expect(self.send(&output))
        #expect(self.sender.calls.map(\.bytes.count) == [100, 100, 50])
        #expect(self.sender.taken.flatMap(\.bytes) == self.bytes)
    }

    @Test(arguments: [EIO, EINVAL, EOPNOTSUPP])
    func refusedOffloadIsRemembered(code: CInt) {
        self.sender.answer = { $0.bytes.count > $0.segmentSize ? code : 0 }
        var output = DatagramOutput(sender: self.sender)
        #expect(self.send(&output))
        #expect(!output.usesSegmentationOffload)
        #expect(self.send(&output))
        #expect(self.sender.calls.map(\.bytes.count) == [250, 100, 100, 50, 100, 100, 50])
        #expect(self.sender.taken.flatMap(\.bytes) == self.bytes + self.bytes)
        #expect(output.refusedDatagrams == 0)
    }

    @Test func tooLargeADatagramIsDroppedAndOffloadStays() {
        self.sender.answer = { $0.segmentSize >= 100 ? EMSGSIZE : 0 }
        var output = DatagramOutput(sender: self.sender)
        #expect(self.send(&output))
        #expect(output.usesSegmentationOffload)
        #expect(output.refusedDatagrams == 2)
        #expect(output.latestRefusal == EMSGSIZE)
        #expect(self.sender.taken.map(\.bytes.count) == [50])
    }

    @Test(arguments: [ENETUNREACH, EHOSTUNREACH, EPERM, ENOBUFS, ECONNREFUSED, EADDRNOTAVAIL])
    func aRefusalDropsTheTrainAndNothingElse(code: CInt) {
        self.sender.answer = { _ in code }
        var output = DatagramOutput(sender: self.sender)
        #expect(self.send(&output))
        #expect(output.refusedDatagrams == 3)
        #expect(output.latestRefusal == code)
        self.sender.answer = { _ in 0 }
        #expect(self.send(&output))
        #expect(self.sender.taken.map(\.bytes) == [self.bytes])
    }

    @Test func aFullBufferKeepsTheTrain() {
        self.sender.answer = { _ in EAGAIN }
        var output = DatagramOutput(sender: self.sender)
        #expect(!self.send(&output))
        #expect(output.isBlocked)
        let early = output.retry()
        #expect(!early)
        self.sender.answer = { _ in 0 }
        let late = output.retry()
        #expect(late)
        #expect(!output.isBlocked)
        #expect(self.sender.taken == [.init(bytes: self.bytes, segmentSize: 100)])
    }

    @Test func aBufferThatFillsAmidATrainKeepsTheRest() {
        self.sender.canSegment = false
        var room = 1
        self.sender.answer = { _ in
            room -= 1
            return room >= 0 ? 0 : EAGAIN
        }
        var output = DatagramOutput(sender: self.sender)
        #expect(!self.send(&output))
        room = 100
        let late = output.retry()
        #expect(late)
        #expect(self.sender.taken.map(\.bytes.count) == [100, 100, 50])
        #expect(self.sender.taken.flatMap(\.bytes) == self.bytes)
    }
}

@Suite(.untilItHangs) struct TokenBucketTests {
    @Test func allowsABurstThenTheRate() {
        var bucket = TokenBucket(capacity: 3, perSecond: 10)
        let start = NIODeadline.uptimeNanoseconds(1_000_000_000)
        let burst = (0..<5).map { _ in bucket.take(now: start) }
        #expect(burst == [true, true, true, false, false])
        let later = (1...10).map { bucket.take(now: start + .milliseconds(Int64(50 * $0))) }
        #expect(later == [false, true, false, true, false, true, false, true, false, true])
        let rested = (0..<5).map { _ in bucket.take(now: start + .hours(1)) }
        #expect(rested == [true, true, true, false, false])
    }
}
