// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import Synchronization

extension EventLoop {
    /// Runs `body` on the loop. Where the loop was shut down, which drops what it is given without a word (SwiftNIO 2.101), `dropped`
    /// runs instead, on any thread: whoever waits for an answer must not wait for ever.
    func execute(_ body: @escaping @Sendable () -> Void, orWhenShutDown dropped: @escaping @Sendable () -> Void) {
        let errand = Errand(dropped)
        self.execute {
            errand.begin()
            body()
        }
    }
}

/// Goes away with the closure that was dropped.
private final class Errand: Sendable {
    private let hasBegun = Atomic(false)
    private let dropped: @Sendable () -> Void

    init(_ dropped: @escaping @Sendable () -> Void) {
        self.dropped = dropped
    }

    func begin() { self.hasBegun.store(true, ordering: .releasing) }

    deinit {
        if !self.hasBegun.load(ordering: .acquiring) { self.dropped() }
    }
}
