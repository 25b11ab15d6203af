// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Synchronization
internal import TernMessages

/// What was received and read, per channel: cumulative, and sent to the server a little later, many at a time.
final class ReceiptLedger: Sendable {
    struct Mark: Sendable, Hashable {
        var kind: Receipt.Kind
        var channel: ChannelID
    }

    private struct State {
        var reached: [Mark: MessageSequence] = [:]
        var unsent: Set<Mark> = []
    }

    private let state = Mutex(State())
    /// One element whenever there is something to send.
    let signals: AsyncStream<Void>
    private let sink: AsyncStream<Void>.Continuation

    init() {
        (self.signals, self.sink) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    func reached(_ sequence: MessageSequence, of channel: ChannelID, _ kind: Receipt.Kind) {
        let mark = Mark(kind: kind, channel: channel)
        let isNews = self.state.withLock { state in
            guard sequence > state.reached[mark] ?? .zero else { return false }
            state.reached[mark] = sequence
            state.unsent.insert(mark)
            return true
        }
        if isNews { self.sink.yield() }
    }

    /// There is a new connection: the last receipts are said again.
    func connectionChanged() {
        let hasSome = self.state.withLock { state in
            state.unsent = Set(state.reached.keys)
            return !state.unsent.isEmpty
        }
        if hasSome { self.sink.yield() }
    }

    /// A channel's sequences begin anew.
    func forget(_ channel: ChannelID) {
        self.state.withLock { state in
            for kind in [Receipt.Kind.delivered, .read] {
                let mark = Mark(kind: kind, channel: channel)
                state.reached[mark] = nil
                state.unsent.remove(mark)
            }
        }
    }

    func takeUnsent() -> [(Mark, MessageSequence)] {
        self.state.withLock { state in
            defer { state.unsent = [] }
            return state.unsent.compactMap { mark in state.reached[mark].map { (mark, $0) } }
        }
    }
}
