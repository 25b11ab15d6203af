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
    /// Its handshake is honest; then it speaks for itself and hears nothing.
    final class Attack {
        let pair: Pair
        let server: QUICConnectionCore
        private let keys: QUICPacketKeys
        private let serversKeys: QUICPacketKeys?
        private var largestHeard: UInt64 = 0
        private let destination: [UInt8]
        private var number: UInt64 = 1000
        private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 16)

        init(serverLimits: ConnectionLimits = ConnectionLimits(), growsWindows: Bool = true) throws {
            var session: TLSSession?
            let pair = try Pair(
                serverLimits: serverLimits,
                makeServerSession: {
                    let made = try Sessions.server(protocols: ["test/1"])
                    TLSSecretLog.watch(made)
                    session = made
                    return made
                }, growsWindows: growsWindows)
            try pair.establish()
            try pair.run(for: .seconds(1))
            self.pair = pair
            self.server = try #require(pair.server.core)
            self.keys = try #require(session.flatMap { TLSSecretLog.keys(of: $0, sentBy: .client) })
            self.serversKeys = session.flatMap { TLSSecretLog.keys(of: $0, sentBy: .server) }
            let id = self.server.native.sourceConnectionID
            self.destination = (0..<id.count).map { id[$0] }
        }

        deinit {
            self.buffer.deallocate()
        }

        /// The number of the latest packet that the server sent.
        var heard: UInt64 { self.largestHeard }

        /// Says something, from a port of its host.
        func say(_ frames: QUICFrames, port: Int = 40_000, from host: String = "192.0.2.1") throws {
            try self.tell(frames, port: port, from: host)
            self.hear()
            self.pair.server.drain()
        }

        /// Says something in the middle of a turn: the server writes nothing yet.
        func tell(_ frames: QUICFrames, port: Int = 40_000, from host: String = "192.0.2.1") throws {
            self.number += 1
            let packet = self.keys.seal(frames.bytes, number: self.number, to: self.destination)
            let path = QUICPath(
                local: self.pair.serverPath.local, remote: try SocketAddress(ipAddress: host, port: port))
            packet.withUnsafeBytes { self.server.receive($0, path: path, ecn: .notECT, now: self.pair.now) }
            self.pair.server.drain()
        }

        /// Time passes, and the server may write nothing, as where the address that it would write to is not validated.
        func waitInSilence(_ time: TimeAmount) {
            let end = self.pair.now + time
            while let deadline = self.server.nextDeadline, deadline <= end {
                self.pair.now = max(self.pair.now + .milliseconds(1), deadline)
                self.server.deadlineReached(now: self.pair.now)
                self.pair.server.drain()
                if self.pair.now >= end { break }
            }
            self.pair.now = max(self.pair.now, end)
        }

        /// Takes what the server sends.
        func hear() {
            while let transmit = self.server.nextTransmit(into: self.buffer, now: self.pair.now) {
                for start in stride(from: 0, to: transmit.byteCount, by: transmit.segmentSize) {
                    let packet = Array(self.buffer[start..<min(start + transmit.segmentSize, transmit.byteCount)])
                    let opened = self.serversKeys?.open(
                        packet, connectionIDSize: QUICConnectionID.clientLength, largest: self.largestHeard)
                    if let opened { self.largestHeard = max(self.largestHeard, opened.number) }
                }
            }
        }

        /// Acknowledges all of it.
        func acknowledge(in frames: inout QUICFrames) {
            guard self.largestHeard > 0 else { return }
            frames.acknowledgement(upTo: self.largestHeard, range: self.largestHeard)
        }

        /// Time passes for the server alone.
        func wait(_ time: TimeAmount) {
            let end = self.pair.now + time
            while let deadline = self.server.nextDeadline, deadline <= end {
                self.pair.now = max(self.pair.now, deadline)
                self.server.deadlineReached(now: self.pair.now)
                self.hear()
                self.pair.server.drain()
            }
            self.pair.now = max(self.pair.now, end)
        }
    }

    @Test("Sixteen retired connection IDs are not acknowledged, and the client moves", arguments: [false, true])
    func retiresAndMoves(probes: Bool) throws {
        let attack = try Attack()
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
        #expect(attack.pair.server.closeReason == nil || attack.pair.server.closeReason?.code == .transport)
    }

    /// ngtcp2 gives a packet up by time when a later one was acknowledged (RFC 9002, section 6.1.2), and forgets it some time later.
    @Test(
        "Acknowledgements of retirements come when the packets are given up",
        arguments: [20, 200, 700, 3000] as [Int64], [false, true])
    func acknowledgesTooLate(milliseconds: Int64, waitsBefore: Bool) throws {
        let attack = try Attack()
        let stream = try #require(try attack.server.openStream(.unidirectional))
        let size = QUICConnectionID.clientLength
        try attack.say(QUICFrames(pinging: true))
        let before = attack.heard
        var frames = QUICFrames()
        frames.newConnectionID(10, retirePriorTo: 10, size: size)
        try attack.say(frames)
        let retiring = attack.heard
        try #require(retiring > before)
        // Something later that is acknowledged; the rest does time, which passes before it or behind it.
        _ = try attack.server.write(ByteBuffer(bytes: pattern(10)), to: stream, finish: false)
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
        #expect(attack.pair.server.closeReason.map { $0.code == .transport || $0.code == .idleTimeout } ?? true)
    }

    @Test("A client moves on and on and acknowledges nothing", arguments: [1, 2, 3] as [UInt64])
    func movesWithoutEnd(seed: UInt64) throws {
        let attack = try Attack()
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
            if attack.pair.server.closeReason != nil { break }
        }
        #expect(attack.pair.server.closeReason.map { $0.code == .transport || $0.code == .idleTimeout } ?? true)
    }
}
