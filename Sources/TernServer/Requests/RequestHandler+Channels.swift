// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import TernMessages
internal import TernStore

extension RequestHandler {
    func index(_ request: SyncIndex) async throws(Failure) -> SyncIndex.Answer {
        let page = try await self.ask { () async throws(StoreError) in
            try await self.store.syncIndex(
                for: self.session.deviceKey, after: request.cursor == 0 ? nil : request.cursor,
                limit: self.limit(request.limit))
        }
        let user = self.session.user.rawValue
        let names = try await self.names(of: page.entries.map { $0.channel.peer(of: user) })
        let channels = page.entries.compactMap { entry in
            names[entry.channel.peer(of: user)].flatMap { ChannelState(entry, name: $0) }
        }
        return SyncIndex.Answer(next: page.next ?? 0, channels: channels)
    }

    func state(_ request: ReadChannelState) async throws(Failure) -> ChannelState {
        try self.checkMembership(request.channel)
        let key = ChannelKey(request.channel)
        let user = self.session.user.rawValue
        let found = try await self.ask { () async throws(StoreError) in
            try await self.store.syncEntry(for: self.session.deviceKey, in: key)
        }
        // A direct channel that was never used; of a group one is no member when it has just been left.
        guard found != nil || key.group == nil else { throw Failure(.notAMember, "not a member of \(request.channel)") }
        let names = try await self.names(of: [key.peer(of: user)])
        guard let name = names[key.peer(of: user)] else {
            // The same words, whether there is such a user or not.
            guard key.group == nil else { throw Failure(.notAMember, "not a member of \(request.channel)") }
            throw Failure(.noSuchUser, "there is no such user, or nobody whom you share a channel with")
        }
        let nothing = ChannelHead(epoch: 0, sequence: 0, timestamp: 0)
        let entry = found ?? SyncEntry(channel: key, head: nothing, own: Offsets(), userRead: 0, unread: 0)
        guard let state = ChannelState(entry, name: name) else { throw Failure(.internal, "no such channel") }
        return state
    }

    func history(_ request: History) async throws(Failure) -> History.Answer {
        try self.checkMembership(request.channel)
        let key = ChannelKey(request.channel)
        let isForward = request.direction == .forward
        // Backward from zero means from the head, and so does every number beyond it.
        let from = !isForward && request.from == .zero ? MessageSequence.maximumRawValue : request.from.rawValue
        let page = try await self.ask { () async throws(StoreError) in
            try await self.store.history(
                of: key, for: self.session.user.rawValue, from: max(from, 1), isForward ? .forward : .backward,
                limit: self.limit(request.limit),
                byteLimit: self.configuration.maximumPageBytes)
        }
        let messages = (isForward ? page.messages : page.messages.reversed()).compactMap {
            ChannelMessage($0, of: key, epoch: page.head.epoch)
        }
        var answer = History.Answer(
            hasMore: page.hasMore, epoch: Epoch(rawValue: UInt64(page.head.epoch)),
            head: MessageSequence(stored: page.head.sequence), first: MessageSequence(stored: page.first),
            messages: messages)
        if isForward, !page.hasMore, let head = self.session.caughtUp(key, to: page.head.sequence) {
            // The log grew while the page was read: the channel is not live yet, the client has to read on.
            answer.hasMore = true
            answer.head = max(answer.head, MessageSequence(stored: head))
        }
        return answer
    }

    func offsets(_ request: TernMessages.Offsets) async throws(Failure) -> TernMessages.Offsets.Answer {
        try self.checkMembership(request.channel)
        let after = DeviceKey(user: request.afterUser?.rawValue ?? 0, device: request.afterDevice?.rawValue ?? 0)
        let page = try await self.ask { () async throws(StoreError) in
            try await self.store.offsets(
                in: ChannelKey(request.channel), for: self.session.user.rawValue, after: after,
                limit: self.limit(request.limit))
        }
        let entries = page.entries.compactMap { TernMessages.Offsets.Entry($0.device, $0.offsets) }
        return TernMessages.Offsets.Answer(hasMore: page.hasMore, entries: entries)
    }
}

extension TernMessages.Offsets.Entry {
    fileprivate init?(_ key: DeviceKey, _ offsets: TernStore.Offsets) {
        guard let user = UserID(rawValue: key.user), let device = DeviceID(rawValue: key.device) else { return nil }
        self.init(
            user: user, device: device, delivered: MessageSequence(stored: offsets.delivered),
            read: MessageSequence(stored: offsets.read))
    }
}

extension ChannelState {
    fileprivate init?(_ entry: SyncEntry, name: Name) {
        guard let channel = ChannelID(entry.channel) else { return nil }
        self.init(
            channel: channel, epoch: Epoch(rawValue: UInt64(entry.head.epoch)),
            head: MessageSequence(stored: entry.head.sequence), first: MessageSequence(stored: entry.first),
            delivered: MessageSequence(stored: entry.own.delivered), read: MessageSequence(stored: entry.userRead),
            unread: UInt32(clamping: entry.unread), timestamp: MessageTimestamp(stored: entry.head.timestamp),
            name: name, since: entry.channel.group.map { _ in MessageSequence(stored: entry.since) })
    }
}
