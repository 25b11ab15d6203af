// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernMessages

/// What a client has of one channel: everything up to a sequence, and some messages behind a gap. A pure machine: messages,
/// heads and pages in; messages in order, and the wish for another page, out.
package struct ChannelLog {
    /// Messages behind a gap beyond this many are dropped: history has them.
    private static let heldLimit = 1024

    private(set) var epoch: Epoch
    /// The first sequence that was not delivered.
    private(set) var next: UInt64
    private var head: UInt64
    private var held: [UInt64: ChannelMessage] = [:]
    /// The server pushes this channel only after a page without more.
    private var mustReachEnd = false
    /// A page is on its way.
    private(set) var isReading = false

    /// - Parameter next: the first sequence that is wanted.
    package init(epoch: Epoch, next: UInt64) {
        self.epoch = epoch
        self.next = max(next, 1)
        self.head = 0
    }

    /// The sequence from which a page is wanted now; `nil` when there is no gap, or a page is on its way.
    mutating func beginReading() -> UInt64? {
        guard !self.isReading, self.mustReachEnd || self.head >= self.next else { return nil }
        self.isReading = true
        return self.next
    }

    /// A page could not be had; another connection will ask again.
    mutating func readingFailed() {
        self.isReading = false
    }

    /// The server pushed a message, or acknowledged one of ours.
    ///
    /// - Returns: what can be delivered now.
    package mutating func received(_ message: ChannelMessage) -> [ChannelMessage] {
        let sequence = message.sequence.rawValue
        self.head = max(self.head, sequence)
        guard sequence >= self.next else { return [] }
        if sequence == self.next || self.held.count < Self.heldLimit { self.held[sequence] = message }
        return self.takeReady()
    }

    /// The server said how far the log goes.
    mutating func headBecameKnown(_ head: UInt64, first: UInt64 = 1, mustPull: Bool = false) -> [ChannelMessage] {
        self.head = max(self.head, head)
        self.mustReachEnd = self.mustReachEnd || mustPull
        self.skip(to: first)
        return self.takeReady()
    }

    mutating func pageArrived(_ page: History.Answer) -> [ChannelMessage] {
        self.isReading = false
        self.head = max(self.head, page.head.rawValue)
        if !page.hasMore { self.mustReachEnd = false }
        self.skip(to: page.first.rawValue)
        var ready: [ChannelMessage] = []
        for message in page.messages where message.sequence.rawValue >= self.next {
            guard message.sequence.rawValue == self.next else { break }
            self.held[self.next] = nil
            ready.append(message)
            self.next += 1
        }
        ready += self.takeReady()
        // A page that moves nothing must not be asked for again and again: only a higher head may.
        if ready.isEmpty, page.messages.isEmpty, !page.hasMore { self.head = min(self.head, self.next - 1) }
        return ready
    }

    /// A device reconnects: everything that it missed will be announced again.
    mutating func connectionChanged() {
        self.isReading = false
        self.mustReachEnd = false
    }

    /// What is older than the log's first message is gone.
    private mutating func skip(to first: UInt64) {
        guard first > self.next else { return }
        self.next = first
        self.held = self.held.filter { $0.key >= first }
    }

    private mutating func takeReady() -> [ChannelMessage] {
        var ready: [ChannelMessage] = []
        while let message = self.held.removeValue(forKey: self.next) {
            ready.append(message)
            self.next += 1
        }
        return ready
    }
}
