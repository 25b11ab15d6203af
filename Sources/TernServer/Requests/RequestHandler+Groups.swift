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
        let rules = GroupRules(isOpen: request.isOpen, sharesHistory: request.sharesHistory)
        let creation = try await self.ask(notFound: .noSuchUser) { () async throws(StoreError) in
            try await self.store.createGroup(
                named: name.text, owner: self.session.user.rawValue, rules: rules)
        }
        guard creation.isNew, let group = GroupID(rawValue: creation.group) else {
            throw Failure(.alreadyExists, "there is a group \(request.name)")
        }
        let head = try await self.ask { () async throws(StoreError) in
            try await self.store.head(of: .group(creation.group))
        }
        self.announce(group, head: head)
        return try self.state(try await self.view(of: group))
    }

    /// Only who may enter a group, or is in it, learns that it exists.
    func find(_ request: FindGroup) async throws(Failure) -> GroupState {
        let found = try await self.server.names.group(named: request.name).flatMap { GroupID(rawValue: $0) }
        guard let found, let view = try await self.view(of: found),
            view.isMember || view.isInvited || view.rules.isOpen
        else {
            let text = "there is no group \(request.name), or it is closed and nobody invited you"
            throw Failure(.noSuchChannel, text)
        }
        return try self.state(view)
    }

    func join(_ request: JoinGroup) async throws(Failure) -> GroupState {
        let joining: GroupJoining
        do throws(Failure) {
            joining = try await self.ask(notFound: .notInvited) { () async throws(StoreError) in
                try await self.store.join(group: request.group.rawValue, user: self.session.user.rawValue)
            }
        } catch {
            guard error.code == .notInvited else { throw error }
            // The same words, whether there is such a group or not.
            throw Failure(.notInvited, "there is no such group, or it is closed and nobody invited you")
        }
        if joining.isNew { self.announce(request.group, head: joining.head) }
        return try self.state(try await self.view(of: request.group))
    }

    /// The user's other devices learn that there is a channel to follow.
    private func announce(_ group: GroupID, head: ChannelHead) {
        let channel = ChannelID(group: group)
        let notice = InboxNotice(
            to: self.session.user, channel: channel, head: MessageSequence(stored: head.sequence),
            epoch: Epoch(rawValue: UInt64(head.epoch)), mustPull: false)
        guard let notice else { return }
        for other in self.server.hub.sessions(of: self.session.user, in: group) where other !== self.session {
            other.control.offer(notice, of: ChannelKey(channel))
        }
    }

    func invite(_ request: InviteMember) async throws(Failure) -> EmptyBody {
        try self.checkMembership(ChannelID(group: request.group))
        try await self.ask(notFound: .noSuchUser) { () async throws(StoreError) in
            try await self.store.invite(
                request.user.rawValue, to: request.group.rawValue, by: self.session.user.rawValue)
        }
        return EmptyBody()
    }

    func leave(_ request: LeaveGroup) async throws(Failure) -> EmptyBody {
        _ = try await self.ask { () async throws(StoreError) in
            try await self.store.leave(group: request.group.rawValue, user: self.session.user.rawValue)
        }
        return EmptyBody()
    }

    func members(_ request: ListMembers) async throws(Failure) -> ListMembers.Answer {
        try self.checkMembership(ChannelID(group: request.group))
        let limit = self.limit(request.limit)
        let users = try await self.ask { () async throws(StoreError) in
            try await self.store.members(
                of: request.group.rawValue, after: request.after?.rawValue ?? 0, limit: limit + 1)
        }
        let page = Array(users.prefix(limit))
        let names = try await self.names(of: page, in: .group(request.group.rawValue))
        let members = page.compactMap { user in
            UserID(rawValue: user).flatMap { id in names[user].map { Member(user: id, name: $0) } }
        }
        return ListMembers.Answer(hasMore: users.count > limit, members: members)
    }

    /// The group as the store has it for the user; `nil` if there is none.
    private func view(of group: GroupID) async throws(Failure) -> GroupView? {
        try await self.ask { () async throws(StoreError) in
            try await self.store.group(group.rawValue, for: self.session.user.rawValue)
        }
    }

    private func state(_ view: GroupView?) throws(Failure) -> GroupState {
        guard let view, let group = GroupID(rawValue: view.group), let name = try? Name(view.name) else {
            throw Failure(.noSuchChannel, "there is no such group")
        }
        return GroupState(
            group: group, isMember: view.isMember, isOpen: view.rules.isOpen, sharesHistory: view.rules.sharesHistory,
            isInvited: view.isInvited, memberCount: UInt32(clamping: view.memberCount), name: name)
    }
}
