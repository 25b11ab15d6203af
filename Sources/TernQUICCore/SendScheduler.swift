// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import TernTransport

/// Whose bytes go next: the most urgent stream; equals take turns, a packet each (RFC 9218, section 10).
struct SendScheduler {
    private var turns: [Deque<QUICStream>] = Array(repeating: [], count: 8)
    /// One bit for each urgency that has a stream.
    private var occupied: UInt8 = 0

    /// The stream whose turn it is.
    var first: QUICStream? {
        self.occupied == 0 ? nil : self.turns[self.occupied.trailingZeroBitCount].first
    }

    /// The first one in the order of their turns that is as wanted.
    func first(where isWanted: (QUICStream) -> Bool) -> QUICStream? {
        guard self.occupied != 0 else { return nil }
        for turn in self.turns {
            if let stream = turn.first(where: isWanted) { return stream }
        }
        return nil
    }

    mutating func insert(_ stream: QUICStream) {
        guard !stream.isScheduled else { return }
        stream.isScheduled = true
        self.turns[Int(stream.priority.urgency)].append(stream)
        self.occupied |= 1 << stream.priority.urgency
    }

    mutating func remove(_ stream: QUICStream) {
        guard stream.isScheduled else { return }
        stream.isScheduled = false
        let urgency = Int(stream.priority.urgency)
        if self.turns[urgency].first === stream {
            self.turns[urgency].removeFirst()
        } else {
            self.turns[urgency].removeAll { $0 === stream }
        }
        if self.turns[urgency].isEmpty { self.occupied &= ~(1 << stream.priority.urgency) }
    }

    /// The stream had its packet: the next of its urgency is due.
    mutating func rotate(_ stream: QUICStream) {
        let urgency = Int(stream.priority.urgency)
        guard self.turns[urgency].count > 1, self.turns[urgency].first === stream else { return }
        self.turns[urgency].append(self.turns[urgency].removeFirst())
    }

    mutating func removeAll() {
        for urgency in self.turns.indices {
            for stream in self.turns[urgency] { stream.isScheduled = false }
            self.turns[urgency].removeAll()
        }
        self.occupied = 0
    }
}
