// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import TernTransport

/// Whose bytes go next: the most urgent stream; equals take turns, a packet each (RFC 9218, section 10, non-incremental urgency
/// only).
struct SendScheduler {
    private var turns: [Deque<QUICStream>] = Array(repeating: [], count: 8)

    /// The stream whose turn it is.
    var first: QUICStream? {
        for turn in self.turns {
            if let stream = turn.first { return stream }
        }
        return nil
    }

    mutating func insert(_ stream: QUICStream) {
        guard !stream.isScheduled else { return }
        stream.isScheduled = true
        self.turns[Int(stream.priority.urgency)].append(stream)
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
    }
}
