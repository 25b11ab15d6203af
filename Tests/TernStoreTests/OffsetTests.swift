// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import HeldWriterSupport
import TestTimeLimits
import Testing

@testable import TernStore

@Suite(.untilItHangs) struct OffsetTests {
    @Test func offsetsNeverGoBackNorBeyondTheHead() async throws {
        try await withTemporaryDirectory { directory in
            try await withStore(in: directory) { store in
                let (alice, bob) = try await store.pair()
                let channel = ChannelKey.direct(alice, bob)
                let phone = DeviceKey(user: bob, device: 1)
                for index in 0..<10 { _ = try await store.append(.text("\(index)", to: channel, from: alice)) }

                try await store.advanceOffsets(Offsets(delivered: 7, read: 3), of: phone, in: channel)
                #expect(try await store.offsets(of: phone, in: channel) == Offsets(delivered: 7, read: 3))
                try await store.advanceOffsets(Offsets(delivered: 2, read: 5), of: phone, in: channel)
                #expect(try await store.offsets(of: phone, in: channel) == Offsets(delivered: 7, read: 5))
                try await store.flush()
                #expect(try await store.offsets(of: phone, in: channel) == Offsets(delivered: 7, read: 5))
                // What is read is delivered; what does not exist is neither.
                try await store.advanceOffsets(Offsets(read: 8), of: phone, in: channel)
                #expect(try await store.offsets(of: phone, in: channel) == Offsets(delivered: 8, read: 8))
                try await store.advanceOffsets(Offsets(delivered: .max), of: phone, in: channel)
                #expect(try await store.offsets(of: phone, in: channel) == Offsets(delivered: 10, read: 8))
            }
            // Closing writes them; a smaller one in another life changes nothing.
            try await withStore(in: directory) { store in
                let (alice, bob) = try await store.pair()
                let phone = DeviceKey(user: bob, device: 1)
                let channel = ChannelKey.direct(alice, bob)
                #expect(try await store.offsets(of: phone, in: channel) == Offsets(delivered: 10, read: 8))
                try await store.advanceOffsets(Offsets(delivered: 1, read: 1), of: phone, in: channel)
                try await store.flush()
                #expect(try await store.offsets(of: phone, in: channel) == Offsets(delivered: 10, read: 8))
            }
        }
    }

    @Test func everyDeviceHasItsOwn() async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            let channel = ChannelKey.direct(alice, bob)
            for index in 0..<5 { _ = try await store.append(.text("\(index)", to: channel, from: alice)) }
            try await store.advanceOffsets(Offsets(delivered: 5), of: DeviceKey(user: bob, device: 1), in: channel)
            try await store.advanceOffsets(
                Offsets(delivered: 4, read: 4), of: DeviceKey(user: bob, device: 2), in: channel)
            try await store.flush()
            try await store.advanceOffsets(Offsets(read: 2), of: DeviceKey(user: alice, device: 1), in: channel)
            #expect(
                try await store.offsets(in: channel) == [
                    DeviceKey(user: bob, device: 1): Offsets(delivered: 5, read: 0),
                    DeviceKey(user: bob, device: 2): Offsets(delivered: 4, read: 4),
                    DeviceKey(user: alice, device: 1): Offsets(delivered: 2, read: 2),
                ])
        }
    }

    @Test func tellingOftenIsWrittenOnce() async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            let channel = ChannelKey.direct(alice, bob)
            for index in 0..<100 { _ = try await store.append(.text("\(index)", to: channel, from: alice)) }
            let before = store.statistics.transactions
            for sequence in 1...100 {
                let offsets = Offsets(delivered: UInt64(sequence))
                try await store.advanceOffsets(offsets, of: DeviceKey(user: bob, device: 1), in: channel)
            }
            try await store.flush()
            // Not one for each: the writer gathers them for a while, and a slow machine makes that a few times.
            #expect(store.statistics.transactions - before < 50)
            #expect(try await store.offsets(of: DeviceKey(user: bob, device: 1), in: channel).delivered == 100)
        }
    }

    @Test func toldOffsetsAreWrittenByThemselves() async throws {
        var options = SQLiteMessageStore.Options()
        options.offsetDelay = .milliseconds(1)
        try await withStore(options) { store in
            let (alice, bob) = try await store.pair()
            let channel = ChannelKey.direct(alice, bob)
            _ = try await store.append(.text("", to: channel, from: alice))
            let before = store.statistics.transactions
            try await store.advanceOffsets(Offsets(delivered: 1), of: DeviceKey(user: bob, device: 1), in: channel)
            while store.statistics.transactions == before { await Task.yield() }
            #expect(try await store.offsets(of: DeviceKey(user: bob, device: 1), in: channel).delivered == 1)
        }
    }

    @Test func anUnknownChannelHasNoOffsets() async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            _ = await storeError(.notFound) {
                try await store.advanceOffsets(
                    Offsets(read: 1), of: DeviceKey(user: bob, device: 1), in: .direct(alice, bob))
            }
            #expect(try await store.offsets(of: DeviceKey(user: bob, device: 1), in: .direct(alice, bob)) == Offsets())
        }
    }

    @Test func unreadCountsWhatCameAfterReadingSendingAndJoining() async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            let carol = try await store.registerUser(named: "carol")
            let channel = ChannelKey.group(try await store.createGroup(named: "g", owner: alice, rules: .commons).group)
            try await store.join(group: channel.low, user: bob)
            func unread(_ user: UInt64) async throws -> UInt64? {
                try await store.syncIndex(for: DeviceKey(user: user, device: 1), after: nil, limit: 10).entries
                    .first { $0.channel == channel }?.unread
            }
            for index in 0..<10 { _ = try await store.append(.text("\(index)", to: channel, from: alice)) }
            #expect(try await unread(alice) == 0)
            #expect(try await unread(bob) == 10)
            #expect(try await unread(carol) == nil)

            // Delivered is not read; what another device read is read.
            try await store.advanceOffsets(Offsets(delivered: 10), of: DeviceKey(user: bob, device: 1), in: channel)
            #expect(try await unread(bob) == 10)
            try await store.advanceOffsets(Offsets(read: 6), of: DeviceKey(user: bob, device: 2), in: channel)
            #expect(try await unread(bob) == 4)
            try await store.flush()
            #expect(try await unread(bob) == 4)

            _ = try await store.append(.text("bob", to: channel, from: bob))
            #expect(try await unread(bob) == 0)
            #expect(try await unread(alice) == 1)

            try await store.join(group: channel.low, user: carol)
            #expect(try await unread(carol) == 0)
            _ = try await store.append(.text("new", to: channel, from: alice))
            #expect(try await unread(carol) == 1)
            #expect(try await unread(bob) == 1)
        }
    }

    @Test func theSyncIndexComesInPages() async throws {
        try await withStore { store in
            let alice = try await store.registerUser(named: "alice")
            var channels: [ChannelKey] = []
            for index in 0..<7 {
                let other = try await store.registerUser(named: "u\(index)")
                channels.append(.direct(alice, other))
                _ = try await store.append(.text("hello", to: channels[index], from: other))
            }
            let device = DeviceKey(user: alice, device: 1)
            var seen: [SyncEntry] = []
            var cursor: UInt64?
            var pages = 0
            repeat {
                let page = try await store.syncIndex(for: device, after: cursor, limit: 3)
                #expect(page.entries.count <= 3)
                seen += page.entries
                cursor = page.next
                pages += 1
            } while cursor != nil
            #expect(pages == 3)
            #expect(seen.map(\.channel) == channels)
            #expect(
                seen.allSatisfy {
                    $0.unread == 1 && $0.head.sequence == 1 && $0.head.epoch != 0 && $0.head.timestamp > 0
                })
            #expect(try await store.syncIndex(for: device, after: .max, limit: 3).entries.isEmpty)
        }
    }

    /// What is told beyond the head is limited when it is told: what is stored later was not read.
    @Test func whatIsBeyondTheHeadIsNotReadInAdvance() async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            let channel = ChannelKey.direct(alice, bob)
            let phone = DeviceKey(user: bob, device: 1)
            _ = try await store.append(.text("1", to: channel, from: alice))
            let held = try await HeldWriter(of: store)
            try await store.advanceOffsets(Offsets(read: 1 << 43), of: phone, in: channel)
            let place = PendingOffsets.Place(device: phone, channel: 1)
            #expect(store.writer.offsets.pending(of: bob, in: 1)[place] == Offsets(delivered: 1, read: 1))
            held.letGo()
        }
    }

    /// Leaving forgets also what was not written yet.
    @Test func whatWaitsIsForgottenWithTheMembership() async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            let group = try await store.createGroup(named: "g", owner: alice, rules: .commons).group
            _ = try await store.join(group: group, user: bob)
            for index in 0..<10 { _ = try await store.append(.text("\(index)", to: .group(group), from: alice)) }
            let phone = DeviceKey(user: bob, device: 1)
            // The transaction of leaving and joining has begun, and has not come to either, when the offset is told.
            let first = try await HeldWriter(of: store)
            let second = await first.queue { try await HeldWriter(of: store) }
            let left = await first.queue { try await store.leave(group: group, user: bob) }
            let joined = await first.queue { try await store.join(group: group, user: bob) }
            first.letGo()
            let held = try await second.value
            try await store.advanceOffsets(Offsets(read: 10), of: phone, in: .group(group))
            held.letGo()
            #expect(try await left.value)
            #expect(try await joined.value.isNew)
            try await store.flush()
            #expect(try await store.offsets(of: phone, in: .group(group)) == Offsets())
        }
    }
}
