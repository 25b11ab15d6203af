// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import QUICPacketSupport
import TernTransport
import Testing

@testable import TernQUICCore

/// Sequences of frames from a peer that has keys and keeps to no rule, against what this end counts: windows, credit, streams,
/// events.
@Suite("Fuzzing: QUIC accounting")
struct FrameSequenceTests {
    @Test(
        "No sequence of frames makes the core tell or hold what it must not",
        arguments: [.server, .client] as [ConnectionRole],
        1...40 as ClosedRange<UInt64>)
    func sequences(victim: ConnectionRole, seed: UInt64) throws {
        let run = try SequenceRun(against: victim, seed: seed)
        try run.play(steps: 250)
        #expect(run.faults.isEmpty, "\(victim), seed \(seed): \(run.faults.joined(separator: "; "))")
        // A peer that is caught early has said little.
        #expect(run.told > 0 || run.reason != nil)
        #expect(run.reason.map { $0.code == .transport && $0.initiator != .peer } ?? true, "\(run.reason as Any)")
    }

    /// A client that opens many streams and drops them in one turn: its side of them waits until ours has ended.
    @Test("Many streams whose first frames, in one packet, are their resets", arguments: [1, 64, 65, 100, 600])
    func resetsAtOnce(count: Int) throws {
        var limits = ConnectionLimits()
        limits.bidirectionalStreams = 1000
        let attack = try KeyedPeer(limits: limits)
        var frames = QUICFrames()
        for index in 0..<count { frames.reset(UInt64(4 * index), code: 7, finalSize: 0) }
        // One of them twice.
        frames.reset(0, code: 7, finalSize: 0)
        try attack.say(frames)
        let opened = attack.end.events.filter { if case .streamOpened = $0 { true } else { false } }
        let closed = attack.end.events.filter { if case .streamClosed = $0 { true } else { false } }
        #expect(opened.count == count)
        #expect(closed.isEmpty)
        for index in Set([0, count - 1]) {
            let id = StreamID(index: UInt64(index), initiator: .client, direction: .bidirectional)
            let before = attack.heard
            #expect(try attack.core.write(ByteBuffer(bytes: pattern(10)), to: id, finish: true))
            attack.hear()
            #expect(attack.heard > before)
        }
        #expect(attack.end.closeReason == nil)
    }
}

/// What the application was told of a stream, and what was sent on it.
private struct StreamRecord {
    var told: UInt64 = 0
    var unread = 0
    var sentTo: UInt64 = 0
    var isOpen = false
    var hasEnded = false
    var isClosed = false
    var wasStopped = false
}

private final class SequenceRun {
    static let connectionWindow = 40_000
    static let streamWindow = 12_000
    static let streamLimit = 6
    /// Of streams that nobody reset or stopped.
    static let unbelievable: UInt64 = 99

    private(set) var faults: [String] = []
    private(set) var told = 0
    private let attack: KeyedPeer
    private var random: SeededGenerator
    private var streams: [StreamID: StreamRecord] = [:]
    private var connectionID: UInt64 = 8
    private var late: [(packet: [UInt8], number: UInt64)] = []
    private var used: [(packet: [UInt8], number: UInt64)] = []

    init(against victim: ConnectionRole, seed: UInt64) throws {
        var limits = ConnectionLimits()
        limits.connectionWindow = Self.connectionWindow
        limits.streamWindow = Self.streamWindow
        limits.bidirectionalStreams = Self.streamLimit
        limits.unidirectionalStreams = Self.streamLimit
        self.attack = try KeyedPeer(against: victim, limits: limits, growsWindows: false)
        self.random = SeededGenerator(seed: seed)
        self.attack.end.consumes = false
        self.attack.end.onEvent = { [unowned self] in self.hear($0) }
    }

    var reason: TransportError? { self.attack.end.closeReason }
    private var core: QUICConnectionCore { self.attack.core }

    private func below(_ bound: UInt64) -> UInt64 { bound == 0 ? 0 : self.random.next() % bound }

    static func payload(_ id: StreamID, _ offset: UInt64, _ count: Int) -> [UInt8] {
        (0..<UInt64(count)).map { UInt8(truncatingIfNeeded: (offset &+ $0) &* 7 &+ id.rawValue) }
    }

    func play(steps: Int) throws {
        for _ in 0..<steps {
            if self.below(4) == 0 { self.act() }
            try self.speak()
            self.check()
            guard self.attack.end.closeReason == nil, self.faults.isEmpty else { return }
            self.attack.wait(.milliseconds(Int64(self.below(40))))
        }
    }

    // MARK: The peer

    /// In order mostly; or late, again, or with other frames under a number that was used.
    private func speak() throws {
        switch self.below(16) {
        case 0: self.late.append((self.seal(self.frames()), self.attack.number))
        case 1, 2:
            guard !self.late.isEmpty else { return }
            let (packet, number) = self.late.remove(at: Int(self.below(UInt64(self.late.count))))
            try self.deliver(packet, number)
        case 3:
            if let (packet, number) = self.used.randomElement(using: &self.random) { try self.deliver(packet, number) }
        case 4, 5:
            guard let (_, number) = self.used.randomElement(using: &self.random) else { return }
            try self.deliver(self.attack.seal(self.unbelievableFrames(), number: number), number)
        default: try self.deliver(self.seal(self.frames()), self.attack.number)
        }
    }

    private func seal(_ frames: QUICFrames) -> [UInt8] { self.attack.seal(frames) }

    private func deliver(_ packet: [UInt8], _ number: UInt64) throws {
        if self.used.count > 60 { self.used.remove(at: Int(self.below(60))) }
        self.used.append((packet, number))
        try self.attack.deliver(packet)
        self.attack.hear()
        self.attack.end.drain()
    }

    /// What must have no effect; each would be a fault if it had one.
    private func unbelievableFrames() -> QUICFrames {
        var frames = QUICFrames()
        let streams = self.streams.filter { $0.value.isOpen && $0.key.direction == .bidirectional }.keys
        let id = streams.sorted { $0.rawValue < $1.rawValue }.randomElement(using: &self.random) ?? self.stream()
        switch self.below(5) {
        case 0: frames.reset(id.rawValue, code: Self.unbelievable, finalSize: self.streams[id]?.sentTo ?? 0)
        case 1: frames.stream(id.rawValue, at: self.streams[id]?.told ?? 0, [0xff, 0xfe, 0xfd, 0xfc])
        case 2: frames.newConnectionID(self.connectionID + self.below(9), retirePriorTo: self.connectionID)
        default: break
        }
        if id.direction == .bidirectional { frames.stop(id.rawValue, code: Self.unbelievable) }
        frames.datagram(Array(repeating: 1, count: 300))
        return frames
    }

    private func frames() -> QUICFrames {
        var frames = QUICFrames()
        if self.below(2) == 0 { self.attack.acknowledge(in: &frames) }
        for _ in 0...self.below(4) where frames.count < 1000 { self.append(to: &frames) }
        return frames
    }

    private func stream() -> StreamID {
        let index =
            self.below(150) == 0 ? UInt64(Self.streamLimit) + self.below(30) : self.below(UInt64(Self.streamLimit))
        let open = UInt64(self.streams.values.filter(\.isClosed).count)
        return StreamID(
            index: index + (self.below(2) == 0 ? 0 : self.below(open + 1)),
            initiator: self.attack.victim == .server ? .client : .server,
            direction: self.below(3) == 0 ? .unidirectional : .bidirectional)
    }

    private func append(to frames: inout QUICFrames) {
        let id = self.stream()
        switch self.below(26) {
        case 0..<14: self.appendStream(id, to: &frames)
        case 14:
            frames.reset(id.rawValue, code: self.below(5), finalSize: (self.streams[id]?.sentTo ?? 0) + self.below(90))
        case 15: if id.direction == .bidirectional { frames.stop(id.rawValue, code: self.below(5)) }
        case 16: frames.frame(0x10, self.below(1 << 40))
        case 17: if id.direction == .bidirectional { frames.frame(0x11, id.rawValue, self.below(1 << 40)) }
        case 18: frames.frame(self.below(2) == 0 ? 0x12 : 0x13, self.below(1 << 20))
        case 19: frames.datagram(Array(repeating: 1, count: Int(self.below(200))))
        case 20: frames.pathChallenge(UInt8(self.below(250)))
        case 21:
            frames.newConnectionID(self.connectionID, retirePriorTo: self.connectionID - self.below(7))
            self.connectionID += 1
        case 22: frames.frame(0x14, self.below(1 << 30))
        case 23: self.appendForbidden(to: &frames)
        case 24: frames.frame(self.below(2) == 0 ? 0x16 : 0x17, self.below(UInt64(Self.streamLimit)))
        default: frames.ping()
        }
    }

    /// Now and then what nobody may say, or only one of the two.
    private func appendForbidden(to frames: inout QUICFrames) {
        guard self.below(12) == 0 else { return frames.frame(0x14, self.below(1 << 40)) }
        let own = StreamID(index: self.below(3), initiator: self.attack.victim, direction: .unidirectional)
        switch self.below(9) {
        case 0: frames.handshakeDone()
        case 1: frames.frame(0x07, 0)
        case 2: frames.frame(0x24, own.rawValue, 1, 10, 5)
        case 3: frames.frame(0x06, self.below(1 << 20), 0)
        case 4: frames.retireConnectionID(self.below(30))
        case 5: frames.stream(own.rawValue, at: 0, [1, 2, 3])
        case 6: frames.frame(0x15, own.rawValue, 1)
        case 7: frames.pathResponse(UInt8(self.below(250)))
        default: frames.raw((0..<self.below(20)).map { _ in UInt8(self.below(256)) })
        }
    }

    private func appendStream(_ id: StreamID, to frames: inout QUICFrames) {
        let front = self.streams[id]?.sentTo ?? 0
        // In order, over again, or behind a gap.
        let offset: UInt64 =
            switch self.below(6) {
            case 0: self.below(front + 1)
            case 1: front + self.below(60)
            default: front
            }
        let count = self.below(20) == 0 ? 0 : Int(self.below(self.below(3) == 0 ? 900 : 60))
        let end = offset + UInt64(count)
        self.streams[id, default: StreamRecord()].sentTo = max(front, end)
        frames.stream(
            id.rawValue, at: offset, Self.payload(id, offset, count), finishes: end >= front && self.below(25) == 0)
    }

    // MARK: The application

    private func act() {
        for id in self.streams.keys.sorted(by: { $0.rawValue < $1.rawValue }) where self.below(3) == 0 {
            guard var record = self.streams[id], record.isOpen else { continue }
            switch self.below(12) {
            case 0:
                self.core.stopSending(id, code: 9)
                record.wasStopped = true
                record.unread = 0
            case 1: self.core.reset(id, code: 8)
            case 2, 3:
                _ = try? self.core.write(
                    ByteBuffer(repeating: 3, count: Int(self.below(3000))), to: id, finish: self.below(9) == 0)
            default:
                let count = self.below(2) == 0 ? record.unread : Int(self.below(UInt64(record.unread) + 1))
                record.unread -= count
                self.streams[id] = record
                self.core.consumed(count, of: id)
                continue
            }
            self.streams[id] = record
        }
    }

    private func require(_ condition: Bool, _ text: @autoclosure () -> String) {
        if !condition { self.faults.append(text()) }
    }

    private func hear(_ event: QUICEvent) {
        switch event {
        case .streamOpened(let id):
            let record = self.streams[id, default: StreamRecord()]
            self.require(!record.isOpen && !record.isClosed, "\(id) opened twice")
            self.streams[id, default: StreamRecord()].isOpen = true
        case .streamReceived(let id, let bytes, let finished): self.hear(id, bytes, finished)
        case .streamWasStopped(let id, let code): self.require(code != Self.unbelievable, "\(id) was not stopped")
        case .streamWasReset(let id, let code):
            self.require(code != Self.unbelievable, "\(id) was not reset")
            self.require(self.streams[id]?.isOpen == true, "\(id) was reset and is not open")
            self.streams[id]?.hasEnded = true
            // RFC 9000, section 4.5: what was not read counts as read.
            self.streams[id]?.unread = 0
        case .streamClosed(let id):
            self.require(self.streams[id]?.isClosed == false, "\(id) closed twice")
            self.streams[id]?.isClosed = true
            self.streams[id]?.isOpen = false
        case .datagramReceived(let bytes): self.require(bytes.readableBytes <= 200, "a datagram grew")
        default: break
        }
    }

    private func hear(_ id: StreamID, _ bytes: ByteBuffer, _ finished: Bool) {
        guard var record = self.streams[id] else { return self.faults.append("bytes of \(id), which nobody sent") }
        self.require(record.isOpen && !record.hasEnded && !record.wasStopped, "bytes of \(id) out of its life")
        self.require(
            Array(bytes.readableBytesView) == Self.payload(id, record.told, bytes.readableBytes), "other bytes of \(id)"
        )
        self.require(bytes.storageCapacity <= 2 * bytes.readableBytes + 600, "\(bytes.storageCapacity) bytes are held")
        record.told += UInt64(bytes.readableBytes)
        record.unread += bytes.readableBytes
        record.hasEnded = finished
        self.require(record.told <= record.sentTo, "more of \(id) than was sent")
        self.streams[id] = record
        self.told += bytes.readableBytes
    }

    private func check() {
        let held = self.streams.values.reduce(0) { $0 + $1.unread }
        self.require(held <= Self.connectionWindow, "\(held) bytes are held")
        for (id, record) in self.streams {
            self.require(record.unread <= Self.streamWindow, "\(id) holds \(record.unread)")
        }
        for direction in StreamDirection.allCases {
            let open = self.streams.filter { $0.key.direction == direction && $0.value.isOpen }.count
            self.require(open <= Self.streamLimit, "\(open) streams are open")
        }
        self.require(self.core.native.memory < 4 << 20, "ngtcp2 has \(self.core.native.memory) bytes")
    }
}
