// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import NIOCore
internal import TernMessages

/// The messages that are not acknowledged, per receiver and in order: what was written on the present connection first, then
/// what was not. A pure machine.
struct Outbox {
    struct Entry: Sendable {
        var id: ClientMessageID
        var type: MessageType
        var payload: ByteBuffer
        var sequence: MessageSequence
        var receipt: SendReceipt
    }

    private struct Lane {
        var entries: Deque<Entry> = []
        /// How many of them were written on the present connection.
        var written = 0
        /// The present stream is given up; nothing is written until another begins.
        var isHeld = false
    }

    private var lanes: [PartyID: Lane] = [:]
    private var nextSequence = MessageSequence.zero
    private(set) var count = 0

    mutating func append(
        _ payload: ByteBuffer, type: MessageType, to receiver: PartyID, id: ClientMessageID, receipt: SendReceipt
    ) {
        self.nextSequence = self.nextSequence.next
        self.lanes[receiver, default: Lane()].entries.append(
            Entry(id: id, type: type, payload: payload, sequence: self.nextSequence, receipt: receipt))
        self.count += 1
    }

    /// There is a new connection, on which nothing was written yet.
    mutating func connectionChanged() {
        for receiver in self.lanes.keys { self.streamBegan(for: receiver) }
    }

    /// There is a new stream for `receiver`, on which nothing was written yet.
    mutating func streamBegan(for receiver: PartyID) {
        self.lanes[receiver]?.written = 0
        self.lanes[receiver]?.isHeld = false
    }

    /// Receivers with messages that were not written on the present connection.
    var receiversToServe: [PartyID] {
        self.lanes.filter { $0.value.written < $0.value.entries.count }.keys.sorted { $0.rawValue < $1.rawValue }
    }

    /// Whether messages were written and have no answer yet.
    var awaitsAnswers: Bool { self.lanes.values.contains { $0.written > 0 } }

    /// What to write next, at most until `limit` messages wait for their answers. They count as written from now on.
    mutating func takeUnwritten(for receiver: PartyID, limit: Int) -> [Entry] {
        guard var lane = self.lanes[receiver], lane.written < lane.entries.count, lane.written < limit else {
            return []
        }
        let end = min(lane.entries.count, limit)
        let batch = Array(lane.entries[lane.written..<end])
        lane.written = end
        self.lanes[receiver] = lane
        return batch
    }

    /// The server answered the oldest message that was written for `receiver`.
    ///
    /// - Returns: `nil` when there is none, or when the answer is for another one: the server is wrong.
    mutating func answered(_ id: ClientMessageID?, for receiver: PartyID) -> Entry? {
        guard var lane = self.lanes[receiver], lane.written > 0, let first = lane.entries.first,
            id == nil || id == first.id
        else { return nil }
        lane.entries.removeFirst()
        lane.written -= 1
        self.lanes[receiver] = lane.entries.isEmpty ? nil : lane
        self.count -= 1
        return first
    }

    /// The server could not take a message now: it is the first one to be written again, when another stream began.
    mutating func putBack(_ entry: Entry, for receiver: PartyID) {
        self.lanes[receiver, default: Lane()].entries.prepend(entry)
        self.lanes[receiver]?.written = 0
        self.lanes[receiver]?.isHeld = true
        self.count += 1
    }

    /// The client ends: nothing will be acknowledged any more.
    mutating func removeAll() -> [SendReceipt] {
        defer {
            self.lanes = [:]
            self.count = 0
        }
        return self.lanes.values.flatMap { $0.entries.map(\.receipt) }
    }
}
