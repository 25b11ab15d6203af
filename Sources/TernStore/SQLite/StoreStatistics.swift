// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// What the writer of a store has done since it was opened.
public struct StoreStatistics: Sendable, Hashable {
    /// Committed transactions; with the messages they tell how well the group commit groups.
    public var transactions: UInt64 = 0
    public var messages: UInt64 = 0
    /// Transactions that were tried, whatever became of them.
    public var begun: UInt64 = 0
    /// The most operations that one transaction held.
    public var largestBatch = 0
    public var checkpoints: UInt64 = 0
    /// How often a store that was read-only tried to write again.
    public var probes: UInt64 = 0
    /// Operations that wait for the writer now.
    public var queued = 0
    /// Callers that are suspended now because the queue is full.
    public var suspended = 0
}
