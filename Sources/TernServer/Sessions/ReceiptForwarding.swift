// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import Synchronization
internal import TernMessages
internal import TernStore

/// The receipts of a session on their way into the store and to the others of their channels: ``ReceiptState`` behind a lock, and
/// the task that hands over what waits.
final class ReceiptForwarding: Sendable {
    private let state = Mutex(ReceiptState())
    private let queue = BoundedQueue<ReceiptState.Place>(capacity: .max)

    func came(_ told: TernStore.Offsets, in channel: ChannelKey) -> ReceiptState.Step {
        self.state.withLock { $0.came(told, in: channel) }
    }

    func found(
        _ before: TernStore.Offsets, told: TernStore.Offsets, in channel: ChannelKey, asOf moment: ReceiptState.Moment
    ) -> Bool {
        self.state.withLock { $0.found(before, told: told, in: channel, asOf: moment) }
    }

    func stored(
        _ receipt: TernMessages.Receipt, in channel: ChannelID, from device: DeviceID, before: TernStore.Offsets,
        after: TernStore.Offsets, asOf moment: ReceiptState.Moment
    ) {
        let place = self.state.withLock {
            $0.stored(receipt, in: channel, from: device, before: before, after: after, asOf: moment)
        }
        if let place { self.queue.pushNow(place, cost: 0) }
    }

    /// The user left or joined the channel: what was told before counts no more.
    func forget(_ channel: ChannelKey) {
        self.state.withLock { $0.forget(channel) }
    }

    /// Hands over what waits, one after the other, until the session ends. One task calls it.
    func run(_ forward: (TernMessages.Receipt, ChannelID) async -> Void) async {
        while let places = await self.queue.takeAll() {
            for place in places {
                guard !Task.isCancelled, let receipt = self.state.withLock({ $0.take(place) }) else { continue }
                await forward(receipt, place.channel)
            }
        }
    }

    func finish() {
        self.queue.finish()
    }
}
