// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernMessages

/// Requests: those that only read are answered at once, the others when they are committed.
extension ModelServer {
    package mutating func requestArrived(
        _ session: SessionNumber, _ frame: RequestFrame, now: Moment
    ) -> [ServerEffect] {
        guard self.sessions[session] != nil, frame.resource != .cancel else { return [] }
        if let failure = self.mood.requests { return [Self.refusal(frame, failure, session)] }
        switch frame.resource {
        case .createGroup, .joinGroup, .leaveGroup:
            self.queue(.request(session, frame), now)
            return []
        default:
            return self.read(frame, session)
        }
    }

    private static func refusal(_ frame: RequestFrame, _ failure: Failure, _ session: SessionNumber) -> ServerEffect {
        .response(
            session,
            RequestFrame(
                identifier: frame.identifier, resource: frame.resource, status: failure.code,
                body: RequestFailure(failure).encodedBody()))
    }

    private static func success(_ frame: RequestFrame, _ body: some WireBody, _ session: SessionNumber) -> ServerEffect
    {
        .response(
            session,
            RequestFrame(identifier: frame.identifier, resource: frame.resource, body: body.encodedBody()))
    }

    // MARK: Reading

    private mutating func read(_ frame: RequestFrame, _ number: SessionNumber) -> [ServerEffect] {
        guard let device = self.sessions[number]?.device else { return [] }
        var body = frame.body
        do throws(WireError) {
            switch frame.resource {
            case .syncIndex:
                return [Self.success(frame, self.index(try SyncIndex(decoding: &body), device), number)]
            case .channelState:
                let request = try ReadChannelState(decoding: &body)
                guard let state = self.store.state(of: request.channel, for: device) else {
                    return [Self.refusal(frame, Failure(.notAMember, "not a member"), number)]
                }
                return [Self.success(frame, state, number)]
            case .history:
                let request = try History(decoding: &body)
                guard self.store.isMember(device.user, of: request.channel) else {
                    return [Self.refusal(frame, Failure(.notAMember, "not a member"), number)]
                }
                return [Self.success(frame, self.page(request, device, number), number)]
            case .findGroup:
                guard let group = self.store.group(named: try FindGroup(decoding: &body).name) else {
                    return [Self.refusal(frame, Failure(.noSuchChannel, "no such group"), number)]
                }
                return [Self.success(frame, Self.state(group, device.user), number)]
            default:
                return [Self.refusal(frame, Failure(.unsupportedResource, "no such resource"), number)]
            }
        } catch {
            return [Self.refusal(frame, Failure(error), number)]
        }
    }

    private static func state(_ group: ModelStore.Group, _ user: UserID) -> GroupState {
        GroupState(
            group: group.id, isMember: group.members[user] != nil, memberCount: UInt32(group.members.count),
            name: group.name)
    }

    private func index(_ request: SyncIndex, _ device: ModelStore.Device) -> SyncIndex.Answer {
        let rest = self.store.channels(of: device.user).filter { $0.order > request.cursor }
        let page = rest.prefix(2)
        let states = page.compactMap { self.store.state(of: $0.channel, for: device) }
        return SyncIndex.Answer(next: rest.count > page.count ? page.last?.order ?? 0 : 0, channels: states)
    }

    private mutating func page(
        _ request: History, _ device: ModelStore.Device, _ number: SessionNumber
    ) -> History.Answer {
        let channel = request.channel
        let head = self.store.logs[channel]?.head ?? 0
        let first = self.store.first(in: channel, for: device.user)
        let from = max(request.from.rawValue, first, 1)
        let wanted = from > head ? [] : Array(from...head)
        let messages = wanted.compactMap { self.store.pushed($0, in: channel) }
        let page = Array(messages.prefix(self.pageLimit))
        let hasMore = page.count < messages.count
        if !hasMore { self.sessions[number]?.pulling.remove(channel) }
        return History.Answer(
            hasMore: hasMore, epoch: self.store.logs[channel]?.epoch ?? Epoch(rawValue: 0),
            head: MessageSequence(head), first: MessageSequence(min(first, head + 1)), messages: page)
    }

    // MARK: Writing

    mutating func commit(_ frame: RequestFrame, _ number: SessionNumber) -> [ServerEffect] {
        guard let device = self.sessions[number]?.device else { return [] }
        let user = device.user
        var body = frame.body
        switch frame.resource {
        case .createGroup:
            guard let request = try? CreateGroup(decoding: &body),
                let group = self.store.create(request.name, by: device)
            else { return [Self.refusal(frame, Failure(.alreadyExists, "there is one"), number)] }
            return self.announce(group.id, user, except: number)
                + [Self.success(frame, Self.state(group, user), number)]
        case .joinGroup:
            guard let request = try? JoinGroup(decoding: &body), let isNew = self.store.join(request.group, user),
                let group = self.store.groups[request.group]
            else { return [Self.refusal(frame, Failure(.noSuchChannel, "no such group"), number)] }
            let notices = isNew ? self.announce(group.id, user, except: number) : []
            return notices + [Self.success(frame, Self.state(group, user), number)]
        default:
            guard let request = try? LeaveGroup(decoding: &body) else { return [] }
            self.store.leave(request.group, user)
            // What a membership left with the user's sessions goes with it.
            let channel = ChannelID(group: request.group)
            for session in self.sessionNumbers where self.sessions[session]?.device.user == user {
                self.sessions[session]?.pulling.remove(channel)
                self.sessions[session]?.feeds[channel] = nil
                self.sessions[session]?.lastPushed[channel] = nil
            }
            return [Self.success(frame, EmptyBody(), number)]
        }
    }

    /// The user's other devices learn that there is a channel to follow.
    private func announce(_ group: GroupID, _ user: UserID, except number: SessionNumber) -> [ServerEffect] {
        self.sessionNumbers.filter { $0 != number && self.sessions[$0]?.device.user == user }
            .flatMap { self.notice(of: ChannelID(group: group), to: $0, mustPull: false) }
    }
}
