// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import TernMessages

/// What a client asks; each waits for a connection, and asks again when the connection is lost before the answer.
extension MessageClient {
    /// Who we are, once connected.
    public func identity() async throws -> AuthenticationAnswer {
        try await self.driver.identity()
    }

    /// The number of a user name.
    ///
    /// - Parameters:
    ///   - name: of the user; names are compared byte by byte.
    ///   - createsIfAbsent: gives a name that the server never saw its number, so that messages can wait for its owner.
    public func resolveUser(_ name: Name, createsIfAbsent: Bool = true) async throws -> UserID {
        try await self.request(ResolveUser(name: name, createsIfAbsent: createsIfAbsent)).user
    }

    /// The names of users; those that do not exist are left out.
    public func names(of users: [UserID]) async throws -> [UserID: Name] {
        var names: [UserID: Name] = [:]
        var rest = users[...]
        while !rest.isEmpty {
            let page = try await self.request(UserNames(users: Array(rest.prefix(UserNames.maximumCount))))
            for member in page.members { names[member.user] = member.name }
            rest = rest.dropFirst(UserNames.maximumCount)
        }
        return names
    }

    /// Makes a group with us as its first member. When the answer was lost and the request is repeated, a group of that name which
    /// we are in counts as made.
    ///
    /// - Parameters:
    ///   - name: of the group; no other may have it.
    ///   - isOpen: everybody may join; otherwise only who was invited.
    ///   - sharesHistory: whoever joins reads what was written before.
    public func createGroup(_ name: Name, isOpen: Bool = false, sharesHistory: Bool = false) async throws -> GroupState
    {
        try await self.request(CreateGroup(name: name, isOpen: isOpen, sharesHistory: sharesHistory))
    }
    /// Lets a user join a closed group that we are in.
    public func inviteToGroup(_ group: GroupID, _ user: UserID) async throws {
        _ = try await self.request(InviteMember(group: group, user: user))
    }
    /// A group that we are in, were invited to, or that is open; for all others `ErrorCode.noSuchChannel`.
    public func findGroup(_ name: Name) async throws -> GroupState { try await self.request(FindGroup(name: name)) }
    /// Joins a group, whose messages are delivered from then on: see ``ReceiveStart/live``.
    public func joinGroup(_ group: GroupID) async throws -> GroupState {
        try await self.request(JoinGroup(group: group))
    }
    public func leaveGroup(_ group: GroupID) async throws { _ = try await self.request(LeaveGroup(group: group)) }

    /// The group of this name, of which we are a member afterwards: it is made, closed, if there is none.
    ///
    /// - Throws: ``ClientError`` with the failure `ErrorCode.notInvited` when there is such a group and it is closed.
    public func enterGroup(_ name: Name) async throws -> GroupState {
        do {
            let state = try await self.findGroup(name)
            return state.isMember ? state : try await self.joinGroup(state.group)
        } catch let error as ClientError where error.failure?.code == .noSuchChannel {
            do {
                return try await self.createGroup(name)
            } catch let error as ClientError where error.failure?.code == .alreadyExists {
                return try await self.joinHidden(name)
            }
        }
    }

    /// There is a group of this name that we did not find: it was made a moment ago, or is not for us.
    private func joinHidden(_ name: Name) async throws -> GroupState {
        do {
            return try await self.joinGroup(try await self.findGroup(name).group)
        } catch let error as ClientError where error.failure?.code == .noSuchChannel {
            let text = "the group \(name) is closed: a member has to invite you"
            throw ClientError.refused(Failure(.notInvited, text))
        }
    }

    /// The state of every channel that we take part in.
    public func channels() async throws -> [ChannelState] {
        var states: [ChannelState] = []
        var cursor: UInt64 = 0
        repeat {
            let page = try await self.request(SyncIndex(cursor: cursor))
            states += page.channels
            guard page.next == 0 || page.next != cursor && !page.channels.isEmpty else {
                throw ClientError(.protocolViolation, message: "an index that does not get on")
            }
            cursor = page.next
        } while cursor != 0
        return states
    }

    public func channelState(_ channel: ChannelID) async throws -> ChannelState {
        try await self.request(ReadChannelState(channel: channel))
    }

    /// A page of a channel's log; fewer messages than asked for do not mean that there are no more.
    public func history(
        of channel: ChannelID, from sequence: MessageSequence, direction: History.Direction = .forward,
        limit: UInt16 = 0
    ) async throws -> History.Answer {
        try await self.request(History(channel: channel, from: sequence, direction: direction, limit: limit))
    }

    /// Asks the server anything.
    ///
    /// - Throws: ``ClientError``; ``ClientError/Code/timedOut`` when two connections brought no answer within
    ///   ``ClientConfiguration/requestTimeout``; or `CancellationError`.
    public func request<Body: RequestBody>(_ body: Body) async throws -> Body.Answer {
        try await self.driver.request(body)
    }
}
