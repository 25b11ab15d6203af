// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import SimulationSupport
import TernTesting
import TernTransport
import Testing

@testable import TernQUICCore

@Suite("Fuzzing: QUIC")
struct QUICFuzzTests {
    private static func captured(seed: UInt64) throws -> [[UInt8]] {
        let pair = try SimulatedQUICPair(seed: seed)
        var datagrams: [[UInt8]] = []
        pair.onDatagram = { datagrams.append(Array($0.bytes.readableBytesView)) }
        try pair.run(for: .seconds(1)) { pair.client.isConfirmed }
        return datagrams
    }

    @Test("Datagrams to a socket: sorted, refused or dropped, and a stateless reset is shorter than its cause")
    func classify() throws {
        let pair = try SimulatedQUICPair(seed: 1)
        var corpus = try Corpus.load("quic-datagrams")
        corpus += try Self.captured(seed: 1)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1500, alignment: 16)
        defer { buffer.deallocate() }
        Effort.spend(8000) { mutator, seed in
            let bytes = mutator.mutate(mutator.pick(corpus), with: corpus)
            bytes.withUnsafeBytes { datagram in
                if case .versionNegotiation(let reply) = pair.endpoint.classify(datagram) {
                    if reply.readableBytes > 3 * bytes.count {
                        Issue.record("TERN_FUZZ_SEED=\(seed): an answer of \(reply.readableBytes) to \(bytes.count)")
                    }
                }
                let count = pair.endpoint.statelessReset(for: datagram, into: buffer)
                if count != 0, count >= bytes.count {
                    Issue.record("TERN_FUZZ_SEED=\(seed): a reset of \(count) for \(bytes.count)")
                }
            }
        }
    }

    /// Changed copies run ahead of the packets that they were made from. Packets are authenticated, so the connection
    /// never ends by them; only before the first packet of the server may a Version Negotiation packet be believed.
    @Test("Real packets, changed, at every moment of a connection")
    func livePackets() throws {
        try Effort.spend(25) { mutator, seed in
            let pair = try SimulatedQUICPair(seed: seed)
            var source = mutator
            var copies: [SimulatedDatagram] = []
            var seen: [[UInt8]] = []
            pair.onDatagram = { datagram in
                let bytes = Array(datagram.bytes.readableBytesView)
                if seen.count < 40 { seen.append(bytes) }
                for _ in 0..<6 {
                    var copy = datagram
                    copy.bytes = ByteBuffer(bytes: source.mutate(bytes, with: seen))
                    if copy.bytes != datagram.bytes { copies.append(copy) }
                }
            }
            func disturb() throws {
                while let copy = copies.popLast() { try pair.deliver(copy) }
            }
            let stream = try self.establish(pair, disturb)
            guard let stream else { return }
            let sent = Content.bytes(of: stream, from: .client, at: 0, count: 60_000)
            _ = try pair.client.write(sent, to: stream, finish: true)
            var received = ByteBuffer()
            var isFinished = false
            try pair.run(for: .seconds(60)) {
                try? disturb()
                while pair.client.nextFact() != nil {}
                while let fact = pair.server?.nextFact() {
                    guard case .received(let id, let bytes, let finished) = fact else { continue }
                    received.writeImmutableBuffer(bytes)
                    pair.server?.take(bytes.readableBytes, of: id)
                    isFinished = finished
                }
                return isFinished
            }
            if !isFinished || received != sent {
                Issue.record("TERN_FUZZ_SEED=\(seed): \(received.readableBytes) bytes arrived")
            }
        }
    }

    private func establish(_ pair: SimulatedQUICPair, _ disturb: () throws -> Void) throws -> StreamID? {
        var ending: TransportError?
        let isReady = try pair.run(for: .seconds(20)) {
            try? disturb()
            while let fact = pair.client.nextFact() { if case .ended(let reason) = fact { ending = reason } }
            while pair.server?.nextFact() != nil {}
            return ending != nil || pair.client.isConfirmed
        }
        if let ending {
            #expect(ending.code == .handshakeFailed || ending.code == .timedOut, "\(ending)")
            return nil
        }
        #expect(isReady)
        return try pair.client.openStream(.unidirectional)
    }

    @Test("Address tokens: none that was changed proves an address")
    func tokens() throws {
        let tokens = QUICAddressTokens(
            secret: QUICResetSecret(bytes: Array(repeating: 3, count: 32)), lifetime: .hours(1))
        let remote = try SocketAddress(ipAddress: "192.0.2.7", port: 4000)
        let now = TimeAmount.hours(400_000)
        let real = tokens.token(for: remote, wallTime: now)
        var initial = QUICInitial(
            version: 1, destinationConnectionID: QUICConnectionID(Array(0..<8)),
            sourceConnectionID: QUICConnectionID(Array(8..<16)))
        initial.token = real
        #expect(tokens.evidence(in: initial, from: remote, wallTime: now) == .proven(.token))
        Effort.spend(4000) { mutator, seed in
            initial.token = mutator.mutate(real, with: [real])
            guard initial.token != real else { return }
            if case .proven = tokens.evidence(in: initial, from: remote, wallTime: now) {
                Issue.record("TERN_FUZZ_SEED=\(seed): \(Corpus.hexadecimal(initial.token)) proves an address")
            }
        }
    }
}
