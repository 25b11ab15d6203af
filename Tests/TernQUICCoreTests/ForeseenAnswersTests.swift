// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import QUICPacketSupport
import TernTransport
import Testing

@testable import TernQUICCore

/// Packets that acknowledge the answer to a later one: no honest peer can write them, and ngtcp2 0.12 does not survive them.
@Suite("A hostile client that acknowledges what it cannot have seen")
struct ForeseenAnswersTests {
    @Test("after the handshake, and then the numbers between come")
    func afterTheHandshake() throws {
        let attack = try KeyedPeer()
        try attack.say(QUICFrames(pinging: true))
        let number = attack.number
        try attack.say(QUICFrames(pinging: true), number: number + 9)
        var frames = QUICFrames(pinging: true)
        attack.acknowledge(in: &frames)
        try attack.say(frames, number: number + 3)
        for late in number + 4..<number + 9 { try attack.say(QUICFrames(pinging: true), number: late) }
        #expect(attack.end.closeReason == nil)
    }

    /// Everybody has the keys of Initial packets.
    @Test("with Initial packets alone")
    func withInitialPackets() throws {
        let stranger = try Stranger()
        try stranger.say(QUICFrames(pinging: true), number: 20)
        // The first Initial packet of the server answered the first of the client, the second one this.
        var frames = QUICFrames(pinging: true)
        frames.acknowledgement(upTo: 1, range: 1)
        try stranger.say(frames, number: 12)
        for late in UInt64(13)..<20 { try stranger.say(QUICFrames(pinging: true), number: late) }
        #expect(stranger.pair.server.core != nil && stranger.pair.server.closeReason == nil)
    }

    @Test("Initial packets at random", arguments: 1...40 as ClosedRange<UInt64>)
    func atRandom(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        func below(_ bound: UInt64) -> UInt64 { random.next() % bound }
        let stranger = try Stranger()
        var number: UInt64 = 4
        var written: UInt64 = 1
        for _ in 0..<60 where stranger.pair.server.closeReason == nil {
            var frames = QUICFrames()
            for _ in 0...below(2) {
                switch below(12) {
                case 0..<5: frames.ping()
                case 5..<9:
                    let largest = below(written + 1)
                    frames.acknowledgement(upTo: largest, range: below(largest + 1))
                case 9: frames.frame(0x06, 2000 + below(300), 0)
                case 10: if below(20) == 0 { frames.close(code: 1) }
                default: if below(20) == 0 { frames.newConnectionID(below(3), retirePriorTo: 0) }
                }
            }
            if below(3) == 0 { number += 1 + below(12) }
            try stranger.say(frames, number: number - min(number, below(14)))
            if frames.bytes.contains(0x01) { written = min(written + 1, 6) }
            if below(8) == 0 { try stranger.pair.run(for: .milliseconds(Int64(below(400)))) }
        }
        #expect(stranger.pair.server.closeReason.map { $0.code == .transport || $0.code == .idleTimeout } ?? true)
    }
}

/// Sends Initial packets to a server that has had a client's first one, and hears nothing.
private final class Stranger {
    let pair: Pair
    private let keys: QUICPacketKeys
    private let destination: [UInt8]
    private let source: [UInt8]

    init() throws {
        let pair = try Pair()
        var first: [UInt8] = []
        pair.network = { flight in
            guard flight.toServer else { return nil }
            if first.isEmpty { first = flight.bytes }
            return flight
        }
        try pair.run(for: .milliseconds(20))
        pair.network = { _ in nil }
        self.pair = pair
        self.destination = Array(first[6..<6 + Int(first[5])])
        let rest = first[(6 + self.destination.count)...]
        self.source = Array(rest.dropFirst().prefix(Int(try #require(rest.first))))
        self.keys = .initial(destination: self.destination, sentBy: .client)
    }

    func say(_ frames: QUICFrames, number: UInt64) throws {
        let packet = self.keys.sealInitial(frames.bytes, number: number, to: self.destination, from: self.source)
        try self.pair.deliver(
            Pair.Flight(
                arrives: self.pair.now, toServer: true, bytes: packet, ecn: .notECT, path: self.pair.clientPath))
        try self.pair.run(for: .milliseconds(1))
    }
}
