// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

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
    /// Runs only when it is named.
    var isOnRequest = false

    /// Every workload there is.
    static let all: [Workload] = [.bulk, .echo, .durable, .bulkSizes]
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
}

/// How long and how often.
struct Profile: Sendable {
    var rounds: Int
    var bulkBytes: Int
    var echoRoundTrips: Int
    var durableSeconds: Double

    static let full = Profile(rounds: 5, bulkBytes: 1 << 30, echoRoundTrips: 20_000, durableSeconds: 8)
    /// Shows that everything runs; its figures are coarse.
    static let quick = Profile(rounds: 2, bulkBytes: 128 << 20, echoRoundTrips: 2_000, durableSeconds: 1.5)
}
