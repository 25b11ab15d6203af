// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import Synchronization

extension SQLiteMessageStore {
    // MARK: People

    public func limit(to quotas: UserQuotas) {
        self.writer.quotas.withLock { $0 = quotas }
    }

    public func registerUser(named name: String) async throws(StoreError) -> UInt64 {
        try Self.check(name)
        // Whoever is known is found even when nothing can be written, and without waiting behind those who read.
        let known = try await self.readers.read(.login) { session throws(StoreError) in try session.user(named: name) }
        if let known { return known }
        return try await self.change { session throws(StoreError) in try session.registerUser(named: name, by: nil) }
    }

    public func registerUser(named name: String, by creator: UInt64) async throws(StoreError) -> UInt64 {
        try Self.check(name)
        if let known = try await self.findUser(named: name) { return known }
        return try await self.change { session throws(StoreError) in
            try session.registerUser(named: name, by: creator)
        }
    }

    public func registerDevice(named name: String, of user: UInt64) async throws(StoreError) -> UInt32 {
        try Self.check(name)
        if let known = try await self.findDevice(named: name, of: user) { return known }
        return try await self.change { session throws(StoreError) in
            try session.registerDevice(named: name, of: user)
        }
    }

    public func findDevice(named name: String, of user: UInt64) async throws(StoreError) -> UInt32? {
        try await self.readers.read(.login) { session throws(StoreError) in try session.device(named: name, of: user) }
    }

    public func findUser(named name: String) async throws(StoreError) -> UInt64? {
        // Logins look for names too, and a look-up is as short for everybody.
        try await self.readers.read(.login) { session throws(StoreError) in try session.user(named: name) }
    }

    public func names(of identifiers: [UInt64]) async throws(StoreError) -> [UInt64: String] {
        try await self.readers.read { session throws(StoreError) in
            var names: [UInt64: String] = [:]
            for identifier in identifiers { names[identifier] = try session.name(of: identifier) }
            return names
        }
    }

    public func names(
        of identifiers: [UInt64], knownTo user: UInt64, in channel: ChannelKey?
    ) async throws(StoreError) -> [UInt64: String] {
        var question = NameQuestion(of: identifiers, by: user, in: channel)
        while !question.isAnswered {
            let last = question
            // Each step stands in line anew: others have their turn in between.
            question = try await self.readers.read { session throws(StoreError) in
                var question = last
                try question.step(in: session)
                return question
            }
        }
        return question.names
    }

    private static func check(_ name: String) throws(StoreError) {
        let isPrintable = name.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control }
        guard !name.isEmpty, name.utf8.count <= 255, isPrintable else {
            let message = "a name has 1 to 255 bytes of UTF-8 and no control characters"
            throw StoreError(.invalidName, message: message)
        }
    }

    // MARK: Groups

    public func createGroup(
        named name: String, owner: UInt64, rules: GroupRules
    ) async throws(StoreError) -> GroupCreation {
        try Self.check(name)
        if let known = try await self.findGroup(named: name) { return GroupCreation(group: known, isNew: false) }
        return try await self.change { session throws(StoreError) in
            try session.createGroup(named: name, owner: owner, rules: rules)
        }
    }

    public func findGroup(named name: String) async throws(StoreError) -> UInt64? {
        try await self.readers.read { session throws(StoreError) in try session.group(named: name) }
    }

    public func group(_ group: UInt64, for user: UInt64) async throws(StoreError) -> GroupView? {
        try await self.readers.read { session throws(StoreError) in try session.group(group, for: user) }
    }

    public func invite(_ user: UInt64, to group: UInt64, by member: UInt64) async throws(StoreError) {
        try await self.change { session throws(StoreError) in try session.invite(user, to: group, by: member) }
    }

    @discardableResult
    public func join(group: UInt64, user: UInt64) async throws(StoreError) -> GroupJoining {
        try await self.change { session throws(StoreError) in try session.join(group: group, user: user) }
    }

    @discardableResult
    public func leave(group: UInt64, user: UInt64) async throws(StoreError) -> Bool {
        try await self.change { session throws(StoreError) in try session.leave(group: group, user: user) }
    }

    public func members(of group: UInt64, after: UInt64, limit: Int) async throws(StoreError) -> [UInt64] {
        guard let channel = try await self.number(of: .group(group)) else { return [] }
        let limit = Self.page(limit)
        return try await self.readers.read { session throws(StoreError) in
            try session.members(of: channel, after: after, limit: limit)
        }
    }

    public func memberCount(of group: UInt64) async throws(StoreError) -> Int {
        try await self.readers.read { session throws(StoreError) in try session.memberCount(of: .group(group)) }
    }

    public func memberships(
        of user: UInt64, after: UInt64, limit: Int
    ) async throws(StoreError) -> [GroupMembership] {
        let limit = Self.page(limit)
        return try await self.readers.read(.login) { session throws(StoreError) in
            try session.memberships(of: user, after: after, limit: limit)
        }
    }

    public func isMember(_ user: UInt64, of group: UInt64) async throws(StoreError) -> Bool {
        guard group >= ChannelKey.firstGroup, let channel = try await self.number(of: .group(group)) else {
            return false
        }
        return try await self.readers.read { session throws(StoreError) in
            try session.isMember(user, of: channel)
        }
    }

    // MARK: The log

    public func append(_ draft: Draft) async throws(StoreError) -> Receipt {
        let (payload, extensions) = (draft.payload.readableBytes, draft.extensions.readableBytes)
        guard payload <= self.options.maximumPayload, extensions <= self.options.maximumExtensions else {
            let message = "a payload of \(payload) bytes with extensions of \(extensions) bytes is too large"
            throw StoreError(.tooLarge, message: message)
        }
        try await self.writer.queue.reserve(cost: draft.heldBytes)
        return try await withCheckedContinuation { reply in
            self.writer.queue.put(.append(draft, reply: { reply.resume(returning: $0) }))
        }.get()
    }

    public func observeCommits(_ observer: (@Sendable ([CommitEvent]) -> Void)?) {
        self.writer.observer.withLock { $0 = observer }
    }

    public func head(of channel: ChannelKey) async throws(StoreError) -> ChannelHead {
        let row = try await self.readers.read { session throws(StoreError) in try session.channel(channel)?.head }
        if let row { return row }
        return try Self.headOfNothing(channel)
    }

    public func history(
        of channel: ChannelKey, from sequence: UInt64, _ direction: HistoryDirection, limit: Int, byteLimit: Int
    ) async throws(StoreError) -> HistoryPage {
        let limit = Self.page(limit)
        let page = try await self.readers.read { session throws(StoreError) -> HistoryPage? in
            guard let row = try session.channel(channel) else { return nil }
            return try session.page(of: row, from: sequence, direction, limit: limit, byteLimit: byteLimit)
        }
        if let page { return page }
        return HistoryPage(head: try Self.headOfNothing(channel), messages: [], hasMore: false)
    }

    public func history(
        of channel: ChannelKey, for user: UInt64, from sequence: UInt64, _ direction: HistoryDirection, limit: Int,
        byteLimit: Int
    ) async throws(StoreError) -> HistoryPage {
        let limit = Self.page(limit)
        return try await self.readers.read { session throws(StoreError) in
            guard let (row, first) = try session.membership(of: user, in: channel) else {
                return HistoryPage(head: ChannelHead(epoch: 0, sequence: 0, timestamp: 0), messages: [], hasMore: false)
            }
            return try session.page(
                of: row, from: sequence, direction, limit: limit, byteLimit: byteLimit, notBefore: first)
        }
    }

    private static func headOfNothing(_ channel: ChannelKey) throws(StoreError) -> ChannelHead {
        if let group = channel.group { throw StoreError(.notFound, message: "there is no group \(group)") }
        return ChannelHead(epoch: 0, sequence: 0, timestamp: 0)
    }

    private static func page(_ limit: Int) -> Int { min(max(limit, 1), Self.largestPage) }

    // MARK: Offsets

    public func advanceOffsets(
        _ offsets: Offsets, of device: DeviceKey, in channel: ChannelKey
    ) async throws(StoreError) {
        switch self.status {
        case .writable: break
        case .readOnly(let reason): throw StoreError(.readOnly, message: reason)
        case .lost(let reason): throw StoreError(.lost, message: reason)
        case .closed: throw .closed
        }
        // The head of now: what is stored while this waits to be written was not read in advance.
        let found = try await self.readers.read { session throws(StoreError) in try session.channel(channel) }
        guard let found else { throw StoreError(.notFound, message: "there is no such channel") }
        let offsets = offsets.limited(to: found.head.sequence)
        guard offsets != Offsets() else { return }
        let place = PendingOffsets.Place(device: device, channel: found.number)
        while true {
            switch self.writer.offsets.note(offsets, at: place) {
            case .noted(let isFirst):
                if isFirst { self.writer.queue.poke() }
                return
            case .full:
                // What waits is written first; meanwhile this one waits outside.
                try await self.flush()
            }
        }
    }

    public func offsets(of device: DeviceKey, in channel: ChannelKey) async throws(StoreError) -> Offsets {
        guard let number = try await self.number(of: channel) else { return Offsets() }
        let pending = self.writer.offsets.pending(of: device.user, in: number)
        return try await self.readers.read { session throws(StoreError) in
            guard let row = try session.channel(channel),
                let first = try session.firstMessage(of: number, for: device.user)
            else { return Offsets() }
            var told = try session.offsets(of: device, in: number)
            if let more = pending[PendingOffsets.Place(device: device, channel: number)] { told.advance(to: more) }
            return told.limited(to: row.head.sequence, from: first)
        }
    }

    public func offsets(
        in channel: ChannelKey, after device: DeviceKey, limit: Int
    ) async throws(StoreError) -> OffsetPage {
        let limit = Self.page(limit)
        guard let number = try await self.number(of: channel) else { return OffsetPage(entries: [], hasMore: false) }
        let pending = self.writer.offsets.pending(in: number)
        return try await self.readers.read { session throws(StoreError) in
            guard let row = try session.channel(channel) else { return OffsetPage(entries: [], hasMore: false) }
            return try session.offsetPage(of: row, after: device, limit: limit, pending: pending)
        }
    }

    public func offsets(
        in channel: ChannelKey, for user: UInt64, after device: DeviceKey, limit: Int
    ) async throws(StoreError) -> OffsetPage {
        let limit = Self.page(limit)
        let pending = try await self.number(of: channel).map { self.writer.offsets.pending(in: $0) }
        return try await self.readers.read { session throws(StoreError) in
            guard let (row, first) = try session.membership(of: user, in: channel) else {
                return OffsetPage(entries: [], hasMore: false)
            }
            return try session.offsetPage(
                of: row, after: device, limit: limit, pending: pending ?? [:], notBefore: first)
        }
    }

    public func syncIndex(
        for device: DeviceKey, after cursor: UInt64?, limit: Int
    ) async throws(StoreError) -> SyncPage {
        let limit = Self.page(limit)
        let pending = self.writer.offsets.pending(of: device.user)
        return try await self.readers.read { session throws(StoreError) in
            try session.syncPage(for: device, after: cursor ?? 0, limit: limit, pending: pending)
        }
    }

    public func syncEntry(for device: DeviceKey, in channel: ChannelKey) async throws(StoreError) -> SyncEntry? {
        guard let number = try await self.number(of: channel) else { return nil }
        let pending = self.writer.offsets.pending(of: device.user, in: number)
        return try await self.readers.read { session throws(StoreError) in
            try session.syncEntry(for: device, in: number, pending: pending)
        }
    }

    /// The number of a channel, which never changes.
    private func number(of channel: ChannelKey) async throws(StoreError) -> UInt64? {
        if let known = self.channelNumbers.withLock({ $0[channel] }) { return known }
        let number = try await self.readers.read { session throws(StoreError) in try session.channel(channel)?.number }
        if let number {
            self.channelNumbers.withLock { numbers in
                if numbers.count >= Self.rememberedNumbers { numbers = [:] }
                numbers[channel] = number
            }
        }
        return number
    }

    // MARK: Life

    public var status: StoreStatus { self.board.status }

    public func statusUpdates() -> AsyncStream<StoreStatus> { self.board.updates() }

    /// Runs `body` on the writer's thread, in a transaction that waits for it; for tests, which keep the writer busy.
    package func onWriter(_ body: @escaping @Sendable () -> Void) async throws(StoreError) {
        try await self.writer.queue.reserve(cost: 0)
        let change = WriteChange(
            apply: { _ throws(StoreError) in
                body()
                return {}
            }, fail: { _ in })
        self.writer.queue.put(.change(change))
    }

    /// What the writer has done so far.
    public var statistics: StoreStatistics {
        var statistics = self.writer.counters.withLock { $0 }
        (statistics.queued, statistics.suspended) = self.writer.queue.depth
        return statistics
    }

    public func startNewEpochs() async throws(StoreError) {
        try await self.change { session throws(StoreError) in try session.renewEpochs() }
    }

    public func flush() async throws(StoreError) {
        // Every transaction takes the offsets that were told before it.
        try await self.change { _ throws(StoreError) in }
    }

    public func close() async {
        // Readers first: then the writer's connection is the last one, which puts the WAL away.
        await self.readers.close()
        self.writer.queue.close()
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let isOver = self.writerEnd.withLock { end in
                if !end.isOver { end.waiting.append(continuation) }
                return end.isOver
            }
            if isOver { continuation.resume() }
        }
        self.board.close()
    }

    /// Puts a change into the writer's queue and waits for its commit.
    private func change<Value: Sendable>(
        _ body: @escaping @Sendable (WriteSession) throws(StoreError) -> Value
    ) async throws(StoreError) -> Value {
        try await self.writer.queue.reserve(cost: 0)
        let result = await withCheckedContinuation { (reply: CheckedContinuation<Result<Value, StoreError>, Never>) in
            let change = WriteChange(
                apply: { session throws(StoreError) in
                    let value = try body(session)
                    return { reply.resume(returning: .success(value)) }
                },
                fail: { error in reply.resume(returning: .failure(error)) })
            self.writer.queue.put(.change(change))
        }
        return try result.get()
    }
}
