// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// The answer to "did my datagram arrive?": one datagram that was sent with ``Connection/sendTrackedDatagram(_:)``.
///
/// ```swift
/// let delivery = try await connection.sendTrackedDatagram(position)
/// if await delivery.fate() == .lost { try await connection.sendDatagram(latestPosition) }
/// ```
public final class DatagramDelivery: Sendable {
    private let settlement = Settlement<DatagramFate?>()

    init() {}

    /// Waits until it is known what became of the datagram, over QUIC for about a round trip.
    ///
    /// - Returns: `nil` when it will never be known: the connection ended first, or 4,096 datagrams that were sent later
    ///   wait for their fates too. Also when the task that waits is cancelled; it may ask again.
    public func fate() async -> DatagramFate? {
        await self.settlement.value() ?? nil
    }

    func settle(_ fate: DatagramFate?) {
        self.settlement.settle(fate)
    }
}

/// The datagrams of one connection whose fates somebody wants to know.
///
/// Belongs to the connection's event loop. Bounded, because a carrier need not tell.
struct UnsettledDatagrams {
    private static let capacity = 4_096

    private var deliveries: [UInt64: DatagramDelivery] = [:]
    private var nextTag: UInt64 = 0
    /// No datagram with a lower tag is among `deliveries`.
    private var oldestTag: UInt64 = 0

    /// A tag that no other datagram of the connection has.
    mutating func add(_ delivery: DatagramDelivery) -> UInt64 {
        if self.deliveries.count >= Self.capacity { self.forgetOldest() }
        defer { self.nextTag += 1 }
        self.deliveries[self.nextTag] = delivery
        return self.nextTag
    }

    mutating func settle(_ tag: UInt64, _ fate: DatagramFate?) {
        self.deliveries.removeValue(forKey: tag)?.settle(fate)
    }

    /// The connection ended: nothing more will be known.
    mutating func settleAll() {
        for delivery in self.deliveries.values { delivery.settle(nil) }
        self.deliveries = [:]
    }

    private mutating func forgetOldest() {
        while self.oldestTag < self.nextTag {
            defer { self.oldestTag += 1 }
            guard let oldest = self.deliveries.removeValue(forKey: self.oldestTag) else { continue }
            return oldest.settle(nil)
        }
    }
}
