// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernMessages

/// Requests: those that only read are answered at once, the others when they are committed.
extension ModelServer {
    package mutating func requestArrived(
        _ session: SessionNumber, _ frame: RequestFrame, now: Moment
    ) -> [ServerEffect] {
        guard let device = self.sessions.device(of: session), frame.resource != .cancel else { return [] }
        self.sessions.heard(session, now: now)
        if let failure = self.mood.requests { return [Self.refusal(frame, failure, session)] }
        switch frame.resource {
        case .createGroup, .joinGroup, .leaveGroup, .inviteMember:
            self.queue(Operation(session: session, device: device, kind: .request(frame)), now)
            return []
        default:
            return self.read(frame, session, now)
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

    private mutating func read(_ frame: RequestFrame, _ number: SessionNumber, _ now: Moment) -> [ServerEffect] {
        guard let device = self.sessions.device(of: number) else { return [] }
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
                guard self.sessions.isMember(device.user, of: request.channel, in: self.store),
                    self.store.isMember(device.user, of: request.channel)
                else { return [Self.refusal(frame, Failure(.notAMember, "not a member"), number)] }
                return self.sessions.answer(
                    frame, self.page(request, device), of: request.channel, to: number, now: now)
            case .findGroup:
                guard let group = self.store.group(named: try FindGroup(decoding: &body).name),
                    group.isOpen || group.members[device.user] != nil || group.invited.contains(device.user)
                else {
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

    private func page(_ request: History, _ device: ModelStore.Device) -> History.Answer {
        let channel = request.channel
        let head = self.store.logs[channel]?.head ?? 0
        let first = self.store.first(in: channel, for: device.user)
        let from = max(request.from.rawValue, first, 1)
        let wanted = from > head ? [] : Array(from...head)
        let messages = wanted.compactMap { self.store.pushed($0, in: channel) }
        let page = Array(messages.prefix(self.pageLimit))
        let hasMore = page.count < messages.count
        return History.Answer(
            hasMore: hasMore, epoch: self.store.logs[channel]?.epoch ?? Epoch(rawValue: 0),
            head: MessageSequence(head), first: MessageSequence(min(first, head + 1)), messages: page)
    }

    // MARK: Writing

    mutating func commit(
        _ frame: RequestFrame, _ number: SessionNumber, _ device: ModelStore.Device, _ now: Moment
    ) -> [ServerEffect] {
        let user = device.user
        var body = frame.body
        switch frame.resource {
        case .createGroup:
            guard let request = try? CreateGroup(decoding: &body),
                let group = self.store.create(request, by: device)
            else { return self.refuse(frame, Failure(.alreadyExists, "there is one"), number, now) }
            return self.sessions.joined(user, group.id, by: number, self.store, now: now)
                + self.sessions.answer(
                    [Self.success(frame, Self.state(group, user), number)], to: number, nil, now: now)
        case .joinGroup:
            guard let request = try? JoinGroup(decoding: &body), let isNew = self.store.join(request.group, user),
                let group = self.store.groups[request.group]
            else { return self.refuse(frame, Failure(.notInvited, "not invited"), number, now) }
            let notices = isNew ? self.sessions.joined(user, group.id, by: number, self.store, now: now) : []
            let answer = Self.success(frame, Self.state(group, user), number)
            return notices + self.sessions.answer([answer], to: number, nil, now: now)
        case .inviteMember:
            guard let request = try? InviteMember(decoding: &body),
                self.store.invite(request.user, to: request.group, by: user)
            else { return self.refuse(frame, Failure(.notAMember, "not a member"), number, now) }
            return self.sessions.answer([Self.success(frame, EmptyBody(), number)], to: number, nil, now: now)
        default:
            guard let request = try? LeaveGroup(decoding: &body) else { return [] }
            if self.store.isMember(user, of: ChannelID(group: request.group)) {
                self.store.leave(request.group, user)
                self.sessions.left(user, request.group, now: now)
            }
            return self.sessions.answer([Self.success(frame, EmptyBody(), number)], to: number, nil, now: now)
        }
    }

    private mutating func refuse(
        _ frame: RequestFrame, _ failure: Failure, _ number: SessionNumber, _ now: Moment
    ) -> [ServerEffect] {
        self.sessions.answer([Self.refusal(frame, failure, number)], to: number, nil, now: now)
    }
}
