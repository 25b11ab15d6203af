// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import TernMessages

/// Updates that nobody took yet. Messages stay, in order: whoever reads from the network waits while there is no room. What is
/// only of the moment does not pile up: of receipts the last counts, of the connection's story the end, and notices are dropped.
struct UpdateBuffer: Sendable {
    private struct ReceiptKey: Hashable, Sendable {
        var sender: UserID
        var device: DeviceID?
        var receiver: PartyID
        var kind: Receipt.Kind
    }

    private enum Item: Sendable {
        case update(ClientUpdate)
        /// The newest of its key is in `receipts`.
        case receipt(ReceiptKey)
        case status(ClientUpdate)
    }

    /// What tells of the connection, and is not taken; of more the oldest go.
    private static let maximumStatus = 64

    private let capacity: Int
    private var items: Deque<Item> = []
    private var receipts: [ReceiptKey: Receipt] = [:]
    private var statusCount = 0

    init(capacity: Int) {
        self.capacity = max(1, capacity)
    }

    var hasRoom: Bool { self.items.count < self.capacity }
    var isEmpty: Bool { self.items.isEmpty }
    var count: Int { self.items.count }

    /// Messages, and what belongs between them.
    mutating func append(_ update: ClientUpdate) {
        self.items.append(.update(update))
    }

    mutating func append(status update: ClientUpdate) {
        if self.statusCount >= Self.maximumStatus, let oldest = self.items.firstIndex(where: Self.isStatus) {
            self.items.remove(at: oldest)
            self.statusCount -= 1
        }
        self.items.append(.status(update))
        self.statusCount += 1
    }

    mutating func append(_ receipt: Receipt) {
        let key = ReceiptKey(
            sender: receipt.sender, device: receipt.senderDevice, receiver: receipt.receiver, kind: receipt.kind)
        if let waiting = self.receipts[key] {
            if receipt.sequence > waiting.sequence { self.receipts[key] = receipt }
        } else if self.receipts.count < self.capacity {
            self.receipts[key] = receipt
            self.items.append(.receipt(key))
        }
    }

    mutating func append(_ notice: LiveNotice) {
        if self.hasRoom { self.items.append(.update(.notice(notice))) }
    }

    mutating func take() -> ClientUpdate? {
        switch self.items.popFirst() {
        case .update(let update): return update
        case .receipt(let key): return self.receipts.removeValue(forKey: key).map { .receipt($0) }
        case .status(let update):
            self.statusCount -= 1
            return update
        case nil: return nil
        }
    }

    private static func isStatus(_ item: Item) -> Bool {
        if case .status = item { return true }
        return false
    }
}
