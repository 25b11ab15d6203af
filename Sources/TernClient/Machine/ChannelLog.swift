// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernMessages

/// What a client has of one channel: everything up to a sequence, and some messages behind a gap. A pure machine: messages,
/// heads and pages in; messages in order, and the wish for another page, out.
package struct ChannelLog: Sendable {
    /// What is on its way for this log.
    enum Reading: Sendable, Hashable {
        case no
        /// A page was asked for. A notice that came later may be of a time after the page.
        case asked(isOutdated: Bool)
        /// Nothing is asked for before a time.
        case later
        /// The server refused for good: we are no longer a member, say. Whatever it says of the channel again ends this.
        case refused
    }

    /// What a page led to.
    struct Progress: Sendable {
        var ready: [ChannelMessage] = []
        /// Sequences that the server's log has not, though it should.
        var missing: ClosedRange<UInt64>?
        /// The page did not bring the log on, and yet there is more to come.
        var isStalled = false
    }

    /// Messages behind a gap beyond this many are dropped: history has them.
    private static let heldLimit = 1024

    private(set) var epoch: Epoch
    /// Whoever takes the updates was told of this epoch.
    private let isAnnounced: Bool
    /// The first sequence that was not delivered; 0 while it is not known with which one to begin.
    private(set) var next: UInt64
    private(set) var head: UInt64 = 0
    private var held: [UInt64: ChannelMessage] = [:]
    private var lowestHeld: UInt64?
    /// The server pushes this channel only after a page without more.
    private var mustReachEnd = false
    private(set) var reading = Reading.no
    /// Pages in turn that did not bring it on.
    private(set) var stalls = 0
    /// Where a page left a gap, once.
    private var holeAt: UInt64?

    /// - Parameter next: the first sequence that is wanted; `nil` when that turns out later.
    package init(epoch: Epoch, next: UInt64?) {
        self.init(epoch: epoch, next: next, isAnnounced: false)
    }

    private init(epoch: Epoch, next: UInt64?, isAnnounced: Bool) {
        self.epoch = epoch
        self.isAnnounced = isAnnounced
        self.next = next.map { max($0, 1) } ?? 0
    }

    /// The log of a channel that began a new life.
    static func restarted(_ epoch: Epoch) -> ChannelLog { ChannelLog(epoch: epoch, next: 1, isAnnounced: true) }

    var hasStarted: Bool { self.next > 0 }

    /// Nothing was seen of it yet: an epoch that it is given now is no change.
    var isBlank: Bool { self.next <= 1 && self.head == 0 && self.held.isEmpty && !self.isAnnounced }

    mutating func adopt(_ epoch: Epoch) { self.epoch = epoch }

    /// Whether a page is to be asked for, sooner or later.
    var wantsPage: Bool {
        self.hasStarted && self.reading == .no && (self.mustReachEnd || self.head >= self.next)
    }

    /// It is known by now with which sequence to begin; what came before that is given up, what was pushed already is not.
    mutating func start(at sequence: UInt64) -> [ChannelMessage] {
        guard !self.hasStarted else { return [] }
        self.next = max(min(sequence, self.lowestHeld ?? sequence), 1)
        return self.takeReady()
    }

    // MARK: Facts

    /// The server pushed a message, or acknowledged one of ours.
    ///
    /// - Returns: what can be delivered now.
    package mutating func received(_ message: ChannelMessage) -> [ChannelMessage] {
        let sequence = message.sequence.rawValue
        self.head = max(self.head, sequence)
        self.becameKnown()
        guard sequence >= self.next else { return [] }
        if sequence == self.next || self.held.count < Self.heldLimit { self.held[sequence] = message }
        if !self.hasStarted { self.lowestHeld = min(self.lowestHeld ?? sequence, sequence) }
        return self.takeReady()
    }

    /// The server said how far the log goes.
    mutating func headBecameKnown(_ head: UInt64, first: UInt64 = 1, mustPull: Bool = false) -> [ChannelMessage] {
        self.head = max(self.head, head)
        self.becameKnown()
        if mustPull {
            self.mustReachEnd = true
            if case .asked = self.reading { self.reading = .asked(isOutdated: true) }
        }
        self.skip(to: first)
        return self.takeReady()
    }

    private mutating func becameKnown() {
        if self.reading == .refused { self.reading = .no }
    }

    // MARK: Pages

    /// - Returns: the sequence from which to ask.
    mutating func beginReading() -> UInt64 {
        self.reading = .asked(isOutdated: false)
        return self.next
    }

    /// The next page is to be asked for later: ``mayReadAgain()`` says when.
    mutating func postpone() {
        self.reading = .later
    }

    mutating func mayReadAgain() {
        if self.reading == .later { self.reading = .no }
    }

    mutating func wasRefused() {
        self.reading = .refused
    }

    mutating func pageArrived(_ page: History.Answer) -> Progress {
        let isCurrent = self.reading == .asked(isOutdated: false)
        self.reading = .no
        self.head = max(self.head, page.head.rawValue)
        if !page.hasMore, isCurrent { self.mustReachEnd = false }
        self.skip(to: page.first.rawValue)
        var progress = Progress()
        let before = self.next
        progress.missing = self.hole(before: page)
        self.take(page.messages, into: &progress.ready)
        progress.ready += self.takeReady()
        if self.next > before {
            self.stalls = 0
            self.holeAt = nil
        } else if self.wantsPage {
            self.stalls += 1
            progress.isStalled = true
            // Twice the server did not know of what somebody else told: only a higher head may make us ask again.
            if self.stalls > 2, page.messages.isEmpty, !page.hasMore { self.head = min(self.head, self.next - 1) }
        }
        return progress
    }

    /// A gap in a stored log is asked for once more, and then passed by.
    private mutating func hole(before page: History.Answer) -> ClosedRange<UInt64>? {
        let first = page.messages.first { $0.sequence.rawValue >= self.next }?.sequence.rawValue
        let end = first ?? (page.hasMore || !page.messages.isEmpty ? self.next : page.head.rawValue + 1)
        guard end > self.next, self.held[self.next] == nil else { return nil }
        guard self.holeAt == self.next else {
            self.holeAt = self.next
            return nil
        }
        let missing = self.next...end - 1
        self.skip(to: end)
        return missing
    }

    private mutating func take(_ messages: [ChannelMessage], into ready: inout [ChannelMessage]) {
        for message in messages where message.sequence.rawValue >= self.next {
            guard message.sequence.rawValue == self.next else { break }
            self.held[self.next] = nil
            ready.append(message)
            self.next += 1
        }
    }

    /// A device reconnects: everything that it missed will be announced again.
    mutating func connectionChanged() {
        if self.reading != .refused { self.reading = .no }
        self.mustReachEnd = false
        self.stalls = 0
    }

    /// What is older than the log's first message is gone.
    private mutating func skip(to first: UInt64) {
        guard self.hasStarted, first > self.next else { return }
        self.next = first
        self.held = self.held.filter { $0.key >= first }
    }

    private mutating func takeReady() -> [ChannelMessage] {
        guard self.hasStarted else { return [] }
        var ready: [ChannelMessage] = []
        while let message = self.held.removeValue(forKey: self.next) {
            ready.append(message)
            self.next += 1
        }
        return ready
    }
}
