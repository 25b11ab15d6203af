// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport

/// Something that is measured: contenders do the same work in turns, round after round, so that what disturbs the machine
/// disturbs all of them.
struct Workload: Sendable {
    let name: String
    /// What is measured, in a sentence.
    let summary: @Sendable (Profile) -> String
    let contenders: @Sendable (Profile) -> [Contender]
    let columns: [Column]
    /// Which ratios the table ends with.
    let ratios: [Ratio]
    /// Figures of one contender that have a target of their own.
    var goals: [Goal] = []
    /// For what does not change from round to round.
    var roundLimit = Int.max
    /// Runs only when it is named.
    var isOnRequest = false

    /// Every workload there is.
    static let all: [Workload] = [
        .bulk, .echo, .handshakes, .memory, .loops, .datagrams, .allocations, .durable, .bulkSizes,
    ]

    func rounds(of profile: Profile) -> Int { min(profile.rounds, self.roundLimit) }
}

/// One of those that are compared.
struct Contender: Sendable {
    let name: String
    /// For the first guess of the time that is left.
    let expectedSeconds: Double
    /// Why it cannot run on this machine; `nil` when it can.
    var missing: String?
    let run: @Sendable (Stage) throws -> [String: Double]
}

/// A column of a workload's table.
struct Column: Sendable {
    let title: String
    /// The key of the samples' values.
    let key: String
    let decimals: Int
}

struct Ratio: Sendable {
    let key: String
    let of: String
    let to: String
    /// What the ratio is called among the targets; `nil` when it has none.
    var goal: String?
    var bound = Bound.reported
}

/// A figure of one contender with a target.
struct Goal: Sendable {
    let figure: String
    let key: String
    let of: String
    let bound: Bound
}

/// What a figure should reach.
enum Bound: Sendable {
    case atLeast(Double)
    case atMost(Double)
    /// Nothing: it is to be known.
    case reported

    func verdict(on value: Double) -> String {
        switch self {
        case .atLeast(let limit): value >= limit ? "reached" : "missed"
        case .atMost(let limit): value <= limit ? "reached" : "missed"
        case .reported: "reported"
        }
    }

    var text: String {
        switch self {
        case .atLeast(let limit): "≥ \(fixed(limit, 2))"
        case .atMost(let limit): "≤ \(fixed(limit, 2))"
        case .reported: "–"
        }
    }
}

/// How long and how often.
struct Profile: Sendable {
    var rounds: Int
    var bulkBytes: Int
    var echoRoundTrips: Int
    var durableSeconds: Double
    var handshakes: Int
    var idleConnections: Int
    var loopsSeconds: Double
    var datagramSeconds: Double

    static let full = Profile(
        rounds: 5, bulkBytes: 1 << 30, echoRoundTrips: 20_000, durableSeconds: 8, handshakes: 2_000,
        idleConnections: 5_000, loopsSeconds: 3, datagramSeconds: 2)
    /// Shows that everything runs; its figures are coarse.
    static let quick = Profile(
        rounds: 2, bulkBytes: 128 << 20, echoRoundTrips: 2_000, durableSeconds: 1.5, handshakes: 300,
        idleConnections: 500, loopsSeconds: 1, datagramSeconds: 0.5)
}
