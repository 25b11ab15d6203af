// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

extension WriteSession {
    /// - Parameter creator: who registers somebody else; `nil` for a user who comes.
    func registerUser(named name: String, by creator: UInt64?) throws(StoreError) -> UInt64 {
        if let known = try self.statements.findUser.bind(name, at: 1).first({ $0.unsigned(0) }) { return known }
        if let creator {
            let registered = try self.usage(of: creator).namesRegistered
            guard registered < self.quotas.namesRegistered else {
                let message = "you have registered \(registered) names for others; more are not allowed"
                throw StoreError(.quotaExceeded, message: message)
            }
        }
        let user = (try self.statements.lastUser.first { $0.unsigned(0) } ?? 0) + 1
        guard user <= Schema.largestUser else {
            throw StoreError(.limitReached, message: "there is no number left for another user")
        }
        try self.statements.insertUser.bind(user).bind(name, at: 2).run()
        if let creator { try self.addUsage(of: creator, namesRegistered: 1) }
        return user
    }

    func registerDevice(named name: String, of user: UInt64) throws(StoreError) -> UInt32 {
        if let known = try self.statements.findDevice.bind(user).bind(name, at: 2).first({ $0.unsigned(0) }) {
            return UInt32(truncatingIfNeeded: known)
        }
        guard try self.hasUser(user) else { throw Self.noUser(user) }
        let device = (try self.statements.lastDevice.bind(user).first { $0.unsigned(0) } ?? 0) + 1
        guard let number = UInt32(exactly: device) else {
            throw StoreError(.limitReached, message: "user \(user) has too many devices")
        }
        try self.statements.insertDevice.bind(user, device).bind(name, at: 3).run()
        return number
    }

    // MARK: Groups

    func createGroup(named name: String, owner: UInt64, rules: GroupRules) throws(StoreError) -> GroupCreation {
        if let known = try self.statements.findGroup.bind(name, at: 1).first({ $0.unsigned(0) }) {
            return GroupCreation(group: known, isNew: false)
        }
        guard try self.hasUser(owner) else { throw Self.noUser(owner) }
        let usage = try self.usage(of: owner)
        guard usage.groupsCreated < self.quotas.groupsCreated else {
            let message = "you have made \(usage.groupsCreated) groups; more are not allowed"
            throw StoreError(.quotaExceeded, message: message)
        }
        try self.checkMayJoin(usage)
        let last = try self.statements.lastGroup.first { $0.unsigned(0) } ?? 0
        let group = max(last + 1, ChannelKey.firstGroup)
        guard group <= Schema.largestGroup else {
            throw StoreError(.limitReached, message: "there is no number left for another group")
        }
        let channel = try self.makeChannel(.group(group))
        try self.statements.insertGroup.bind(group, rules.isOpen ? 1 : 0, rules.sharesHistory ? 1 : 0)
            .bind(name, at: 4).run()
        _ = try self.insertMember(owner, channel, inGroup: group, joined: 0, first: 1)
        try self.addUsage(of: owner, groups: 1, groupsCreated: 1)
        self.events.append(.joined(user: owner, membership: GroupMembership(group: group, first: 1)))
        return GroupCreation(group: group, isNew: true)
    }

    private func rules(of group: UInt64) throws(StoreError) -> GroupRules {
        let rules = try self.statements.groupRules.bind(group).first { row in
            GroupRules(isOpen: row.integer(0) != 0, sharesHistory: row.integer(1) != 0)
        }
        guard let rules else { throw Self.noGroup(group) }
        return rules
    }

    func invite(_ user: UInt64, to group: UInt64, by member: UInt64) throws(StoreError) {
        guard let channel = try self.groupChannel(group), try self.isMember(member, of: channel.number) else {
            throw Self.notAMember(member, of: group)
        }
        guard try self.hasUser(user) else { throw Self.noUser(user) }
        guard try !self.isMember(user, of: channel.number), try !self.rules(of: group).isOpen else { return }
        // Whoever asks again because the answer was lost uses up nothing.
        guard try self.statements.findInvitation.bind(channel.number, user).first({ _ in true }) == nil else { return }
        let invitations = try self.usage(of: member).invitations
        guard invitations < self.quotas.invitations else {
            let message = "\(invitations) of your invitations were not taken yet; more are not allowed"
            throw StoreError(.quotaExceeded, message: message)
        }
        try self.statements.insertInvitation.bind(channel.number, user, member).run()
        guard self.connection.changes == 1 else { return }
        try self.addUsage(of: member, invitations: 1)
    }

    func join(group: UInt64, user: UInt64) throws(StoreError) -> GroupJoining {
        guard let channel = try self.groupChannel(group) else { throw Self.noGroup(group) }
        guard try self.hasUser(user) else { throw Self.noUser(user) }
        let head = ChannelHead(epoch: channel.epoch, sequence: channel.head, timestamp: channel.headTime)
        guard try !self.isMember(user, of: channel.number) else { return GroupJoining(isNew: false, head: head) }
        let rules = try self.rules(of: group)
        let inviter = try self.statements.findInvitation.bind(channel.number, user).first { $0.unsigned(0) }
        guard rules.isOpen || inviter != nil else {
            throw StoreError(.notInvited, message: "nobody invited user \(user) to group \(group)")
        }
        try self.checkMayJoin(try self.usage(of: user))
        let members = try self.statements.memberCount.bind(channel.number).first { $0.unsigned(0) } ?? 0
        guard members < UInt64(clamping: self.quotas.groupMembers) else {
            throw StoreError(.groupFull, message: "the group has \(members) members; more are not allowed")
        }
        if let inviter {
            try self.statements.takeInvitation.bind(channel.number, user).run()
            try self.addUsage(of: inviter, invitations: -1)
        }
        let first = rules.sharesHistory ? 1 : channel.head + 1
        _ = try self.insertMember(user, channel, inGroup: group, joined: channel.head, first: first)
        try self.addUsage(of: user, groups: 1)
        self.events.append(.joined(user: user, membership: GroupMembership(group: group, first: first)))
        return GroupJoining(isNew: true, head: head)
    }

    func leave(group: UInt64, user: UInt64) throws(StoreError) -> Bool {
        guard let channel = try self.groupChannel(group) else { return false }
        try self.statements.deleteMember.bind(user, channel.number).run()
        guard self.connection.changes == 1 else { return false }
        try self.statements.addMembers.bind(UInt64(bitPattern: -1), channel.number).run()
        try self.statements.deleteOffsets.bind(user, channel.number).run()
        try self.addUsage(of: user, groups: -1)
        self.forgetMember(user, of: channel.number)
        self.left.insert(Membership(user: user, channel: channel.number))
        self.events.append(.left(user: user, group: group))
        return true
    }

    func insertMember(
        _ user: UInt64, _ channel: Channel, inGroup group: UInt64, joined: UInt64, first: UInt64
    ) throws(StoreError) -> Bool {
        try self.statements.insertMember.bind(user, channel.number, joined, group, first).run()
        guard self.connection.changes == 1 else { return false }
        try self.statements.addMembers.bind(1, channel.number).run()
        return true
    }

    func isMember(_ user: UInt64, of channel: UInt64) throws(StoreError) -> Bool {
        try self.statements.findMember.bind(user, channel).first { _ in true } ?? false
    }

    private func groupChannel(_ group: UInt64) throws(StoreError) -> Channel? {
        group >= ChannelKey.firstGroup ? try self.channel(.group(group)) : nil
    }

    // MARK: What a user made

    struct Usage {
        var groups = 0
        var groupsCreated = 0
        var namesRegistered = 0
        var conversationsBegun = 0
        var invitations = 0
    }

    func usage(of user: UInt64) throws(StoreError) -> Usage {
        let found = try self.statements.findUsage.bind(user).first { row in
            Usage(
                groups: Int(row.integer(0)), groupsCreated: Int(row.integer(1)), namesRegistered: Int(row.integer(2)),
                conversationsBegun: Int(row.integer(3)), invitations: Int(row.integer(4)))
        }
        return found ?? Usage()
    }

    func addUsage(
        of user: UInt64, groups: Int64 = 0, groupsCreated: Int64 = 0, namesRegistered: Int64 = 0,
        conversationsBegun: Int64 = 0, invitations: Int64 = 0
    ) throws(StoreError) {
        try self.statements.addUsage.bind(
            user, UInt64(bitPattern: groups), UInt64(bitPattern: groupsCreated), UInt64(bitPattern: namesRegistered),
            UInt64(bitPattern: conversationsBegun), UInt64(bitPattern: invitations)
        ).run()
    }

    private func checkMayJoin(_ usage: Usage) throws(StoreError) {
        guard usage.groups < self.quotas.groups else {
            throw StoreError(
                .quotaExceeded, message: "you are in \(usage.groups) groups; leave one before you enter another")
        }
    }

    private static func noUser(_ user: UInt64) -> StoreError {
        StoreError(.notFound, message: "there is no user \(user)")
    }

    static func notAMember(_ user: UInt64, of group: UInt64) -> StoreError {
        StoreError(.notAMember, message: "user \(user) is not a member of group \(group)")
    }

    private static func noGroup(_ group: UInt64) -> StoreError {
        StoreError(.notFound, message: "there is no group \(group)")
    }
}
