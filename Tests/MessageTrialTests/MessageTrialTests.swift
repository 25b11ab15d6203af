// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import MessageTrialSupport
import TestTimeLimits
import Testing

/// `TERN_TRIAL_SEED=N` and `TERN_TRIAL_SECONDS=N` for another trial.
@Suite("Clients and a server over sockets, with kills and cuts", .timeLimit(.minutes(10)))
struct MessageTrialTests {
    @Test("everybody has everything once and in order, whatever happened")
    func trial() async throws {
        let environment = ProcessInfo.processInfo.environment
        let seed = environment["TERN_TRIAL_SEED"].flatMap { UInt64($0) } ?? .random(in: 1...1_000_000)
        let seconds = environment["TERN_TRIAL_SECONDS"].flatMap { Int($0) } ?? 8
        let outcome = try await MessageTrial.run(TrialOptions(seed: seed, time: .seconds(seconds)))
        let directory = outcome.directory ?? "no folder"
        #expect(
            outcome.failures.isEmpty,
            "seed \(seed): \(outcome.failures.joined(separator: "\n")); logs and data are in \(directory)")
        // Everybody sends to themselves; how much more there is time for is the machine's business.
        #expect(outcome.messages > 5 && outcome.starts > 1, "seed \(seed): \(outcome.summary)")
    }
}
