// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import SimulationSupport
import TernTesting
import TernTransport
import Testing

@testable import TernQMuxCore

/// Sequences of frames against the accounting of streams and credit, with ``FlowModel`` beside the core: after every frame both
/// say the same.
@Suite("Fuzzing: QMux accounting")
struct QMuxAccountingTests {
    @Test("Every frame meets the verdict of the model, and nothing is granted or kept beyond the windows")
    func sequences() {
        var violations = 0
        var frames = 0
        Effort.spend(1500) { mutator, seed in
            var run = AccountingRun(seed: seed)
            run.play(steps: 120)
            for fault in run.model.faults + run.faults { Issue.record("TERN_FUZZ_SEED=\(seed): \(fault)") }
            violations += run.isOver ? 1 : 0
            frames += run.frames
        }
        // The generator has not lost its edge: most sequences are long, and many end with an offence.
        #expect(frames > 20 * violations && violations > 100, "\(frames) frames, \(violations) violations")
    }

    /// What ended the process: several resets that reserve nothing, then the bytes that they promised, and one more.
    @Test("Resets take their final size from the connection's credit when they come, and once")
    func resetsAreCharged() {
        for (first, second, isGood) in [(30, 30, true), (31, 30, false)] as [(UInt64, UInt64, Bool)] {
            var run = AccountingRun(seed: 0, limits: AccountingRun.limits(connection: 60, stream: 40))
            let streams = [0, 4, 8].map { StreamID(rawValue: $0) }
            run.send(.resetStreamAt(streams[0], code: 1, finalSize: first, reliableSize: first))
            run.send(.resetStreamAt(streams[0], code: 1, finalSize: first, reliableSize: 20))
            run.send(.resetStreamAt(streams[1], code: 1, finalSize: second, reliableSize: second))
            #expect(run.isOver == !isGood)
            run.send(
                .stream(streams[0], offset: 0, FlowModel.payload(of: streams[0], at: 0, count: 20), finished: false))
            run.send(
                .stream(streams[1], offset: 0, FlowModel.payload(of: streams[1], at: 0, count: 30), finished: false))
            run.send(
                .stream(streams[2], offset: 0, FlowModel.payload(of: streams[2], at: 0, count: 1), finished: false))
            #expect(run.isOver)
            #expect(run.model.faults + run.faults == [])
        }
    }
}

/// One core, its model, and an application that does a bit of everything.
private struct AccountingRun {
    let core: QMuxConnectionCore
    var model: FlowModel
    var generator: FlowGenerator
    var faults: [String] = []
    var frames = 0
    private(set) var isOver = false
    private var now = NIODeadline.uptimeNanoseconds(1_000_000_000)
    /// What the application has and did not consume.
    private var unread: [StreamID: UInt64] = [:]
    private var ours: [StreamID] = []

    static func limits(connection: Int, stream: Int) -> ConnectionLimits {
        var limits = ConnectionLimits()
        limits.connectionWindow = connection
        limits.streamWindow = stream
        limits.bidirectionalStreams = 5
        limits.unidirectionalStreams = 4
        return limits
    }

    init(seed: UInt64, limits: ConnectionLimits? = nil) {
        var generator = FlowGenerator(seed: seed)
        let window = 200 + generator.below(3000)
        let limits = limits ?? Self.limits(connection: Int(window), stream: Int(1 + generator.below(window + 400)))
        let role: ConnectionRole = seed == 0 ? .server : generator.random.chance(0.5) ? .client : .server
        var peer = QMuxTransportParameters()
        peer.initialMaxData = generator.below(3000)
        peer.initialMaxStreamDataBidirectionalLocal = generator.below(1000)
        peer.initialMaxStreamDataBidirectionalRemote = generator.below(1000)
        peer.initialMaxStreamDataUnidirectional = generator.below(1000)
        peer.initialMaxStreamsBidirectional = generator.below(6)
        peer.initialMaxStreamsUnidirectional = generator.below(6)
        var configuration = QMuxConfiguration()
        configuration.idleFrameBurst = 1 << 20
        self.core = QMuxConnectionCore(role: role, limits: limits, configuration: configuration, now: self.now)
        self.model = FlowModel(role: role, limits: limits, peer: peer, isOrdered: true)
        self.generator = generator
        self.core.receive(Self.record(.transportParameters(peer.encoded())), now: self.now)
        self.flush()
    }

    static func record(_ frame: QMuxFrame) -> ByteBuffer {
        var body = ByteBuffer()
        frame.write(to: &body)
        var record = ByteBuffer(variableInteger: UInt64(body.readableBytes))
        record.writeBuffer(&body)
        return record
    }

    mutating func play(steps: Int) {
        for _ in 0..<steps {
            switch self.generator.below(10) {
            case 0: self.actOnStreamsOfOurs()
            case 1: self.flush()
            case 2: self.listen()
            case 3: self.consume()
            default: self.send(self.generator.frame(self.model))
            }
            guard !self.isOver, self.faults.isEmpty, self.model.faults.isEmpty else { return }
        }
        self.settle()
    }

    /// Everything is heard, consumed and said: then little may be owed.
    private mutating func settle() {
        for _ in 0..<3 {
            self.listen()
            for id in self.unread.keys.sorted() { self.consume(self.unread[id, default: 0], of: id) }
            self.flush()
        }
        self.model.checkRest()
    }

    mutating func send(_ frame: QMuxFrame) {
        guard !self.isOver else { return }
        self.frames += 1
        let verdict = self.model.judge(frame)
        self.core.receive(Self.record(frame), now: self.now)
        switch (verdict, self.core.closeReason) {
        case (.accepted, nil): break
        case (.violation(let codes), let reason?):
            self.isOver = true
            if !codes.contains(reason.wireCode ?? 0) { self.faults.append("\(frame): \(reason) instead of \(codes)") }
        case (_, let reason):
            self.isOver = true
            self.faults.append("\(frame): \(verdict), and the core says \(reason.map { "\($0)" } ?? "nothing")")
        }
        let flow = self.core.connection
        if flow.received > flow.receiveLimit { self.faults.append("\(frame): the credit is exceeded") }
        if !self.isOver, flow.received != self.model.chargedBytes {
            self.faults.append(
                "\(frame): \(flow.received) bytes are charged, the model says \(self.model.chargedBytes)")
        }
    }

    /// The carrier takes all that the core wants to say.
    private mutating func flush() {
        guard !self.isOver else { return }
        while var bytes = self.core.nextBytes(now: self.now) {
            _ = bytes.readVariableInteger()
            while bytes.readableBytes > 0 {
                guard let frame = try? QMuxFrame.read(from: &bytes) else {
                    return self.faults.append("it wrote nonsense")
                }
                self.model.saw(frame)
            }
        }
    }

    private mutating func listen() {
        while !self.isOver, let event = self.core.nextEvent() {
            if case .streamReceived(let id, let bytes, _) = event {
                self.unread[id, default: 0] += UInt64(bytes.readableBytes)
            }
            self.model.heard(event)
        }
    }

    private mutating func consume() {
        for id in self.unread.keys.sorted() where self.generator.random.chance(0.5) {
            let count = self.unread[id, default: 0]
            self.consume(self.generator.random.chance(0.5) ? count : self.generator.below(count + 1), of: id)
        }
    }

    private mutating func consume(_ count: UInt64, of id: StreamID) {
        self.unread[id, default: 0] -= count
        self.core.consumed(Int(count), of: id)
        self.model.applicationConsumed(count, of: id)
    }

    private mutating func actOnStreamsOfOurs() {
        switch self.generator.below(5) {
        case 0, 1:
            let direction: StreamDirection = self.generator.random.chance(0.5) ? .bidirectional : .unidirectional
            guard let id = try? self.core.openStream(direction) else {
                return self.model.applicationOpened(nil, direction)
            }
            self.model.applicationOpened(id, direction)
            self.ours.append(id)
        case 2, 3:
            guard !self.ours.isEmpty else { return }
            let id = self.ours[Int(self.generator.below(UInt64(self.ours.count)))]
            let count = Int(self.generator.below(700))
            let finish = self.generator.random.chance(0.2)
            guard (try? self.core.write(ByteBuffer(repeating: 5, count: count), to: id, finish: finish)) != nil else {
                return
            }
            self.model.applicationWrote(count, finish: finish, to: id)
        default:
            let id = self.generator.stream(self.model)
            if self.generator.random.chance(0.5) {
                self.core.reset(id, code: 3)
                if id.isWritable(by: self.core.role) { self.model.applicationReset(id) }
            } else {
                self.core.stopSending(id, code: 4)
                self.model.applicationStopped(id)
                self.unread[id] = 0
            }
        }
    }
}
