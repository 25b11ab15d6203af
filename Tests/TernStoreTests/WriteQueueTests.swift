// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TestTimeLimits
import Testing

@testable import TernStore

@Suite(.untilItHangs) struct WriteQueueTests {
    /// A draft that is a slice of something large takes as much of the bound as it keeps alive.
    @Test func anItemCostsWhatItHolds() {
        var large = ByteBuffer(repeating: 0, count: 1 << 20)
        let payload = large.readSlice(length: 3) ?? ByteBuffer()
        let draft = Draft(
            channel: .direct(1, 2), sender: DeviceKey(user: 1, device: 1), key: IdempotencyKey(high: 1, low: 1),
            type: 32, clientTimestamp: 0, payload: payload)
        #expect(WriteItem.append(draft, reply: { _ in }).cost >= 1 << 20)
    }
}
