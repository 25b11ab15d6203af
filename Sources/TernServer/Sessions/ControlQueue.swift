// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import TernMessages
internal import TernStore

/// What is to be written on a control stream, a part of ``SessionState``: answers in order, and notices that merge while they wait,
/// for only what they come to matters.
struct ControlQueue: Sendable {
    private struct ReceiptKey: Sendable, Hashable {
        var channel: ChannelKey
        var user: UserID
        var device: DeviceID?
        var kind: TernMessages.Receipt.Kind
    }

    private enum Item: Sendable {
        case message(Message)
        case inbox(ChannelKey)
        case receipt(ReceiptKey)
    }

    /// Receipts that wait for a client which does not read; more are dropped, the client can ask for the offsets.
    static let maximumReceipts = 4096
    /// What an item costs besides its bytes: its place and what it owns on the heap.
    private static var overhead: Int { MemoryLayout<Item>.stride + 128 }

    private var items: Deque<Item> = []
    private var inboxes: [ChannelKey: InboxNotice] = [:]
    /// By channel, for a channel that is left takes all of its own with it.
    private var receipts: [ChannelKey: [ReceiptKey: TernMessages.Receipt]] = [:]
    private var receiptCount = 0
    /// Places of what was forgotten.
    private var hollowCount = 0
    /// The memory of the messages that wait.
    private(set) var bytes = 0
    private(set) var isFinished = false

    var isEmpty: Bool { self.items.isEmpty }
    /// Places of what waits, and of what was forgotten.
    var count: Int { self.items.count }
    /// Whether nothing at all is kept.
    var holdsNothing: Bool { self.items.isEmpty && self.inboxes.isEmpty && self.receipts.isEmpty }

    mutating func append(_ message: Message) {
        guard !self.isFinished else { return }
        self.items.append(.message(message))
        self.bytes += message.encodedLength + Self.overhead
    }

    mutating func offer(_ notice: InboxNotice, of channel: ChannelKey) {
        guard !self.isFinished else { return }
        guard let waiting = self.inboxes[channel] else {
            self.inboxes[channel] = notice
            self.items.append(.inbox(channel))
            return
        }
        self.inboxes[channel] = waiting.merged(with: notice)
    }

    mutating func offer(_ receipt: TernMessages.Receipt, in channel: ChannelID) {
        guard !self.isFinished else { return }
        let key = ReceiptKey(
            channel: ChannelKey(channel), user: receipt.sender, device: receipt.senderDevice, kind: receipt.kind)
        if let waiting = self.receipts[key.channel]?[key] {
            // Several connections of a device tell of it, and may overtake each other.
            if receipt.sequence > waiting.sequence { self.receipts[key.channel]?[key] = receipt }
        } else if self.receiptCount < Self.maximumReceipts {
            self.receipts[key.channel, default: [:]][key] = receipt
            self.receiptCount += 1
            self.items.append(.receipt(key))
        }
    }

    /// What is said of the channel is no longer so.
    mutating func replaceNotice(of channel: ChannelKey, by notice: InboxNotice) {
        if self.inboxes[channel] != nil { self.inboxes[channel] = notice }
    }

    /// Drops what waits to be told of a channel.
    mutating func forget(_ channel: ChannelKey) {
        if self.inboxes.removeValue(forKey: channel) != nil { self.hollowCount += 1 }
        let receipts = self.receipts.removeValue(forKey: channel)?.count ?? 0
        self.receiptCount -= receipts
        self.hollowCount += receipts
        self.compactIfHollow()
    }

    /// Whoever joins and leaves without pause leaves no trail of places behind. It costs what made them.
    private mutating func compactIfHollow() {
        guard self.hollowCount > 64, self.hollowCount > self.items.count / 2 else { return }
        var (seenInboxes, seenReceipts): (Set<ChannelKey>, Set<ReceiptKey>) = ([], [])
        self.items = Deque(
            self.items.filter { item in
                switch item {
                case .message: true
                case .inbox(let channel): self.inboxes[channel] != nil && seenInboxes.insert(channel).inserted
                case .receipt(let key):
                    self.receipts[key.channel]?[key] != nil && seenReceipts.insert(key).inserted
                }
            })
        self.hollowCount = 0
    }

    /// Everything that is to be written now.
    ///
    /// - Parameter current: what a notice of a channel says by now.
    mutating func takeAll(current: (ChannelKey, InboxNotice) -> InboxNotice) -> [Message] {
        defer {
            self.items = []
            self.receipts = [:]
            self.receiptCount = 0
            self.hollowCount = 0
            self.bytes = 0
        }
        return self.items.compactMap { item in
            switch item {
            case .message(let message): message
            case .inbox(let channel): self.inboxes.removeValue(forKey: channel).map { current(channel, $0).message }
            case .receipt(let key): self.receipts[key.channel]?.removeValue(forKey: key)?.message
            }
        }
    }

    /// Nothing more comes; what waits can still be taken. Idempotent.
    mutating func finish() {
        self.isFinished = true
    }
}

extension InboxNotice {
    /// What both say of one channel, whichever came first. Sequences of a log never go back while a server runs, so of two epochs
    /// the one with the higher head is the newer one.
    func merged(with later: InboxNotice) -> InboxNotice {
        var merged = later.head >= self.head ? later : self
        merged.mustPull = self.mustPull || later.mustPull
        return merged
    }
}
