// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernStore
import TestTimeLimits
import Testing

@Suite(.untilItHangs) struct AppendTests {
    @Test func manyWritersGetContiguousSequences() async throws {
        try await withStore { store in
            let owner = try await store.registerUser(named: "owner")
            var channels: [ChannelKey] = []
            for index in 0..<20 {
                channels.append(.group(try await store.createGroup(named: "g\(index)", owner: owner).group))
            }
            let receipts = try await withThrowingTaskGroup(of: [(ChannelKey, Receipt, String)].self) { tasks in
                for writer in 0..<8 {
                    tasks.addTask { [channels] in
                        var given: [(ChannelKey, Receipt, String)] = []
                        for index in 0..<500 {
                            let channel = channels[(index * 7 + writer) % channels.count]
                            let text = "\(writer)/\(index)"
                            given.append((channel, try await store.append(.text(text, to: channel, from: owner)), text))
                        }
                        return given
                    }
                }
                return try await tasks.reduce(into: []) { $0 += $1 }
            }
            for channel in channels {
                let log = try await store.log(of: channel, pageSize: 37)
                #expect(log.map(\.sequence) == Array(1...UInt64(log.count)))
                let acknowledged = receipts.filter { $0.0 == channel }.sorted { $0.1.sequence < $1.1.sequence }
                #expect(acknowledged.map(\.1.sequence) == log.map(\.sequence))
                #expect(acknowledged.map(\.2) == log.map(\.text))
                #expect(acknowledged.map(\.1.timestamp) == log.map(\.timestamp))
                #expect(Set(acknowledged.map(\.1.epoch)).count == 1)
                #expect(acknowledged.allSatisfy { $0.1.epoch != 0 && !$0.1.isDuplicate })
            }
            #expect(receipts.count == 4_000)
        }
    }

    @Test func reopeningContinuesTheLog() async throws {
        try await withTemporaryDirectory { directory in
            var epochs: Set<UInt32> = []
            for round in 1...3 {
                try await withStore(in: directory) { store in
                    let (alice, bob) = try await store.pair()
                    let receipt = try await store.append(.text("\(round)", to: .direct(alice, bob), from: alice))
                    #expect(receipt.sequence == UInt64(round))
                    epochs.insert(receipt.epoch)
                    #expect(try await store.log(of: .direct(bob, alice)).map(\.text) == (1...round).map { "\($0)" })
                }
            }
            #expect(epochs.count == 1)
        }
    }

    @Test func theSameKeyGivesTheSameReceiptAlsoAfterReopening() async throws {
        try await withTemporaryDirectory { directory in
            let first = try await withStore(in: directory) { store in
                let (alice, bob) = try await store.pair()
                let draft = Draft.text("once", to: .direct(alice, bob), from: alice, key: 5)
                let first = try await store.append(draft)
                var again = try await store.append(draft)
                #expect(again.isDuplicate)
                again.isDuplicate = false
                #expect(again == first)
                return first
            }
            try await withStore(in: directory) { store in
                let (alice, bob) = try await store.pair()
                let again = try await store.append(.text("once", to: .direct(alice, bob), from: alice, key: 5))
                #expect(again.isDuplicate && again.sequence == first.sequence && again.timestamp == first.timestamp)
                let next = try await store.append(.text("twice", to: .direct(alice, bob), from: alice, key: 6))
                #expect(next.sequence == 2)
                #expect(try await store.log(of: .direct(alice, bob)).count == 2)
            }
        }
    }

    @Test func manyCopiesAtOnceAreStoredOnce() async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            let draft = Draft.text("once", to: .direct(alice, bob), from: alice, key: 1)
            let receipts = try await withThrowingTaskGroup(of: Receipt.self) { tasks in
                for _ in 0..<50 { tasks.addTask { try await store.append(draft) } }
                return try await tasks.reduce(into: []) { $0.append($1) }
            }
            #expect(receipts.filter { !$0.isDuplicate }.count == 1)
            #expect(receipts.allSatisfy { $0.sequence == 1 })
            #expect(try await store.log(of: .direct(alice, bob)).count == 1)
        }
    }

    @Test func theSameKeyWithOtherContentIsAConflict() async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            let carol = try await store.registerUser(named: "carol")
            let draft = Draft.text("one", to: .direct(alice, bob), from: alice, key: 1)
            _ = try await store.append(draft)

            var changed = draft
            changed.payload = ByteBuffer(string: "two")
            _ = await storeError(.conflict) { [changed] in try await store.append(changed) }
            changed = draft
            changed.type = 33
            _ = await storeError(.conflict) { [changed] in try await store.append(changed) }
            changed = draft
            changed.flags = 1
            _ = await storeError(.conflict) { [changed] in try await store.append(changed) }
            // A channel that exists, and one that the refused message must not create.
            changed = draft
            changed.channel = .direct(alice, alice)
            _ = await storeError(.conflict) { [changed] in try await store.append(changed) }
            changed.channel = .direct(alice, carol)
            _ = await storeError(.conflict) { [changed] in try await store.append(changed) }
            let index = try await store.syncIndex(for: DeviceKey(user: alice, device: 1), after: nil, limit: 10)
            #expect(index.entries.map(\.channel) == [.direct(alice, bob)])

            // Another sender may use the same key.
            let other = Draft.text("two", to: .direct(alice, bob), from: bob, key: 1)
            #expect(try await store.append(other).sequence == 2)
        }
    }

    @Test func keysAreForgottenAfterTheWindow() async throws {
        let clock = ManualDate(milliseconds: 1_000_000_000_000)
        var options = SQLiteMessageStore.Options()
        options.now = { clock.milliseconds }
        options.steadyNow = { clock.milliseconds }
        options.keyWindow = .seconds(64)
        try await withStore(options) { store in
            let (alice, bob) = try await store.pair()
            let draft = Draft.text("again", to: .direct(alice, bob), from: alice, key: 9)
            #expect(try await store.append(draft).sequence == 1)
            clock.advance(64_000)
            try await store.flush()
            #expect(try await store.append(draft).isDuplicate)
            // The store's time may run faster than that, by an eighth.
            clock.advance(9_000)
            try await store.flush()
            #expect(try await store.append(draft).sequence == 2)
        }
    }

    /// They are for people: the order is that of the sequences.
    @Test func timestampsSayWhatTheClockSays() async throws {
        let clock = ManualDate(milliseconds: 5_000)
        var options = SQLiteMessageStore.Options()
        options.now = { clock.milliseconds }
        try await withTemporaryDirectory { directory in
            try await withStore(in: directory, options) { store in
                let (alice, bob) = try await store.pair()
                #expect(try await store.append(.text("a", to: .direct(alice, bob), from: alice)).timestamp == 5_000)
            }
            clock.set(1_000)
            try await withStore(in: directory, options) { store in
                let (alice, bob) = try await store.pair()
                let receipt = try await store.append(.text("b", to: .direct(alice, bob), from: bob))
                #expect(receipt.timestamp == 1_000 && receipt.sequence == 2)
                #expect(try await store.head(of: .direct(alice, bob)).timestamp == 1_000)
            }
        }
    }

    @Test func everyByteComesBack() async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            let channel = ChannelKey.direct(alice, bob)
            let payloads: [[UInt8]] = [
                [], [0], [0xff, 0xff, 0xff, 0xff], Array(repeating: 0xff, count: 70_000), Array("a\0b'\"--".utf8),
                (0..<4_096).map { UInt8(truncatingIfNeeded: $0) }, Array(repeating: 0, count: 1 << 20),
            ]
            for (index, payload) in payloads.enumerated() {
                var draft = Draft.text("", to: channel, from: alice, device: .max, key: .max - UInt64(index))
                draft.payload = ByteBuffer(bytes: payload)
                draft.extensions = ByteBuffer(bytes: payload.prefix(252))
                draft.type = 0xfff
                draft.flags = .max
                draft.clientTimestamp = .max
                _ = try await store.append(draft)
                let stored = try #require(
                    try await store.history(
                        of: channel, from: UInt64(index + 1), .forward, limit: 1, byteLimit: 0
                    ).messages.first)
                #expect(stored.payload == draft.payload && stored.extensions == draft.extensions)
                #expect(stored.sender == draft.sender && stored.key == draft.key)
                #expect(stored.type == 0xfff && stored.flags == .max && stored.clientTimestamp == .max)
            }
        }
    }

    @Test func refusesWhatCannotBeStored() async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            var large = Draft.text("", to: .direct(alice, bob), from: alice)
            large.payload = ByteBuffer(repeating: 1, count: (1 << 20) + 1)
            _ = await storeError(.tooLarge) { [large] in try await store.append(large) }
            let nobody = ChannelKey.direct(alice, 99)
            _ = await storeError(.notFound) { try await store.append(.text("", to: nobody, from: alice)) }
            let noGroup = ChannelKey.group(ChannelKey.firstGroup + 5)
            _ = await storeError(.notFound) { try await store.append(.text("", to: noGroup, from: alice)) }
            _ = await storeError(.notFound) {
                try await store.history(of: noGroup, from: 1, .forward, limit: 1, byteLimit: 1)
            }
            _ = await storeError(.notFound) { try await store.append(.text("", to: .direct(bob, bob), from: alice)) }
            let wild = ChannelKey.direct(.max, alice)
            _ = await storeError(.notFound) { try await store.append(.text("", to: wild, from: alice)) }
            #expect(try await store.head(of: .direct(alice, bob)).sequence == 0)
        }
    }

    @Test func aClosedStoreSaysSo() async throws {
        try await withStore { store in
            let (alice, bob) = try await store.pair()
            await store.close()
            await store.close()
            #expect(store.status == .closed)
            _ = await storeError(.closed) { try await store.append(.text("", to: .direct(alice, bob), from: alice)) }
            _ = await storeError(.closed) { try await store.findUser(named: "alice") }
            _ = await storeError(.closed) { try await store.flush() }
        }
    }
}
