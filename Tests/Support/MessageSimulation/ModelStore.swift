// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernMessages
import TernStore

/// The logs, groups and receipts of a server, as Docs/PROTOCOL.md describes them: what a client is compared with.
package struct ModelStore {
    package struct Stored {
        package var message: OutgoingMessage
        package var device: DeviceID
    }

    package struct Log {
        package var epoch: Epoch
        /// By sequence, from 1; `nil` where the data were damaged.
        package var messages: [Stored?] = []
        /// Its place in the index.
        package var order: UInt64

        package var head: UInt64 { UInt64(self.messages.count) }
    }

    package struct Group {
        package let id: GroupID
        package let name: Name
        /// From which sequence on it is theirs.
        package var members: [UserID: UInt64] = [:]
        /// Whether everybody may join; otherwise who was invited.
        package let isOpen: Bool
        package var invited: Set<UserID> = []
        /// Whether members read what was before their joining.
        package let sharesHistory: Bool
        package let creator: Device
    }

    package struct Offsets: Equatable {
        package var delivered: UInt64 = 0
        package var read: UInt64 = 0
    }

    package struct Device: Hashable {
        package var user: UserID
        package var device: DeviceID
    }

    private struct Key: Hashable {
        var user: UserID
        var id: ClientMessageID
    }

    package private(set) var logs: [ChannelID: Log] = [:]
    package private(set) var groups: [GroupID: Group] = [:]
    package private(set) var offsets: [Device: [ChannelID: Offsets]] = [:]
    private var known: [Key: (channel: ChannelID, sequence: UInt64, time: UInt64)] = [:]
    /// By which keys are forgotten, as the real store's are.
    private var time = StoreTime(milliseconds: 1 << 40, steady: 0)
    /// No key is older.
    private var oldestKey: UInt64 = 1 << 40
    /// In milliseconds.
    package static let window: UInt64 = 30_000
    private var epochCount: UInt64 = 0
    private var order: UInt64 = 7
    /// Channels whose log lost its tail once.
    package private(set) var restarted: Set<ChannelID> = []

    // MARK: Channels

    package func isMember(_ user: UserID, of channel: ChannelID) -> Bool {
        if let group = channel.group { return self.groups[group]?.members[user] != nil }
        return channel.peer(of: user) != nil
    }

    /// The first sequence that a user may read.
    package func first(in channel: ChannelID, for user: UserID) -> UInt64 {
        guard let group = channel.group.flatMap({ self.groups[$0] }), !group.sharesHistory else { return 1 }
        return group.members[user] ?? 1
    }

    package func members(of channel: ChannelID) -> [UserID] {
        if let group = channel.group { return (self.groups[group]?.members.keys).map { $0.sorted(by: <) } ?? [] }
        guard let (one, other) = channel.users else { return [] }
        return one == other ? [one] : [one, other]
    }

    private mutating func openLog(of channel: ChannelID) {
        guard self.logs[channel] == nil else { return }
        self.epochCount += 1
        // A place in the index that has nothing to do with the time.
        self.order = self.order &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        self.logs[channel] = Log(epoch: Epoch(rawValue: 100 + self.epochCount), order: self.order >> 33 + 1)
    }

    /// Of all channels of a user that have a log, by their place.
    package func channels(of user: UserID) -> [(order: UInt64, channel: ChannelID)] {
        self.logs.filter { self.isMember(user, of: $0.key) && ($0.key.group != nil || $0.value.head > 0) }
            .map { ($0.value.order, $0.key) }.sorted { $0 < $1 }
    }

    package func state(of channel: ChannelID, for device: Device) -> ChannelState? {
        guard let name = try? Name("n"), self.isMember(device.user, of: channel) else { return nil }
        let log = self.logs[channel]
        let head = log?.head ?? 0
        let own = self.offsets[device]?[channel] ?? Offsets()
        let read = self.offsets.filter { $0.key.user == device.user }.compactMap { $0.value[channel]?.read }.max() ?? 0
        let unread = (log?.messages.dropFirst(Int(read)) ?? []).count { $0?.message.sender != device.user }
        let group = channel.group.flatMap { self.groups[$0] }
        let since = group?.members[device.user]
        return ChannelState(
            channel: channel, epoch: log?.epoch ?? Epoch(rawValue: 0), head: MessageSequence(head),
            first: MessageSequence(min(self.first(in: channel, for: device.user), head + 1)),
            delivered: MessageSequence(own.delivered), read: MessageSequence(read), unread: UInt32(clamping: unread),
            timestamp: .none, name: name, since: since.map { MessageSequence($0) })
    }

    package func pushed(_ sequence: UInt64, in channel: ChannelID, previous: UInt64? = nil) -> ChannelMessage? {
        guard let log = self.logs[channel], sequence >= 1, sequence <= log.head,
            let stored = log.messages[Int(sequence) - 1]
        else { return nil }
        let message = stored.message
        return ChannelMessage(
            type: message.type, sender: message.sender, senderDevice: stored.device, receiver: message.receiver,
            channel: channel, epoch: log.epoch, sequence: MessageSequence(sequence),
            previousSequence: previous.map { MessageSequence($0) }, timestamp: message.timestamp, id: message.id,
            payload: message.payload)
    }

    // MARK: Writing

    /// - Returns: the sequence, and whether it was stored before.
    package mutating func append(_ message: OutgoingMessage, by device: Device) -> (UInt64, isDuplicate: Bool)? {
        guard let channel = ChannelID(sender: PartyID(device.user), receiver: message.receiver),
            self.isMember(device.user, of: channel)
        else { return nil }
        let key = Key(user: device.user, id: message.id)
        if let sequence = self.known[key]?.sequence { return (sequence, true) }
        self.openLog(of: channel)
        self.logs[channel]?.messages.append(Stored(message: message, device: device.device))
        let head = self.logs[channel]?.head ?? 0
        self.known[key] = (channel, head, self.time.milliseconds)
        return (head, false)
    }

    /// Time passes, and keys are forgotten.
    package mutating func timePassed(steady: UInt64, wall: UInt64) {
        self.time.advance(steady: steady, wall: wall)
        let edge = self.time.edge(of: Self.window)
        guard edge > self.oldestKey else { return }
        self.known = self.known.filter { $0.value.time >= edge }
        self.oldestKey = self.known.values.map(\.time).min() ?? edge
    }

    package mutating func create(_ request: CreateGroup, by device: Device) -> Group? {
        let name = request.name
        guard !self.groups.values.contains(where: { $0.name == name }),
            let id = GroupID(rawValue: 1 << 36 + UInt64(self.groups.count))
        else { return nil }
        let group = Group(
            id: id, name: name, members: [device.user: 1], isOpen: request.isOpen, sharesHistory: request.sharesHistory,
            creator: device)
        self.groups[id] = group
        self.openLog(of: ChannelID(group: id))
        return group
    }

    package func group(named name: Name) -> Group? { self.groups.values.first { $0.name == name } }

    /// - Returns: `false` for whoever is not in the group.
    package mutating func invite(_ user: UserID, to group: GroupID, by member: UserID) -> Bool {
        guard let found = self.groups[group], found.members[member] != nil else { return false }
        if found.members[user] == nil { self.groups[group]?.invited.insert(user) }
        return true
    }

    /// - Returns: whether that is news; `nil` for whoever may not.
    package mutating func join(_ group: GroupID, _ user: UserID) -> Bool? {
        guard let found = self.groups[group] else { return nil }
        guard found.members[user] == nil else { return false }
        guard found.isOpen || found.invited.contains(user) else { return nil }
        self.groups[group]?.invited.remove(user)
        self.groups[group]?.members[user] = (self.logs[ChannelID(group: group)]?.head ?? 0) + 1
        return true
    }

    package mutating func leave(_ group: GroupID, _ user: UserID) {
        guard self.groups[group]?.members.removeValue(forKey: user) != nil else { return }
        for device in Array(self.offsets.keys) where device.user == user {
            self.offsets[device]?[ChannelID(group: group)] = nil
        }
    }

    /// - Returns: how far it is now; `nil` for whoever is not in the channel.
    package mutating func advance(
        _ kind: TernMessages.Receipt.Kind, to sequence: UInt64, in channel: ChannelID, by device: Device
    ) -> Offsets? {
        guard self.isMember(device.user, of: channel) else { return nil }
        let before = self.offsets[device]?[channel] ?? Offsets()
        let told = min(sequence, self.logs[channel]?.head ?? 0)
        var after = before
        after.delivered = max(after.delivered, told)
        if kind == .read { after.read = max(after.read, told) }
        guard after != before else { return before }
        self.offsets[device, default: [:]][channel] = after
        return after
    }

    // MARK: Accidents

    /// The last messages of each log are lost, and all begin new lives.
    package mutating func loseTails(_ count: Int) {
        for channel in self.logs.keys.sorted() {
            self.epochCount += 1
            self.logs[channel]?.epoch = Epoch(rawValue: 100 + self.epochCount)
            let head = self.logs[channel]?.messages.count ?? 0
            self.logs[channel]?.messages.removeLast(min(count, head))
            self.restarted.insert(channel)
            let kept = self.logs[channel]?.head ?? 0
            // Members and messages are lost together: whoever joined behind what is lost joined behind what is left.
            if let group = channel.group, let members = self.groups[group]?.members {
                self.groups[group]?.members = members.mapValues { min($0, kept + 1) }
            }
            self.known = self.known.filter { $0.value.channel != channel || $0.value.sequence <= kept }
            for device in Array(self.offsets.keys) { self.offsets[device]?[channel] = nil }
        }
    }

    /// A message in the middle of a log cannot be read any more.
    package mutating func damage(_ channel: ChannelID, at sequence: UInt64) {
        guard let log = self.logs[channel], sequence >= 1, sequence <= log.head else { return }
        self.logs[channel]?.messages[Int(sequence) - 1] = nil
    }
}

extension MessageSequence {
    init(_ value: UInt64) {
        self = MessageSequence(rawValue: value) ?? .zero
    }
}

extension UserID {
    static func < (left: UserID, right: UserID) -> Bool { left.rawValue < right.rawValue }
}
