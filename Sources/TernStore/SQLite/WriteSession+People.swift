// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

extension WriteSession {
    func registerUser(named name: String) throws(StoreError) -> UInt64 {
        if let known = try self.statements.findUser.bind(name, at: 1).first({ $0.unsigned(0) }) { return known }
        let user = (try self.statements.lastUser.first { $0.unsigned(0) } ?? 0) + 1
        guard user <= Schema.largestUser else {
            throw StoreError(.limitReached, message: "There is no number left for another user")
        }
        try self.statements.insertUser.bind(user).bind(name, at: 2).run()
        return user
    }

    func registerDevice(named name: String, of user: UInt64) throws(StoreError) -> UInt32 {
        if let known = try self.statements.findDevice.bind(user).bind(name, at: 2).first({ $0.unsigned(0) }) {
            return UInt32(truncatingIfNeeded: known)
        }
        guard try self.hasUser(user) else { throw Self.noUser(user) }
        let device = (try self.statements.lastDevice.bind(user).first { $0.unsigned(0) } ?? 0) + 1
        guard let number = UInt32(exactly: device) else {
            throw StoreError(.limitReached, message: "User \(user) has too many devices")
        }
        try self.statements.insertDevice.bind(user, device).bind(name, at: 3).run()
        return number
    }

    func createGroup(named name: String, owner: UInt64) throws(StoreError) -> GroupCreation {
        if let known = try self.statements.findGroup.bind(name, at: 1).first({ $0.unsigned(0) }) {
            return GroupCreation(group: known, isNew: false)
        }
        guard try self.hasUser(owner) else { throw Self.noUser(owner) }
        let last = try self.statements.lastGroup.first { $0.unsigned(0) } ?? 0
        let group = max(last + 1, ChannelKey.firstGroup)
        guard group <= Schema.largestGroup else {
            throw StoreError(.limitReached, message: "There is no number left for another group")
        }
        let channel = try self.makeChannel(.group(group))
        try self.statements.insertGroup.bind(group).bind(name, at: 2).run()
        try self.statements.insertMember.bind(owner, channel.number, 0).run()
        return GroupCreation(group: group, isNew: true)
    }

    func join(group: UInt64, user: UInt64) throws(StoreError) -> Bool {
        guard let channel = try self.groupChannel(group) else { throw Self.noGroup(group) }
        guard try self.hasUser(user) else { throw Self.noUser(user) }
        try self.statements.insertMember.bind(user, channel.number, channel.head).run()
        return self.connection.changes == 1
    }

    func leave(group: UInt64, user: UInt64) throws(StoreError) -> Bool {
        guard let channel = try self.groupChannel(group) else { return false }
        try self.statements.deleteMember.bind(user, channel.number).run()
        return self.connection.changes == 1
    }

    private func groupChannel(_ group: UInt64) throws(StoreError) -> Channel? {
        group >= ChannelKey.firstGroup ? try self.channel(.group(group)) : nil
    }

    private static func noUser(_ user: UInt64) -> StoreError {
        StoreError(.notFound, message: "There is no user \(user)")
    }

    private static func noGroup(_ group: UInt64) -> StoreError {
        StoreError(.notFound, message: "There is no group \(group)")
    }
}
