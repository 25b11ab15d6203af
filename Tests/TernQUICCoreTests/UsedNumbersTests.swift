// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import QUICPacketSupport
import TernTransport
import Testing

@testable import TernQUICCore

/// ngtcp2 decrypts a packet before it looks whether its number came already; who has the keys seals other frames under it.
@Suite("A hostile client that uses packet numbers again")
struct UsedNumbersTests {
    private static let size = QUICConnectionID.clientLength

    private static func newID(_ number: UInt64, retirePriorTo: UInt64 = 0) -> QUICFrames {
        var frames = QUICFrames()
        frames.newConnectionID(number, retirePriorTo: retirePriorTo, size: self.size)
        return frames
    }

    private static func expectOrder(_ attack: KeyedPeer) {
        #expect(
            attack.end.closeReason.map { $0.code == .transport || $0.code == .idleTimeout } ?? true,
            "\(attack.end.closeReason as Any)")
    }

    /// The honest client gave eight connection IDs, 0 to 7; they are retired in one packet, and this is acknowledged.
    private static func begin(_ attack: KeyedPeer, with number: UInt64) throws {
        try attack.say(QUICFrames(pinging: true))
        try attack.say(Self.newID(number, retirePriorTo: number))
        var frames = QUICFrames()
        attack.acknowledge(in: &frames)
        try attack.say(frames)
    }

    /// Six connection IDs to move with, and moves, which ngtcp2 has no room for if nothing was acknowledged.
    private static func moveAway(_ attack: KeyedPeer, after number: UInt64) throws {
        var frames = QUICFrames()
        for next in number + 1...number + 6 {
            frames.newConnectionID(next, retirePriorTo: number, size: Self.size)
        }
        try attack.say(frames)
        for port in 50_000..<50_012 { try attack.say(QUICFrames(pinging: true), port: port) }
    }

    @Test("Retirements are acknowledged under used numbers", arguments: [false, true])
    func acknowledgements(inLaterPhase: Bool) throws {
        let attack = try KeyedPeer()
        try Self.begin(attack, with: 9)
        for step in UInt64(1)...16 {
            let before = attack.heard
            try attack.say(Self.newID(10 * step, retirePriorTo: 10 * step))
            var frames = QUICFrames()
            let used = attack.number
            if inLaterPhase, step % 3 == 0 {
                attack.updateKeys()
                try attack.say(QUICFrames(pinging: true))
                attack.wait(.seconds(1))
            }
            if attack.heard > before {
                frames.acknowledgement(upTo: attack.heard, range: attack.heard - before - 1)
                try attack.say(frames, number: used)
            }
        }
        try Self.moveAway(attack, after: 160)
        Self.expectOrder(attack)
    }

    /// What the bridge would believe: number 13 is the only one to spare, and then that there is none.
    @Test("Connection IDs are given under used numbers", arguments: [false, true])
    func connectionIDs(answers: Bool) throws {
        let attack = try KeyedPeer()
        let other = try #require(attack.pair.server.issued.last)
        try Self.begin(attack, with: 10)
        try attack.say(Self.newID(13, retirePriorTo: 13), number: attack.number)
        try attack.say(Self.newID(13))
        try attack.say(QUICFrames(pinging: true), port: 50_001)
        for _ in 0..<20 {
            attack.wait(.milliseconds(300))
            try attack.answerChallenge(port: 50_001)
        }
        #expect(attack.core.path.remote.port == 50_001)
        try attack.say(Self.newID(11), port: 50_001)
        try attack.say(Self.newID(12), port: 50_001)
        try attack.say(QUICFrames(pinging: true), port: 50_002)
        try attack.say(QUICFrames(pinging: true), to: other, port: 50_003)
        for _ in 0..<40 {
            attack.wait(.milliseconds(300))
            if answers { try attack.answerChallenge(port: 50_003) }
        }
        Self.expectOrder(attack)
    }

    /// ngtcp2 goes on with the frames behind a CONNECTION_CLOSE, and before 1.10 does not survive this one.
    @Test("A retired connection ID is given again behind CONNECTION_CLOSE", arguments: [0x1c, 0x1d] as [UInt64])
    func behindClose(type: UInt64) throws {
        let attack = try KeyedPeer()
        try attack.say(Self.newID(8, retirePriorTo: 1))
        var frames = QUICFrames()
        if type == 0x1c { frames.frame(type, 0, 0, 0) } else { frames.frame(type, 0, 0) }
        frames.newConnectionID(0, retirePriorTo: 0, size: Self.size)
        try attack.say(frames)
        #expect(attack.end.closeReason != nil)
    }

    /// Each packet alone is allowed; one that retires many and comes from a new address is the last straw.
    @Test(
        "A packet from a new address retires many connection IDs", arguments: 2...14 as ClosedRange<UInt64>,
        [false, true])
    func retiresAndMovesAtOnce(before: UInt64, challenges: Bool) throws {
        let attack = try KeyedPeer()
        try Self.begin(attack, with: 8)
        var number: UInt64 = 9
        for _ in 0..<before {
            try attack.say(Self.newID(number, retirePriorTo: number))
            number += 1
        }
        var frames = QUICFrames()
        for next in number..<number + 7 { frames.newConnectionID(next, retirePriorTo: 0, size: Self.size) }
        try attack.say(frames)
        number += 7
        try attack.say(QUICFrames(pinging: true), port: 50_000)
        for port in 50_001..<50_020 {
            frames = QUICFrames()
            for next in number..<number + 4 { frames.newConnectionID(next, retirePriorTo: number, size: Self.size) }
            if challenges { frames.pathChallenge(UInt8(port - 50_000)) } else { frames.ping() }
            try attack.say(frames, port: port)
            number += 4
            if attack.end.closeReason != nil { break }
        }
        Self.expectOrder(attack)
    }

    @Test("A stream is stopped under a used number")
    func stops() throws {
        let attack = try KeyedPeer()
        let stream = try #require(try attack.core.openStream(.bidirectional))
        _ = try attack.core.write(ByteBuffer(bytes: pattern(10)), to: stream, finish: false)
        attack.hear()
        try attack.say(QUICFrames(pinging: true))
        var frames = QUICFrames()
        frames.stop(stream.rawValue, code: 7)
        try attack.say(frames, number: attack.number)
        #expect(!attack.end.events.contains { if case .streamWasStopped = $0 { true } else { false } })
        try attack.say(frames)
        #expect(attack.end.events.contains { if case .streamWasStopped = $0 { true } else { false } })
    }

    /// A packet that comes late counts, if it is not much too late.
    @Test("Late packets", arguments: [(1, true), (400, true), (600, false), (100_000, false)] as [(UInt64, Bool)])
    func latePackets(by distance: UInt64, counts: Bool) throws {
        let attack = try KeyedPeer()
        let stream = try #require(try attack.core.openStream(.bidirectional))
        _ = try attack.core.write(ByteBuffer(bytes: pattern(10)), to: stream, finish: false)
        attack.hear()
        try attack.say(QUICFrames(pinging: true))
        let number = attack.number
        try attack.say(QUICFrames(pinging: true), number: number + 1 + distance)
        var frames = QUICFrames()
        frames.stop(stream.rawValue, code: 7)
        try attack.say(frames, number: number + 1)
        #expect(counts == attack.end.events.contains { if case .streamWasStopped = $0 { true } else { false } })
    }

    @Test(
        "Numbers again, connection IDs, acknowledgements and moves at random",
        arguments: 1...60 as ClosedRange<UInt64>)
    func atRandom(seed: UInt64) throws {
        try RandomMoves(seed: seed).play(steps: 200)
    }
}

/// What a client says about connection IDs and addresses; half of it under numbers that were used.
private final class RandomMoves {
    private let attack: KeyedPeer
    private var random: SeededGenerator
    private var next: UInt64 = 8
    private var retired: UInt64 = 1
    private var given: [UInt64] = []
    private var port = 40_000

    init(seed: UInt64) throws {
        self.attack = try KeyedPeer()
        self.random = SeededGenerator(seed: seed)
    }

    private func below(_ bound: UInt64) -> UInt64 { self.random.next() % bound }

    func play(steps: Int) throws {
        for _ in 0..<steps where self.attack.end.closeReason == nil {
            let isUsed = self.below(2) == 0
            let number = isUsed ? self.attack.number - self.below(self.below(3) == 0 ? 1 : 8) : nil
            let frames = self.frames(isUsed: isUsed)
            let ids = self.attack.pair.server.issued
            let id = self.below(8) == 0 ? ids[Int(self.below(UInt64(ids.count)))] : nil
            if !isUsed, self.below(3) == 0 { self.port = 50_000 + Int(self.below(40)) }
            try self.attack.say(frames, number: number, to: id, port: self.port)
            if self.below(40) == 0 { self.attack.updateKeys() }
            if self.below(4) == 0 { self.attack.wait(.milliseconds(Int64(self.below(3) == 0 ? 900 : 5))) }
        }
        #expect(
            self.attack.end.closeReason.map { $0.code == .transport || $0.code == .idleTimeout } ?? true,
            "\(self.attack.end.closeReason as Any)")
    }

    private func frames(isUsed: Bool) -> QUICFrames {
        var frames = QUICFrames()
        for _ in 0...self.below(2) {
            switch self.below(isUsed ? 4 : 7) {
            case 0: self.attack.acknowledge(in: &frames)
            case 1: self.appendConnectionID(to: &frames, isUsed: isUsed)
            case 2:
                guard isUsed else { break }
                self.appendConnectionID(to: &frames, isUsed: true)
            case 3, 4:
                guard !isUsed else { break }
                self.appendConnectionID(to: &frames, isUsed: false)
            case 5: frames.pathChallenge(UInt8(self.below(200)))
            default: break
            }
        }
        frames.ping()
        return frames
    }

    private func appendConnectionID(to frames: inout QUICFrames, isUsed: Bool) {
        let size = QUICConnectionID.clientLength
        if isUsed {
            let number = self.next + self.below(4)
            frames.newConnectionID(number, retirePriorTo: number - min(number, self.below(3)), size: size)
            return
        }
        // One that was given and is retired comes again, or the next, so that at most eight are active.
        if self.below(4) == 0, let known = self.given.randomElement(using: &self.random) {
            return frames.newConnectionID(known, retirePriorTo: 0, size: size)
        }
        if self.next - self.retired >= 7 || self.below(3) == 0 { self.retired = self.next - self.below(4) }
        frames.newConnectionID(self.next, retirePriorTo: min(self.retired, self.next), size: size)
        self.given.append(self.next)
        self.next += 1
    }
}
