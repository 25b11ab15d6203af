// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import TernMessages
internal import TernStore

extension RequestHandler {
    func create(_ request: CreateGroup) async throws(Failure) -> GroupState {
        // A name from before the rules is taken all the same.
        guard try await self.server.names.group(named: request.name) == nil else {
            throw Failure(.alreadyExists, "there is a group \(request.name)")
        }
        let name = try NameRules.canonical(request.name)
        let creation = try await self.ask(notFound: .noSuchUser) { () async throws(StoreError) in
            try await self.store.createGroup(named: name.text, owner: self.session.user.rawValue)
        }
        guard creation.isNew else { throw Failure(.alreadyExists, "there is a group \(request.name)") }
        self.server.hub.joined(self.session.user, creation.group)
        return try await self.groupState(creation.group)
    }

    func find(_ request: FindGroup) async throws(Failure) -> GroupState {
        let group = try await self.server.names.group(named: request.name)
        guard let group else { throw Failure(.noSuchChannel, "there is no group \(request.name)") }
        return try await self.groupState(group)
    }

    func join(_ request: JoinGroup) async throws(Failure) -> GroupState {
        let group = request.group.rawValue
        let isNew = try await self.ask { () async throws(StoreError) in
            try await self.store.join(group: group, user: self.session.user.rawValue)
        }
        self.server.hub.joined(self.session.user, group)
        self.forgetReceipts(in: .group(group))
        if isNew { try await self.announce(ChannelID(group: request.group)) }
        return try await self.groupState(group)
    }

    /// The user's other devices learn that there is a channel to follow.
    private func announce(_ channel: ChannelID) async throws(Failure) {
        let key = ChannelKey(channel)
        let head = try await self.ask { () async throws(StoreError) in try await self.store.head(of: key) }
        let notice = InboxNotice(
            to: self.session.user, channel: channel, head: MessageSequence(stored: head.sequence),
            epoch: Epoch(rawValue: UInt64(head.epoch)), mustPull: false)
        guard let notice else { return }
        for other in self.server.hub.sessions(of: self.session.user) where other !== self.session {
            other.control.offer(notice, of: key)
        }
    }

    func leave(_ request: LeaveGroup) async throws(Failure) -> EmptyBody {
        _ = try await self.ask { () async throws(StoreError) in
            try await self.store.leave(group: request.group.rawValue, user: self.session.user.rawValue)
        }
        self.server.hub.left(self.session.user, request.group.rawValue)
        self.forgetReceipts(in: .group(request.group.rawValue))
        return EmptyBody()
    }

    /// With the membership the store forgets how far the user's devices were.
    private func forgetReceipts(in channel: ChannelKey) {
        for session in self.server.hub.sessions(of: self.session.user) { session.forwarding.forget(channel) }
    }

    func members(_ request: ListMembers) async throws(Failure) -> ListMembers.Answer {
        try self.checkMembership(ChannelID(group: request.group))
        let limit = self.limit(request.limit)
        let users = try await self.ask { () async throws(StoreError) in
            try await self.store.members(
                of: request.group.rawValue, after: request.after?.rawValue ?? 0, limit: limit + 1)
        }
        let page = Array(users.prefix(limit))
        let names = try await self.names(of: page)
        let members = page.compactMap { user in
            UserID(rawValue: user).flatMap { id in names[user].map { Member(user: id, name: $0) } }
        }
        return ListMembers.Answer(hasMore: users.count > limit, members: members)
    }

    private func groupState(_ group: UInt64) async throws(Failure) -> GroupState {
        let names = try await self.names(of: [group])
        guard let name = names[group], let id = GroupID(rawValue: group) else {
            throw Failure(.noSuchChannel, "there is no group \(group)")
        }
        let isMember = self.server.hub.isMember(self.session.user, of: ChannelID(group: id))
        let count = try await self.ask { () async throws(StoreError) in try await self.store.memberCount(of: group) }
        return GroupState(group: id, isMember: isMember, memberCount: UInt32(clamping: count), name: name)
    }
}
