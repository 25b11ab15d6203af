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
        let pair = try Pair()
        var first: [UInt8] = []
        pair.network = { flight in
            guard flight.toServer else { return nil }
            if first.isEmpty { first = flight.bytes }
            return flight
        }
        try pair.run(for: .milliseconds(20))
        let destination = Array(first[6..<6 + Int(first[5])])
        let rest = first[(6 + destination.count)...]
        let source = Array(rest.dropFirst().prefix(Int(try #require(rest.first))))
        let keys = QUICPacketKeys.initial(destination: destination, sentBy: .client)
        func say(_ frames: QUICFrames, number: UInt64) throws {
            let packet = keys.sealInitial(frames.bytes, number: number, to: destination, from: source)
            try pair.deliver(
                Pair.Flight(
                    arrives: pair.now, toServer: true, bytes: packet, ecn: .notECT, path: pair.clientPath))
            try pair.run(for: .milliseconds(1))
        }
        try say(QUICFrames(pinging: true), number: 20)
        // The first Initial packet of the server answered the first of the client, the second one this.
        var frames = QUICFrames(pinging: true)
        frames.acknowledgement(upTo: 1, range: 1)
        try say(frames, number: 12)
        for late in UInt64(13)..<20 { try say(QUICFrames(pinging: true), number: late) }
        #expect(pair.server.core != nil && pair.server.closeReason == nil)
    }
}
