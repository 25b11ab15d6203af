// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import TernStore

/// A store whose answers to some calls come later than what they did: between the two the test does something else.
final class DelayingStore: MessageStore {
    /// What a call does after its commit and before it returns.
    struct Delays: Sendable {
        var creation: @Sendable () async -> Void = {}
        var join: @Sendable (_ user: UInt64) async -> Void = { _ in }
        var leave: @Sendable (_ user: UInt64) async -> Void = { _ in }
        /// With the groups that were read.
        var memberships: @Sendable (_ user: UInt64) async -> Void = { _ in }
    }

    private let store: any MessageStore
    private let delays: Delays

    init(_ store: any MessageStore, _ delays: Delays) {
        self.store = store
        self.delays = delays
    }

    func createGroup(
        named name: String, owner: UInt64, rules: GroupRules
    ) async throws(StoreError) -> GroupCreation {
        let creation = try await self.store.createGroup(named: name, owner: owner, rules: rules)
        await self.delays.creation()
        return creation
    }

    func join(group: UInt64, user: UInt64) async throws(StoreError) -> GroupJoining {
        let joining = try await self.store.join(group: group, user: user)
        await self.delays.join(user)
        return joining
    }

    func leave(group: UInt64, user: UInt64) async throws(StoreError) -> Bool {
        let wasMember = try await self.store.leave(group: group, user: user)
        await self.delays.leave(user)
        return wasMember
    }

    func memberships(of user: UInt64, after: UInt64, limit: Int) async throws(StoreError) -> [GroupMembership] {
        let page = try await self.store.memberships(of: user, after: after, limit: limit)
        await self.delays.memberships(user)
        return page
    }

    // MARK: As it comes

    var status: StoreStatus { self.store.status }
    func statusUpdates() -> AsyncStream<StoreStatus> { self.store.statusUpdates() }
    func limit(to quotas: UserQuotas) { self.store.limit(to: quotas) }
    func observeCommits(_ observer: (@Sendable ([CommitEvent]) -> Void)?) { self.store.observeCommits(observer) }
    func startNewEpochs() async throws(StoreError) { try await self.store.startNewEpochs() }
    func flush() async throws(StoreError) { try await self.store.flush() }
    func close() async { await self.store.close() }

    func registerUser(named name: String) async throws(StoreError) -> UInt64 {
        try await self.store.registerUser(named: name)
    }

    func registerUser(named name: String, by creator: UInt64) async throws(StoreError) -> UInt64 {
        try await self.store.registerUser(named: name, by: creator)
    }

    func registerDevice(named name: String, of user: UInt64) async throws(StoreError) -> UInt32 {
        try await self.store.registerDevice(named: name, of: user)
    }

    func findDevice(named name: String, of user: UInt64) async throws(StoreError) -> UInt32? {
        try await self.store.findDevice(named: name, of: user)
    }

    func findUser(named name: String) async throws(StoreError) -> UInt64? { try await self.store.findUser(named: name) }

    func names(of identifiers: [UInt64]) async throws(StoreError) -> [UInt64: String] {
        try await self.store.names(of: identifiers)
    }

    func names(
        of identifiers: [UInt64], knownTo user: UInt64, in channel: ChannelKey?
    ) async throws(StoreError) -> [UInt64: String] {
        try await self.store.names(of: identifiers, knownTo: user, in: channel)
    }

    func findGroup(named name: String) async throws(StoreError) -> UInt64? {
        try await self.store.findGroup(named: name)
    }

    func group(_ group: UInt64, for user: UInt64) async throws(StoreError) -> GroupView? {
        try await self.store.group(group, for: user)
    }

    func invite(_ user: UInt64, to group: UInt64, by member: UInt64) async throws(StoreError) {
        try await self.store.invite(user, to: group, by: member)
    }

    func members(of group: UInt64, after: UInt64, limit: Int) async throws(StoreError) -> [UInt64] {
        try await self.store.members(of: group, after: after, limit: limit)
    }

    func memberCount(of group: UInt64) async throws(StoreError) -> Int { try await self.store.memberCount(of: group) }

    func isMember(_ user: UInt64, of group: UInt64) async throws(StoreError) -> Bool {
        try await self.store.isMember(user, of: group)
    }

    func append(_ draft: Draft) async throws(StoreError) -> Receipt { try await self.store.append(draft) }

    func append(contentsOf drafts: [Draft]) async -> [Result<Receipt, StoreError>] {
        await self.store.append(contentsOf: drafts)
    }

    func head(of channel: ChannelKey) async throws(StoreError) -> ChannelHead { try await self.store.head(of: channel) }

    func history(
        of channel: ChannelKey, from sequence: UInt64, _ direction: HistoryDirection, limit: Int, byteLimit: Int
    ) async throws(StoreError) -> HistoryPage {
        try await self.store.history(of: channel, from: sequence, direction, limit: limit, byteLimit: byteLimit)
    }

    func history(
        of channel: ChannelKey, for user: UInt64, from sequence: UInt64, _ direction: HistoryDirection, limit: Int,
        byteLimit: Int
    ) async throws(StoreError) -> HistoryPage {
        try await self.store.history(
            of: channel, for: user, from: sequence, direction, limit: limit, byteLimit: byteLimit)
    }

    func advanceOffsets(
        _ offsets: Offsets, of device: DeviceKey, in channel: ChannelKey
    ) async throws(StoreError) {
        try await self.store.advanceOffsets(offsets, of: device, in: channel)
    }

    func offsets(of device: DeviceKey, in channel: ChannelKey) async throws(StoreError) -> Offsets {
        try await self.store.offsets(of: device, in: channel)
    }

    func offsets(in channel: ChannelKey, after device: DeviceKey, limit: Int) async throws(StoreError) -> OffsetPage {
        try await self.store.offsets(in: channel, after: device, limit: limit)
    }

    func offsets(
        in channel: ChannelKey, for user: UInt64, after device: DeviceKey, limit: Int
    ) async throws(StoreError) -> OffsetPage {
        try await self.store.offsets(in: channel, for: user, after: device, limit: limit)
    }

    func syncIndex(for device: DeviceKey, after cursor: UInt64?, limit: Int) async throws(StoreError) -> SyncPage {
        try await self.store.syncIndex(for: device, after: cursor, limit: limit)
    }

    func syncEntry(for device: DeviceKey, in channel: ChannelKey) async throws(StoreError) -> SyncEntry? {
        try await self.store.syncEntry(for: device, in: channel)
    }
}
