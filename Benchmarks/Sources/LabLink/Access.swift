// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// One access network: what it lets through, and its two directions.
struct Access {
    var up: OneWay
    var down: OneWay
    private var conditions: AccessConditions

    init(_ conditions: AccessConditions, addresses: AccessAddresses, seed: UInt64, number: UInt64) {
        self.conditions = conditions
        self.up = OneWay(conditions.up, seed: seed, stream: number * 2)
        self.down = OneWay(conditions.down, seed: seed, stream: number * 2 + 1)
    }

    /// A packet was sent.
    ///
    /// - Returns: whether the link keeps the buffer.
    mutating func take(
        _ buffer: Int32, count: Int, _ direction: Direction, at now: UInt64, _ pool: PacketPool
    ) -> Bool {
        let packet = pool.bytes(of: buffer, count: count)
        guard !PacketHeaders.isOfNeighbours(packet) else { return false }
        self[direction].counters.packets += 1
        self[direction].counters.bytes += count
        guard self.conditions.isUp else {
            self[direction].counters.lostWhileDown += 1
            return false
        }
        guard count <= min(self.conditions.silentMTU ?? .max, self.conditions.mtu) else {
            self[direction].counters.tooLarge += 1
            return false
        }
        guard !self[direction].losesNext() else {
            self[direction].counters.lost += 1
            return false
        }
        return self[direction].enqueue(buffer, count: count, at: now) {
            CongestionMark.set(on: packet)
        }
    }

    mutating func takeArrived(_ direction: Direction, by now: UInt64, _ pool: PacketPool) -> OneWay.UnderWay? {
        guard let packet = self[direction].takeArrived(by: now) else { return nil }
        self[direction].counters.deliveredPackets += 1
        self[direction].counters.deliveredBytes += packet.count
        return packet
    }

    /// Everything under way is lost.
    mutating func cut(_ pool: PacketPool) {
        self.up.cut { pool.giveBack($0) }
        self.down.cut { pool.giveBack($0) }
    }

    mutating func apply(_ change: NetworkChange.What, at now: UInt64, _ pool: PacketPool) {
        switch change {
        case .up(let conditions):
            self.up.change(to: conditions, at: now)
        case .down(let conditions):
            self.down.change(to: conditions, at: now)
        case .link(let isUp):
            self.conditions.isUp = isUp
            if !isUp { self.cut(pool) }
        case .udp(let treatment):
            self.conditions.udp = treatment
        case .silentMTU(let bytes):
            self.conditions.silentMTU = bytes
        case .rebind:
            break
        case .addressRemoved, .addressAdded, .preferred:
            // Happens at the hosts, not on the link.
            break
        }
    }

    private subscript(direction: Direction) -> OneWay {
        _read {
            switch direction {
            case .up: yield self.up
            case .down: yield self.down
            }
        }
        _modify {
            switch direction {
            case .up: yield &self.up
            case .down: yield &self.down
            }
        }
    }
}
