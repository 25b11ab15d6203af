// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import NIOCore
internal import TernMessages

/// What was asked and has no answer yet, and what waits for a connection to be asked on.
struct RequestTable: Sendable {
    enum Purpose: Sendable {
        case application(RequestTag)
        /// Whether a group that exists already is one that we made: a repeated request may have made it.
        case madeByUs(RequestTag, refusal: RequestFrame, asked: ByteBuffer)
        case index(cursor: UInt64)
        case page(ChannelID)
        case state(ChannelID)
    }

    struct Pending: Sendable {
        var purpose: Purpose
        var resource: Resource
        var body: ByteBuffer
        /// It was asked before, and the answer may have been lost.
        var isRepeated = false
        var timeouts = 0
    }

    private(set) var inFlight: [UInt64: Pending] = [:]
    private(set) var waiting: Deque<Pending> = []
    /// What the server could not answer, and is asked again on the same link, a little later.
    private(set) var postponed: [RequestTag: Pending] = [:]
    /// Who wants to know as whom we are connected.
    var identities: [RequestTag] = []
    private var nextIdentifier: UInt64 = 1
    /// The application's requests that are in flight.
    private(set) var applicationCount = 0

    mutating func wait(_ pending: Pending) {
        self.waiting.append(pending)
    }

    mutating func postpone(_ pending: Pending, of tag: RequestTag) {
        self.postponed[tag] = pending
    }

    mutating func takePostponed(_ tag: RequestTag) -> Pending? { self.postponed.removeValue(forKey: tag) }

    mutating func takeWaiting() -> [Pending] {
        defer { self.waiting = [] }
        return Array(self.waiting)
    }

    /// - Returns: the frame to write.
    mutating func begin(_ pending: Pending) -> RequestFrame {
        let identifier = self.nextIdentifier
        self.nextIdentifier += 1
        self.inFlight[identifier] = pending
        if Self.tag(of: pending) != nil { self.applicationCount += 1 }
        return RequestFrame(identifier: identifier, resource: pending.resource, body: pending.body)
    }

    mutating func end(_ identifier: UInt64) -> Pending? {
        guard let pending = self.inFlight.removeValue(forKey: identifier) else { return nil }
        if Self.tag(of: pending) != nil { self.applicationCount -= 1 }
        return pending
    }

    mutating func countTimeout(of identifier: UInt64) {
        self.inFlight[identifier]?.timeouts += 1
    }

    static func tag(of pending: Pending) -> RequestTag? {
        switch pending.purpose {
        case .application(let tag), .madeByUs(let tag, _, _): tag
        case .index, .page, .state: nil
        }
    }

    /// Nobody waits for it any more.
    ///
    /// - Returns: its identifier, if it is in flight.
    mutating func withdraw(_ tag: RequestTag) -> UInt64? {
        self.identities.removeAll { $0 == tag }
        self.postponed[tag] = nil
        self.waiting.removeAll { Self.tag(of: $0) == tag }
        guard let identifier = self.inFlight.first(where: { Self.tag(of: $0.value) == tag })?.key else { return nil }
        _ = self.end(identifier)
        return identifier
    }

    /// What the application asked is asked again on the next link, in its order; what the client asked for itself is not.
    ///
    /// - Returns: the identifiers that count no more.
    mutating func linkLost() -> [UInt64] {
        let lost = self.inFlight.sorted { $0.key < $1.key }
        let late = self.postponed.sorted { $0.key < $1.key }
        self.inFlight = [:]
        self.postponed = [:]
        self.applicationCount = 0
        var again: [Pending] = []
        for (_, pending) in late + lost where Self.tag(of: pending) != nil {
            var pending = pending
            if case .madeByUs(let tag, _, let asked) = pending.purpose {
                pending.purpose = .application(tag)
                pending.resource = CreateGroup.resource
                pending.body = asked
            }
            pending.isRepeated = true
            again.append(pending)
        }
        self.waiting.prepend(contentsOf: again)
        return lost.map(\.key)
    }

    /// - Returns: who asked.
    mutating func removeAll() -> [RequestTag] {
        let tags =
            self.inFlight.values.compactMap(Self.tag) + self.waiting.compactMap(Self.tag) + Array(self.postponed.keys)
        self.inFlight = [:]
        self.postponed = [:]
        self.waiting = []
        self.applicationCount = 0
        return tags.sorted()
    }
}
