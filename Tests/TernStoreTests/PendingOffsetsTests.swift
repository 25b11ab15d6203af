// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import TestTimeLimits
import Testing

@testable import TernStore

@Suite(.untilItHangs) struct PendingOffsetsTests {
    private func place(_ user: UInt64, _ channel: UInt64, device: UInt32 = 1) -> PendingOffsets.Place {
        PendingOffsets.Place(device: DeviceKey(user: user, device: device), channel: channel)
    }

    private func isNoted(_ noted: PendingOffsets.Noted) -> Bool {
        if case .noted = noted { true } else { false }
    }

    /// However many others told something, looking up costs what is found.
    @Test func aLookUpTouchesWhatItFinds() {
        let pending = PendingOffsets()
        for user in 1...300 as ClosedRange<UInt64> {
            for channel in 1...100 as ClosedRange<UInt64> {
                #expect(self.isNoted(pending.note(Offsets(read: channel), at: self.place(user, channel))))
            }
        }
        #expect(pending.count == 30_000)
        #expect(pending.pending(of: 7, in: 9) == [self.place(7, 9): Offsets(delivered: 9, read: 9)])
        #expect(pending.examined == 1)
        #expect(pending.pending(of: 7).count == 100)
        #expect(pending.examined == 101)
        #expect(pending.pending(in: 9).count == 300)
        #expect(pending.examined == 401)
        #expect(pending.pending(in: 999).isEmpty)
        #expect(pending.examined == 401)
    }

    @Test func eachChannelUserAndMemberHasAPartOfTheRoom() {
        let bounds = PendingOffsets.Bounds(total: 10, perChannel: 3, perUser: 3, perMember: 2)
        let pending = PendingOffsets(bounds: bounds)
        for user in 1...3 as ClosedRange<UInt64> {
            #expect(self.isNoted(pending.note(Offsets(read: 1), at: self.place(user, 1))))
        }
        #expect(!self.isNoted(pending.note(Offsets(read: 1), at: self.place(4, 1))))
        #expect(self.isNoted(pending.note(Offsets(read: 2), at: self.place(3, 1))))
        for channel in 2...3 as ClosedRange<UInt64> {
            #expect(self.isNoted(pending.note(Offsets(read: 1), at: self.place(1, channel))))
        }
        #expect(!self.isNoted(pending.note(Offsets(read: 1), at: self.place(1, 4))))
        #expect(self.isNoted(pending.note(Offsets(read: 1), at: self.place(1, 1, device: 2))))
        #expect(!self.isNoted(pending.note(Offsets(read: 1), at: self.place(1, 1, device: 3))))
        #expect(pending.count == 6)
        #expect(pending.take().count == 6)
        #expect(self.isNoted(pending.note(Offsets(read: 1), at: self.place(4, 1))))
        // Found in either place, and back in line when the transaction failed.
        #expect(pending.pending(in: 1).count == 5)
        pending.notWritten()
        #expect(pending.pending(in: 1).count == 5)
        #expect(pending.take().count == 7)
        pending.written()
        #expect(pending.count == 0)
    }

    /// Pages are the same whether offsets are written or wait, and a page of one has one.
    @Test func pagesOfOffsetsMergeWhatWaits() async throws {
        try await withStore { store async throws in
            let owner = try await store.registerUser(named: "owner")
            let group = try await store.createGroup(named: "g", owner: owner, rules: .commons).group
            let channel = ChannelKey.group(group)
            for index in 0..<9 { _ = try await store.append(.text("\(index)", to: channel, from: owner)) }
            var expected: [DeviceKey: Offsets] = [:]
            for index in 0..<20 {
                let user = try await store.registerUser(named: "u\(index)")
                try await store.join(group: group, user: user)
                let device = DeviceKey(user: user, device: UInt32(1 + index % 3))
                let offsets = Offsets(delivered: UInt64(index % 9), read: UInt64(index % 5))
                try await store.advanceOffsets(offsets, of: device, in: channel)
                let told = Offsets(delivered: max(offsets.delivered, offsets.read), read: offsets.read)
                if told != Offsets() { expected[device] = told }
                if index % 7 == 0 { try await store.flush() }
            }
            for limit in [1, 3, 100] {
                var found: [DeviceKey: Offsets] = [:]
                var last = DeviceKey(user: 0, device: 0)
                while true {
                    let page = try await store.offsets(in: channel, after: last, limit: limit)
                    #expect(page.entries.count <= limit)
                    for entry in page.entries {
                        #expect((entry.device.user, entry.device.device) > (last.user, last.device))
                        found[entry.device] = entry.offsets
                        last = entry.device
                    }
                    guard page.hasMore else { break }
                }
                #expect(found == expected)
            }
            // Whoever leaves is forgotten, written or not.
            let gone = try #require(expected.keys.first)
            try await store.advanceOffsets(Offsets(read: 9), of: gone, in: channel)
            try await store.leave(group: group, user: gone.user)
            expected[gone] = nil
            #expect(try await store.offsets(in: channel) == expected)
            try await store.flush()
            #expect(try await store.offsets(in: channel) == expected)
            try await store.join(group: group, user: gone.user)
            #expect(try await store.offsets(of: gone, in: channel) == Offsets())
        }
    }
}
