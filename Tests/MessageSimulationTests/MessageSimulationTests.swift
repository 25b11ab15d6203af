// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import MessageSimulationSupport
import Testing

/// Which schedules run: 1,000, or 10,000 when they are optimised and take a tenth of the time each; or `TERN_MESSAGE_SCHEDULES=N` from
/// `TERN_MESSAGE_FIRST=M` on. Half of them have the model of the server, and half its machines; `TERN_MESSAGE_SERVER=model` or
/// `machines` lets all have one.
enum Schedules {
    static let parts: UInt64 = 8

    private static var usualCount: UInt64 {
        #if DEBUG
        1_000
        #else
        10_000
        #endif
    }

    static var all: Range<UInt64> {
        let environment = ProcessInfo.processInfo.environment
        let count = environment["TERN_MESSAGE_SCHEDULES"].flatMap { UInt64($0) } ?? Self.usualCount
        let first = environment["TERN_MESSAGE_FIRST"].flatMap { UInt64($0) } ?? 1
        return first..<first + count
    }

    static func kind(_ seed: UInt64) -> MessageSimulation.Kind {
        ProcessInfo.processInfo.environment["TERN_MESSAGE_SERVER"].flatMap { MessageSimulation.Kind(rawValue: $0) }
            ?? MessageSimulation.Kind(seed: seed)
    }

    /// Every eighth one.
    static func part(_ number: UInt64) -> StrideTo<UInt64> {
        stride(from: self.all.lowerBound + number, to: self.all.upperBound, by: Int(self.parts))
    }

    static func repetition(_ seed: UInt64, _ kind: MessageSimulation.Kind) -> Comment {
        "repeat it with: swift run tern-message-simulation \(seed) 1 \(kind.rawValue) trace"
    }
}

@Suite("Clients and sessions of a message server in every interleaving")
struct MessageSimulationTests {
    @Test("every device has every message once and in order, whatever happens", arguments: 0..<Schedules.parts)
    func schedules(part: UInt64) {
        for seed in Schedules.part(part) {
            let kind = Schedules.kind(seed)
            let failures = MessageSimulation.run(seed: seed, kind)
            #expect(failures.isEmpty, Schedules.repetition(seed, kind))
            guard failures.isEmpty else {
                Issue.record("\(failures.joined(separator: "\n"))")
                return
            }
        }
    }
}
