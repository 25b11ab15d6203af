// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import QUICPacketSupport
import TernTLS
import TernTransport
import Testing

@testable import TernQUICCore

/// A server has its 1-RTT keys when it sends its first flight, so whatever it likes can be in the packets that the client reads
/// together with the end of the handshake, before it wrote a word in answer.
@Suite("A hostile server's first flight")
struct HostileServerTests {
    /// When the client reads the packet.
    enum Moment: CaseIterable {
        /// Before the flight, so that it waits for its keys.
        case before
        /// In the datagram that completes the handshake.
        case coalesced
        /// In the next datagram.
        case after
    }

    /// A pair whose server holds its keys in its hand.
    final class Attack {
        let pair: Pair
        private let session: () -> TLSSession?
        private var number: UInt64 = 1000

        /// - Parameter frames: said in packets of the first flight.
        init(_ moment: Moment, prefers: Bool = false, _ frames: QUICFrames) throws {
            let session = Box()
            self.session = { session.value }
            self.pair = try Pair(
                makeServerSession: {
                    let made = try Sessions.server(protocols: ["test/1"])
                    TLSSecretLog.watch(made)
                    session.value = made
                    return made
                },
                configure: { _, server in
                    guard prefers else { return }
                    server.paths.preferredIPv4Address = try? SocketAddress(ipAddress: "198.51.100.2", port: 4433)
                })
            self.pair.network = { [weak self] flight in
                guard let self, !flight.toServer, self.pair.client.core?.isEstablished == false,
                    let packet = self.packet(frames)
                else { return flight }
                var forged = flight
                forged.bytes = packet
                switch moment {
                case .coalesced:
                    forged.bytes = flight.bytes + packet
                    return forged
                case .before: self.pair.flights += [forged, flight]
                case .after: self.pair.flights += [flight, forged]
                }
                return nil
            }
        }

        private final class Box {
            var value: TLSSession?
        }

        private func packet(_ frames: QUICFrames) -> [UInt8]? {
            guard let session = self.session(), let keys = TLSSecretLog.keys(of: session, sentBy: .server),
                let id = self.pair.client.core?.native.sourceConnectionID
            else { return nil }
            self.number += 1
            return keys.seal(frames.bytes, number: self.number, to: (0..<id.count).map { id[$0] })
        }

        /// Says more to the client, now.
        func say(_ frames: QUICFrames) throws {
            let packet = try #require(self.packet(frames))
            try self.pair.deliver(
                Pair.Flight(arrives: self.pair.now, toServer: false, bytes: packet, ecn: .notECT))
        }
    }

    private func exchangeData(over pair: Pair) throws {
        let id = try #require(try pair.client.core?.openStream(.bidirectional))
        let bytes = pattern(50_000)
        try StreamTests.send(bytes, on: id, from: pair.client)
        #expect(try pair.run(for: .seconds(20), until: { pair.server.finished.contains(id) }))
        #expect(pair.server.received[id] ?? [] == bytes)
    }

    /// The server's own core hears of packets that it never sent, and may end the connection.
    private func expectHonestEnd(of pair: Pair) {
        guard let reason = pair.client.closeReason else { return }
        #expect(reason.code == .transport && reason.initiator == .peer, "\(reason)")
    }

    @Test("HANDSHAKE_DONE before the client's Finished", arguments: Moment.allCases)
    func handshakeDone(moment: Moment) throws {
        var frames = QUICFrames()
        frames.handshakeDone()
        let attack = try Attack(moment, frames)
        try attack.pair.establish()
        try attack.pair.run(for: .seconds(5))
        #expect(attack.pair.client.isEstablished)
        #expect(attack.pair.client.core?.isConfirmed == true)
        self.expectHonestEnd(of: attack.pair)
    }

    @Test("HANDSHAKE_DONE before the client's Finished, and the client closes at once", arguments: Moment.allCases)
    func closes(moment: Moment) throws {
        var frames = QUICFrames()
        frames.handshakeDone()
        let attack = try Attack(moment, frames)
        let client = attack.pair.client
        client.onEvent = { event in
            if case .handshakeCompleted = event { client.core?.close(code: 7, reason: "no") }
        }
        try attack.pair.run(for: .seconds(5), until: { client.core?.isFinished == true })
        #expect(client.closeReason?.code == .application)
        // RFC 9000, section 10.2.3.
        #expect(attack.pair.server.closeReason?.wireCode == TransportErrorCode.applicationError)
    }

    @Test("HANDSHAKE_DONE before the client's Finished, and the client updates its keys", arguments: Moment.allCases)
    func updatesKeys(moment: Moment) throws {
        var frames = QUICFrames()
        frames.handshakeDone()
        let attack = try Attack(moment, frames)
        let client = attack.pair.client
        client.onEvent = { event in
            switch event {
            case .handshakeCompleted, .handshakeConfirmed: try? client.core?.updateKeys(now: attack.pair.now)
            default: break
            }
        }
        try attack.pair.establish()
        try attack.pair.run(for: .seconds(5))
        #expect(client.core?.isConfirmed == true)
        self.expectHonestEnd(of: attack.pair)
    }

    @Test("The first connection ID is retired before its reset token came", arguments: Moment.allCases)
    func retiresTheFirst(moment: Moment) throws {
        var frames = QUICFrames()
        frames.newConnectionID(1, retirePriorTo: 1)
        let attack = try Attack(moment, frames)
        try attack.pair.run(for: .seconds(5), until: { attack.pair.client.closeReason != nil })
        // Its own NEW_CONNECTION_ID says something else of number 1, which the client need not take.
        #expect(attack.pair.client.isEstablished)
        #expect(attack.pair.client.closeReason?.code ?? .transport == .transport)
    }

    @Test("Another connection ID has the number of the preferred address's", arguments: Moment.allCases)
    func namesThePreferredAddressAnew(moment: Moment) throws {
        var frames = QUICFrames()
        frames.newConnectionID(1, retirePriorTo: 0)
        let attack = try Attack(moment, prefers: true, frames)
        try attack.pair.run(for: .seconds(5), until: { attack.pair.client.isEstablished })
        var more = QUICFrames()
        more.newConnectionID(9, retirePriorTo: 9, seed: 100)
        try attack.pair.run(for: .milliseconds(1))
        try attack.say(more)
        try attack.pair.run(for: .seconds(5), until: { attack.pair.client.closeReason != nil })
        #expect(attack.pair.client.closeReason?.code == .transport)
    }

    @Test("A qlog is not written of a preferred address by an ngtcp2 that may not", arguments: [false, true])
    func qlog(prefers: Bool) throws {
        let pair = try Pair(
            qlog: (QlogText(), QlogText()),
            configure: { _, server in
                guard prefers else { return }
                server.paths.preferredIPv4Address = try? SocketAddress(ipAddress: "198.51.100.2", port: 4433)
            })
        try pair.run(for: .seconds(5), until: { pair.client.isEstablished || pair.client.closeReason != nil })
        guard prefers, QUICConnectionCore.keepsEndedStreams else {
            return #expect(pair.client.isEstablished)
        }
        let reason = try #require(pair.client.closeReason)
        #expect(reason.code == .handshakeFailed && reason.message.contains("CVE-2026-40170"), "\(reason)")
    }

    @Test("What an honest server says so early arrives though it is said once", arguments: Moment.allCases)
    func saysSomething(moment: Moment) throws {
        var frames = QUICFrames()
        frames.stream(3, at: 0, pattern(800), finishes: true)
        let attack = try Attack(moment, frames)
        try attack.pair.establish()
        let id = StreamID(rawValue: 3)
        #expect(attack.pair.client.received[id] == pattern(800))
        #expect(attack.pair.client.finished.contains(id))
    }

    @Test("Packets without end, before the client's Finished, cost it what it holds and no more")
    func flood() throws {
        var frames = QUICFrames()
        frames.stream(3, at: 0, pattern(800))
        let attack = try Attack(.before, frames)
        for _ in 0..<10_000 {
            var noise = pattern(1200)
            noise[0] = 0x40
            let id = try #require(attack.pair.client.core?.native.sourceConnectionID)
            for position in 0..<id.count { noise[1 + position] = id[position] }
            try attack.pair.deliver(
                Pair.Flight(arrives: attack.pair.now, toServer: false, bytes: noise, ecn: .notECT))
        }
        #expect((attack.pair.client.core?.native.memory ?? 0) < 400 << 10)
        try attack.pair.establish()
        try self.exchangeData(over: attack.pair)
    }
}
