// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import SimulationSupport
import TernQMuxCore
import TernTesting
import TernTransport
import Testing

/// Who goes first when the carrier is slow.
@Suite("QMux: sharing a slow byte stream")
struct QMuxFairnessTests {
    /// The way takes 5 ms; what the pipe holds unsent, one more record and the message itself take their time at the
    /// pipe's rate; nothing else may come before it.
    @Test("A message passes megabytes of background, but for what the socket holds unsent", arguments: [4096, 16_384])
    func urgency(unsentMark: Int) throws {
        let rate = 1_000_000
        let pair = self.slowPair(rate: rate, unsentMark: unsentMark)
        let background = try #require(try pair.client.openStream(.unidirectional))
        pair.client.setPriority(.background, of: background)
        _ = try pair.client.write(ByteBuffer(repeating: 1, count: 4 << 20), to: background, finish: true)
        var received: [StreamID: Int] = [:]
        pair.run(for: .seconds(1)) {
            self.listen(to: pair, &received)
            return false
        }
        #expect(received[background, default: 0] > rate / 2)
        for round in 1...20 {
            let urgent = try #require(try pair.client.openStream(.unidirectional))
            pair.client.setPriority(.highest, of: urgent)
            let written = pair.now
            _ = try pair.client.write(ByteBuffer(repeating: 2, count: 1000), to: urgent, finish: true)
            pair.run(for: .seconds(5)) {
                self.listen(to: pair, &received)
                return received[urgent] == 1000
            }
            let bytesBefore = unsentMark + 1100
            let bound = TimeAmount.milliseconds(6) + .nanoseconds(Int64(bytesBefore) * 1_000_000_000 / Int64(rate))
            #expect(pair.now - written <= bound, "round \(round): \(pair.now - written), at most \(bound)")
            pair.run(for: .milliseconds(Int64(round))) {
                self.listen(to: pair, &received)
                return false
            }
        }
        #expect(received[background, default: 0] < 4 << 20)
    }

    @Test("Streams of one urgency share a slow carrier alike")
    func sharing() throws {
        let pair = self.slowPair(rate: 500_000, unsentMark: 16_384)
        let streams = try (0..<3).map { _ in try #require(try pair.client.openStream(.unidirectional)) }
        for stream in streams {
            _ = try pair.client.write(ByteBuffer(repeating: 1, count: 1 << 20), to: stream, finish: true)
        }
        var received: [StreamID: Int] = [:]
        pair.run(for: .seconds(3)) {
            self.listen(to: pair, &received)
            return false
        }
        let counts = streams.map { received[$0, default: 0] }
        #expect((counts.min() ?? 0) > 400_000)
        #expect((counts.max() ?? 0) - (counts.min() ?? 0) <= 2 * 16_384, "\(counts)")
    }

    private func slowPair(rate: Int, unsentMark: Int) -> SimulatedQMuxPair {
        var limits = ConnectionLimits()
        limits.writeHighWatermark = 8 << 20
        let pair = SimulatedQMuxPair(
            up: SimulatedPipe(seed: 1, rate: rate, largestPiece: 1460, unsentMark: unsentMark),
            down: SimulatedPipe(seed: 2), clientLimits: limits)
        pair.run(for: .seconds(1)) { pair.client.isEstablished && pair.server.isEstablished }
        return pair
    }

    private func listen(to pair: SimulatedQMuxPair, _ received: inout [StreamID: Int]) {
        while let fact = pair.server.nextFact() {
            guard case .received(let id, let bytes, _) = fact else { continue }
            received[id, default: 0] += bytes.readableBytes
            pair.server.take(bytes.readableBytes, of: id)
        }
        while pair.client.nextFact() != nil {}
    }
}
