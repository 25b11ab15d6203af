// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import SimulationSupport
import TernQUICCore
import TernTesting
import TernTransport
import Testing

/// What QUIC calls delivered, where a third of all packets is lost.
@Suite("Delivery on simulated networks")
struct DeliverySimulationTests {
    /// The end leaves with the last bytes, or alone and perhaps behind bytes that are lost too: then both are sent again in one frame.
    @Test("What was delivered is at the other end, and who waits is always answered", arguments: Seeds.chosen(40))
    func quic(seed: UInt64) throws {
        let pair = try SimulatedQUICPair(seed: seed)
        var random = SeededRandom(seed: seed)
        var received = 0
        var isFinished = false
        func drain() {
            while pair.client.nextEvent() != nil {}
            while let event = pair.server?.nextEvent() {
                guard case .streamReceived(let stream, let bytes, let finished) = event else { continue }
                received += bytes.readableBytes
                isFinished = isFinished || finished
                pair.server?.consumed(bytes.readableBytes, of: stream)
            }
        }
        let isConnected = try pair.run(for: .seconds(5)) {
            drain()
            return pair.client.isConfirmed
        }
        try #require(isConnected)
        pair.network.outbound.loss = 0.35
        pair.network.inbound.loss = 0.35

        let count = 1 + Int(random.next() % 4000)
        let stream = try #require(try pair.client.openStream(.bidirectional))
        let isEndAlone = random.chance(0.7)
        _ = try pair.client.write(ByteBuffer(repeating: 7, count: count), to: stream, finish: !isEndAlone)
        if isEndAlone {
            _ = try pair.run(for: random.amount(upTo: .milliseconds(12))) {
                drain()
                return false
            }
            _ = try pair.client.write(ByteBuffer(), to: stream, finish: true)
        }
        pair.client.watchDelivery(of: stream, tag: 1)
        pair.client.watchDelivery(of: nil, tag: 2)
        var answers: [DeliveryWatches.Answer] = []
        let isAnswered = try pair.run(for: .seconds(60)) {
            drain()
            answers += pair.client.takeDeliveryAnswers()
            return answers.count == 2
        }
        #expect(isAnswered && answers.allSatisfy { $0.error == nil }, Seeds.repetition(seed, "DeliverySimulationTests"))
        #expect(received == count && isFinished, Seeds.repetition(seed, "DeliverySimulationTests"))
    }
}
