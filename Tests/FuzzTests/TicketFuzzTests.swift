// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import SimulationSupport
import TernTLS
import TernTesting
import TernTransport
import Testing

@testable import TernQUICCore

/// What a client keeps between connections: GnuTLS's packed session with the server's ticket in it, and the transport
/// parameters under which 0-RTT data may be sent. GnuTLS believes the lengths of what it packed, so only that is changed
/// which came over the network.
@Suite("Fuzzing: tickets")
struct TicketFuzzTests {
    private static let request = ByteBuffer(string: "what may be asked twice")
    private static let stream = StreamID(rawValue: 0)

    private struct Outcome {
        var received = ByteBuffer()
        var isFinished = false
        var ending: TransportError?
        var isResumed = false
        var early = EarlyDataOutcome.notOffered
    }

    private func connect(_ memory: SimulatedMemory, seed: UInt64) throws -> Outcome {
        let pair = try memory.pair(seed: seed, replayable: [ReplayableStream(Self.request)])
        var outcome = Outcome()
        func listen() {
            while let fact = pair.client.nextFact() { if case .ended(let reason) = fact { outcome.ending = reason } }
            while let fact = pair.server?.nextFact() {
                guard case .received(Self.stream, let bytes, let finished) = fact else { continue }
                outcome.received.writeImmutableBuffer(bytes)
                outcome.isFinished = finished
            }
        }
        try pair.run(for: .seconds(20)) {
            listen()
            return outcome.ending != nil || (outcome.isFinished && pair.client.isConfirmed)
        }
        // Tickets come after the handshake.
        try pair.run(for: .milliseconds(100)) {
            listen()
            return false
        }
        outcome.isResumed = pair.server?.tls.isResumed == true
        outcome.early = pair.client.earlyData
        return outcome
    }

    /// Leaves a ticket in the memory.
    private func refill(_ memory: SimulatedMemory, seed: UInt64) throws {
        memory.cache.removeAll()
        let outcome = try self.connect(memory, seed: seed)
        #expect(outcome.received == Self.request)
        try #require(memory.cache.count > 0)
    }

    /// The handshake is a full one then, or ends with a reason; the request arrives whole and once.
    private func judge(_ outcome: Outcome, seed: UInt64) {
        if let ending = outcome.ending {
            let known: [TransportError.Code] = [.handshakeFailed, .timedOut, .transport]
            if !known.contains(ending.code) { Issue.record("TERN_FUZZ_SEED=\(seed): \(ending)") }
        } else if outcome.received != Self.request || !outcome.isFinished {
            Issue.record("TERN_FUZZ_SEED=\(seed): \(outcome.received.readableBytes) bytes arrived")
        }
    }

    @Test("Tickets, changed where a server or an attacker decides: the server takes none that it did not make")
    func tickets() throws {
        let memory = try SimulatedMemory()
        var (resumed, refused) = (0, 0)
        var earlier: [[UInt8]] = []
        try Effort.spend(60) { mutator, seed in
            try self.refill(memory, seed: seed)
            var changes = PackedTicket.Part.none
            memory.cache.replaceAll { session, state in
                guard var ticket = PackedTicket(session) else { return (session, state) }
                if earlier.count < 20 { earlier.append(ticket.ticket) }
                changes = ticket.change(&mutator, earlier)
                return (ticket.packed, state)
            }
            let outcome = try self.connect(memory, seed: seed)
            self.judge(outcome, seed: seed)
            if outcome.isResumed { resumed += 1 } else { refused += 1 }
            switch changes {
            case .none where !outcome.isResumed:
                Issue.record("TERN_FUZZ_SEED=\(seed): an unchanged ticket was refused")
            case .ticket where outcome.isResumed, .secret where outcome.isResumed:
                Issue.record("TERN_FUZZ_SEED=\(seed): a changed ticket was taken")
            default: break
            }
        }
        #expect(resumed > 0)
        #expect(refused > 0, "or GnuTLS packs its sessions in another way now")
    }

    @Test("Remembered transport parameters, changed: more than the server gives is an error, less is kept to")
    func parameters() throws {
        let memory = try SimulatedMemory()
        let corpus = try Corpus.load("remembered-parameters")
        var accepted = 0
        try Effort.spend(60) { mutator, seed in
            try self.refill(memory, seed: seed)
            memory.cache.replaceAll { session, state in
                (
                    session,
                    mutator.mutate(mutator.random.chance(0.5) ? state : mutator.pick(corpus), with: corpus + [state])
                )
            }
            let outcome = try self.connect(memory, seed: seed)
            self.judge(outcome, seed: seed)
            if outcome.early == .accepted { accepted += 1 }
        }
        #expect(accepted > 0)
    }
}

/// The part of a session that GnuTLS 3.7 and 3.8 packed which holds a TLS 1.3 ticket, at its end: sizes of four bytes around
/// lifetime, age, nonce, ticket, secret, a hash, the time of arrival and the limit of early data.
private struct PackedTicket {
    enum Part { case none, times, nonce, ticket, tail, secret }

    private var before: [UInt8]
    private var times: [UInt8]
    private var nonce: [UInt8]
    var ticket: [UInt8]
    private var secret: [UInt8]
    private var end: [UInt8]

    private static let endSize = 16

    init?(_ session: [UInt8]) {
        func number(_ at: Int) -> Int { session[at..<(at + 4)].reduce(0) { $0 << 8 | Int($1) } }
        // The size that tells exactly what is left.
        let sizes = stride(from: session.count - 64, to: 16, by: -1)
        guard let start = sizes.first(where: { number($0) == session.count - $0 - 4 }) else { return nil }
        let nonceStart = start + 13
        let nonceSize = Int(session[start + 12])
        let ticketStart = nonceStart + nonceSize + 4
        guard ticketStart < session.count - Self.endSize else { return nil }
        let ticketEnd = ticketStart + number(ticketStart - 4)
        guard ticketEnd + 1 < session.count - Self.endSize else { return nil }
        let secretEnd = ticketEnd + 1 + Int(session[ticketEnd])
        guard secretEnd == session.count - Self.endSize else { return nil }
        self.before = Array(session[..<start])
        self.times = Array(session[(start + 4)..<(start + 12)])
        self.nonce = Array(session[nonceStart..<(nonceStart + nonceSize)])
        self.ticket = Array(session[ticketStart..<ticketEnd])
        self.secret = Array(session[(ticketEnd + 1)..<secretEnd])
        self.end = Array(session[secretEnd...])
    }

    var packed: [UInt8] {
        func number(_ value: Int) -> [UInt8] { (0..<4).reversed().map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
        var section = self.times + [UInt8(self.nonce.count)] + self.nonce + number(self.ticket.count) + self.ticket
        section += [UInt8(self.secret.count)] + self.secret + self.end
        return self.before + number(section.count) + section
    }

    /// - Returns: what differs now.
    mutating func change(_ mutator: inout Mutator, _ others: [[UInt8]]) -> Part {
        let before = self
        switch mutator.random.next() % 8 {
        case 0: return .none
        case 1:
            for index in self.times.indices { self.times[index] = UInt8(truncatingIfNeeded: mutator.random.next()) }
            return .times
        case 2:
            self.nonce = Array(mutator.mutate(self.nonce).prefix(255))
            return self.nonce == before.nonce ? .none : .nonce
        case 3:
            self.secret[mutator.below(self.secret.count, &mutator.random)] ^= 1
            return .secret
        default:
            // An identity has one byte at least (RFC 8446, section 4.2.11).
            self.ticket = Array(mutator.mutate(self.ticket, with: others).prefix(60_000))
            if self.ticket.isEmpty { self.ticket = [0] }
            if self.ticket == before.ticket { return .none }
            // GnuTLS takes no notice of what follows a ticket. Nobody but the client could add it: the binder covers it.
            return self.ticket.starts(with: before.ticket) ? .tail : .ticket
        }
    }
}
