// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import QUICPacketSupport
import TernTLS
import TernTransport
import Testing

@testable import TernQUICCore

/// A client that keeps to no rule, over keys that it has by right.
@Suite("A hostile client")
struct HostileClientTests {
    @Test("Sixteen retired connection IDs are not acknowledged, and the client moves", arguments: [false, true])
    func retiresAndMoves(probes: Bool) throws {
        let attack = try KeyedPeer()
        var frames = QUICFrames()
        frames.newConnectionID(10, retirePriorTo: 10)
        try attack.say(frames)
        frames = QUICFrames()
        frames.newConnectionID(20, retirePriorTo: 20)
        try attack.say(frames)
        for number in UInt64(11)...17 {
            frames = QUICFrames()
            frames.newConnectionID(number, retirePriorTo: 10)
            try attack.say(frames)
        }
        frames = QUICFrames()
        for number in UInt64(21)...26 { frames.newConnectionID(number, retirePriorTo: 20) }
        try attack.say(frames)
        for port in 50_000..<50_012 {
            frames = QUICFrames()
            if probes { frames.pathChallenge(UInt8(port - 50_000)) } else { frames.ping() }
            try attack.say(frames, port: port)
        }
        // It answers still, or has closed in order.
        #expect(attack.end.closeReason == nil || attack.end.closeReason?.code == .transport)
    }

    /// ngtcp2 gives a packet up by time when a later one was acknowledged (RFC 9002, section 6.1.2), and forgets it some time later.
    @Test(
        "Acknowledgements of retirements come when the packets are given up",
        arguments: [20, 200, 700, 3000] as [Int64], [false, true])
    func acknowledgesTooLate(milliseconds: Int64, waitsBefore: Bool) throws {
        let attack = try KeyedPeer()
        let stream = try #require(try attack.core.openStream(.unidirectional))
        let size = QUICConnectionID.clientLength
        try attack.say(QUICFrames(pinging: true))
        let before = attack.heard
        var frames = QUICFrames()
        frames.newConnectionID(10, retirePriorTo: 10, size: size)
        try attack.say(frames)
        let retiring = attack.heard
        try #require(retiring > before)
        // Something later that is acknowledged; the rest does time, which passes before it or behind it.
        _ = try attack.core.write(ByteBuffer(bytes: pattern(10)), to: stream, finish: false)
        attack.hear()
        #expect(attack.heard == retiring + 1)
        var later = QUICFrames()
        later.acknowledgement(upTo: retiring + 1, range: 0)
        if waitsBefore { attack.waitInSilence(.milliseconds(milliseconds)) }
        try attack.tell(later)
        if !waitsBefore { attack.waitInSilence(.milliseconds(milliseconds)) }
        var named = QUICFrames()
        named.acknowledgement(upTo: retiring, range: retiring - before - 1)
        try attack.tell(named)
        attack.hear()
        // Eight were acknowledged, or not; eight more are retired, and a move does the same to one more.
        frames = QUICFrames()
        for number in UInt64(11)...17 { frames.newConnectionID(number, retirePriorTo: 10, size: size) }
        frames.newConnectionID(20, retirePriorTo: 20, size: size)
        try attack.say(frames)
        frames = QUICFrames()
        for number in UInt64(21)...26 { frames.newConnectionID(number, retirePriorTo: 20, size: size) }
        try attack.say(frames)
        for port in 50_000..<50_012 {
            frames = QUICFrames()
            frames.ping()
            try attack.say(frames, port: port)
        }
        #expect(attack.end.closeReason.map { $0.code == .transport || $0.code == .idleTimeout } ?? true)
    }

    @Test("A client moves on and on and acknowledges nothing", arguments: [1, 2, 3] as [UInt64])
    func movesWithoutEnd(seed: UInt64) throws {
        let attack = try KeyedPeer()
        var random = SeededGenerator(seed: seed)
        var number: UInt64 = 8
        for move in 0..<200 {
            var frames = QUICFrames()
            let before = random.next() % 4 == 0 ? number &- random.next() % 4 : 0
            frames.newConnectionID(number, retirePriorTo: max(before, number > 7 ? number - 7 : 0))
            if random.next() % 2 == 0 { frames.ping() } else { frames.pathChallenge(UInt8(move)) }
            number += 1
            let host = random.next() % 2 == 0 ? "192.0.2.1" : "192.0.2.2"
            try attack.say(frames, port: 50_000 + Int(random.next() % 40), from: host)
            attack.wait(.milliseconds(Int64(random.next() % 3 == 0 ? 700 : 3)))
            if attack.end.closeReason != nil { break }
        }
        #expect(attack.end.closeReason.map { $0.code == .transport || $0.code == .idleTimeout } ?? true)
    }
}
