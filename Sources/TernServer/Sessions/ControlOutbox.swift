// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import NIOCore
internal import Synchronization
internal import TernMessages
internal import TernStore

/// What is to be written on a control stream: answers in order, and notices of which only the newest matters.
final class ControlOutbox: Sendable {
    private struct ReceiptKey: Sendable, Hashable {
        var channel: ChannelID
        var user: UserID
        var device: DeviceID?
        var kind: TernMessages.Receipt.Kind
    }

    private enum Item: Sendable {
        case message(Message)
        case inbox(ChannelKey)
        case receipt(ReceiptKey)
    }

    private struct Notices {
        var inboxes: [ChannelKey: InboxNotice] = [:]
        var receipts: [ReceiptKey: TernMessages.Receipt] = [:]
    }

    /// Receipts that wait for a client which does not read; more are dropped, the client can ask for the offsets.
    private static let maximumReceipts = 4096

    private let queue = BoundedQueue<Item>(capacity: 256 << 10)
    private let notices = Mutex(Notices())

    /// Waits for room.
    func send(_ message: Message) async {
        await self.queue.push(.message(message), cost: message.encodedLength)
    }

    /// For what happens once or seldom.
    func sendNow(_ message: Message) {
        self.queue.pushNow(.message(message), cost: message.encodedLength)
    }

    func offer(_ notice: InboxNotice, of channel: ChannelKey) {
        let isNew = self.notices.withLock { notices in
            defer { notices.inboxes[channel] = notice }
            return notices.inboxes[channel] == nil
        }
        if isNew { self.queue.pushNow(.inbox(channel), cost: 0) }
    }

    func offer(_ receipt: TernMessages.Receipt, in channel: ChannelID) {
        let key = ReceiptKey(
            channel: channel, user: receipt.sender, device: receipt.senderDevice, kind: receipt.kind)
        let isNew = self.notices.withLock { notices in
            if let waiting = notices.receipts[key] {
                if receipt.sequence > waiting.sequence { notices.receipts[key] = receipt }
                return false
            }
            guard notices.receipts.count < Self.maximumReceipts else { return false }
            notices.receipts[key] = receipt
            return true
        }
        if isNew { self.queue.pushNow(.receipt(key), cost: 0) }
    }

    /// Drops what waits to be told of a channel.
    func forget(_ channel: ChannelKey) {
        self.notices.withLock { notices in
            notices.inboxes[channel] = nil
            for key in notices.receipts.keys where ChannelKey(key.channel) == channel { notices.receipts[key] = nil }
        }
    }

    /// Everything that is to be written now, encoded; `nil` at the end.
    func next() async -> ByteBuffer? {
        guard let items = await self.queue.takeAll() else { return nil }
        var buffer = ByteBuffer()
        for item in items {
            // Our own messages are within the format's limits.
            try? self.message(item)?.encode(into: &buffer)
        }
        return buffer
    }

    private func message(_ item: Item) -> Message? {
        switch item {
        case .message(let message): message
        case .inbox(let channel): self.notices.withLock { $0.inboxes.removeValue(forKey: channel)?.message }
        case .receipt(let key): self.notices.withLock { $0.receipts.removeValue(forKey: key)?.message }
        }
    }

    func finish() {
        self.queue.finish()
    }
}
