// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Who may learn whose name, in steps: however many groups both are in, a reader is free for others after each.
struct NameQuestion: Sendable {
    /// Rows that one step looks at, at most; names that are found at once count as one.
    static let stepSize = 1_024

    let asker: UInt64
    /// Where most of those asked for are expected, which is looked at first.
    let channel: ChannelKey?
    /// Each once, and those who are left, from behind.
    private(set) var open: [UInt64]
    /// The last group of the asker in which the one who is next was looked for.
    private(set) var lastGroup: UInt64 = 0
    private(set) var names: [UInt64: String] = [:]
    /// How many rows all steps together looked at.
    private(set) var examined = 0

    init(of identifiers: [UInt64], by asker: UInt64, in channel: ChannelKey? = nil) {
        self.asker = asker
        self.channel = channel
        self.open = Array(Set(identifiers))
    }

    var isAnswered: Bool { self.open.isEmpty }

    /// Goes on for about ``stepSize`` rows.
    mutating func step(in session: ReadSession) throws(StoreError) {
        var rows = 0
        defer { self.examined += rows }
        while let identifier = self.open.last, rows < Self.stepSize {
            rows += 1
            if self.lastGroup == 0, try self.isKnownAtOnce(identifier, session) {
                try self.settle(identifier, isKnown: true, session)
            } else if identifier >= ChannelKey.firstGroup {
                try self.settle(identifier, isKnown: false, session)
            } else {
                try self.walk(to: identifier, &rows, session)
            }
        }
    }

    private mutating func settle(
        _ identifier: UInt64, isKnown: Bool, _ session: ReadSession
    ) throws(StoreError) {
        if isKnown { self.names[identifier] = try session.name(of: identifier) }
        self.open.removeLast()
        self.lastGroup = 0
    }

    /// What needs no walk: oneself, one's groups, with whom one has a direct channel, and the members of ``channel``.
    private func isKnownAtOnce(_ identifier: UInt64, _ session: ReadSession) throws(StoreError) -> Bool {
        if identifier == self.asker { return true }
        if identifier >= ChannelKey.firstGroup { return try session.isMember(self.asker, of: .group(identifier)) }
        if try session.channel(.direct(self.asker, identifier)) != nil { return true }
        guard let channel, try session.isMember(self.asker, of: channel) else { return false }
        return try session.isMember(identifier, of: channel)
    }

    /// Along the asker's groups until one has `user` too.
    private mutating func walk(to user: UInt64, _ rows: inout Int, _ session: ReadSession) throws(StoreError) {
        let statement = session.commonGroups
        statement.bind(self.asker, user, self.lastGroup)
        var isCommon = false
        do {
            defer { statement.reset() }
            while rows < Self.stepSize {
                guard try statement.step() else { break }
                rows += 1
                self.lastGroup = statement.unsigned(0)
                isCommon = statement.integer(1) != 0
                if isCommon { break }
            }
        }
        // The last step may end with the last group: then the next one finds no row.
        if isCommon || rows < Self.stepSize { try self.settle(user, isKnown: isCommon, session) }
    }
}

extension ReadSession {
    fileprivate func isMember(_ user: UInt64, of key: ChannelKey) throws(StoreError) -> Bool {
        guard let channel = try self.channel(key) else { return false }
        return try self.isMember(user, of: channel.number)
    }
}
