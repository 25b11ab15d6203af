// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import SimulationSupport
import TernQMuxCore
import TernTesting
import TernTransport
import Testing

@Suite("QMux on simulated byte streams")
struct QMuxSimulationTests {
    @Test("every byte, end and code arrives, however the stream is cut", arguments: Seeds.chosen(12))
    func everything(seed: UInt64) {
        let scenario = Scenario(seed: seed)
        let failures = Simulation.runQMux(scenario)
        #expect(failures.isEmpty, Seeds.repetition(seed, "QMuxSimulationTests"))
        if !failures.isEmpty { Issue.record("\(failures.joined(separator: "\n"))\n\(scenario)") }
    }
}

extension QMuxSimulationTests {
    @Test("Cut behind every byte, each end gets a prefix and one end of the connection", arguments: [1] as [UInt64])
    func cuts(seed: UInt64) throws {
        let whole = try self.exchange(seed: seed, cut: nil)
        #expect(whole.ended == [.client: .application, .server: .application])
        #expect(whole.received == [.client: 300, .server: 700])
        for position in 0..<whole.written {
            let cut = try self.exchange(seed: seed, cut: position)
            #expect(cut.failures.isEmpty, "cut behind \(position): \(cut.failures)")
            #expect(cut.isOver, "cut behind \(position): \(cut.ended)")
        }
    }

    struct Outcome {
        var received: [ConnectionRole: Int] = [:]
        var ended: [ConnectionRole: TransportError.Code] = [:]
        var failures: [String] = []
        var written = 0
        var isOver = false
    }

    /// The client sends 700 bytes and gets 300; then it closes.
    private func exchange(seed: UInt64, cut: Int?) throws -> Outcome {
        var up = SimulatedPipe(seed: seed, jitter: .milliseconds(2), largestPiece: 50)
        if let cut { up.cut(after: cut) }
        var limits = ConnectionLimits()
        limits.idleTimeout = .seconds(5)
        let pair = SimulatedQMuxPair(
            up: up, down: SimulatedPipe(seed: seed + 100, largestPiece: 70), clientLimits: limits,
            serverLimits: limits)
        var outcome = Outcome()
        var finished = 0
        func listen(_ core: QMuxConnectionCore) {
            while let fact = core.nextFact() {
                if outcome.ended[core.role] != nil { outcome.failures.append("\(fact) after the end") }
                switch fact {
                case .received(let id, let bytes, let isFinished):
                    let offset = outcome.received[core.role, default: 0]
                    let expected = Content.bytes(of: id, from: core.role.peer, at: offset, count: bytes.readableBytes)
                    if bytes != expected { outcome.failures.append("other bytes at \(offset)") }
                    outcome.received[core.role, default: 0] += bytes.readableBytes
                    core.take(bytes.readableBytes, of: id)
                    if isFinished { finished += 1 }
                    if isFinished, core.role == .server {
                        _ = try? core.write(
                            Content.bytes(of: id, from: .server, at: 0, count: 300), to: id, finish: true)
                    }
                case .ended(let reason): outcome.ended[core.role] = reason.code
                default: break
                }
            }
        }
        pair.run(for: .seconds(1)) { pair.client.isEstablished }
        if let id = try? pair.client.openStream(.bidirectional) {
            _ = try pair.client.write(Content.bytes(of: id, from: .client, at: 0, count: 700), to: id, finish: true)
        }
        pair.run(for: .seconds(1)) {
            listen(pair.client)
            listen(pair.server)
            return finished == 2
        }
        pair.client.close(code: 0, reason: "", now: pair.now)
        pair.run(for: .seconds(30)) {
            listen(pair.client)
            listen(pair.server)
            return pair.client.carrierDemand == .close && pair.server.carrierDemand == .close
        }
        outcome.written = pair.up.written
        outcome.isOver =
            outcome.ended[.client] != nil && outcome.ended[.server] != nil && pair.client.carrierDemand == .close
            && pair.server.carrierDemand == .close
        return outcome
    }
}
