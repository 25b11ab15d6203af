// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// One access network: what it lets through, and its two directions.
struct Access {
    var up: OneWay
    var down: OneWay
    private var conditions: AccessConditions
    private var translator: AddressTranslator?
    private var policeUp: TokenBucket?
    private var policeDown: TokenBucket?

    init(_ conditions: AccessConditions, addresses: AccessAddresses, seed: UInt64, number: UInt64) {
        self.conditions = conditions
        self.up = OneWay(conditions.up, seed: seed, stream: number * 2)
        self.down = OneWay(conditions.down, seed: seed, stream: number * 2 + 1)
        if conditions.hasNAT {
            // No direction has this number.
            self.translator = AddressTranslator(addresses, seed: seed, stream: .max - number)
        }
        self.treatUDP(conditions.udp, at: 0)
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
        // The translator is at the client's end: what goes up meets it first, what comes down meets it last.
        if direction == .up, self.translator?.translate(packet, .up) == false {
            self[direction].counters.untranslated += 1
            return false
        }
        guard self.passesFirewall(packet, direction, at: now, pool) else {
            self[direction].counters.udpDropped += 1
            return false
        }
        return self.pass(buffer, packet, direction, at: now)
    }

    mutating func takeArrived(_ direction: Direction, by now: UInt64, _ pool: PacketPool) -> OneWay.UnderWay? {
        while let packet = self[direction].takeArrived(by: now) {
            if direction == .down,
                self.translator?.translate(pool.bytes(of: packet.buffer, count: packet.count), .down) == false
            {
                self[direction].counters.untranslated += 1
                pool.giveBack(packet.buffer)
                continue
            }
            self[direction].counters.deliveredPackets += 1
            self[direction].counters.deliveredBytes += packet.count
            return packet
        }
        return nil
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
            self.treatUDP(treatment, at: now)
        case .silentMTU(let bytes):
            self.conditions.silentMTU = bytes
        case .rebind:
            self.translator?.forget()
        case .addressRemoved, .addressAdded, .preferred:
            // Happens at the hosts, not on the link.
            break
        }
    }

    /// - Returns: whether the link keeps the buffer.
    private mutating func pass(
        _ buffer: Int32, _ packet: PacketBytes, _ direction: Direction, at now: UInt64
    ) -> Bool {
        guard !self[direction].losesNext() else {
            self[direction].counters.lost += 1
            return false
        }
        return self[direction].enqueue(buffer, count: packet.count, at: now) { CongestionMark.set(on: packet) }
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

// MARK: UDP

extension Access {
    private mutating func treatUDP(_ treatment: UDPTreatment, at now: UInt64) {
        self.conditions.udp = treatment
        if case .throttled(let rate) = treatment {
            self.policeUp = TokenBucket(bitsPerSecond: rate, largestPacket: self.conditions.mtu, at: now)
            self.policeDown = self.policeUp
        } else {
            self.policeUp = nil
            self.policeDown = nil
        }
    }

    private mutating func passesFirewall(
        _ packet: PacketBytes, _ direction: Direction, at now: UInt64, _ pool: PacketPool
    ) -> Bool {
        guard self.conditions.udp != .carried, let headers = PacketHeaders(packet),
            headers.transport == PacketHeaders.udp
        else { return true }
        switch self.conditions.udp {
        case .carried:
            return true
        case .blocked:
            return false
        case .refused:
            self.refuse(packet, headers, direction, at: now, pool)
            return false
        case .throttled:
            return switch direction {
            case .up: self.policeUp?.takes(packet.count, at: now) ?? true
            case .down: self.policeDown?.takes(packet.count, at: now) ?? true
            }
        }
    }

    /// The answer takes the way back, with the queue and the delay that it has.
    private mutating func refuse(
        _ packet: PacketBytes, _ headers: PacketHeaders, _ direction: Direction, at now: UInt64, _ pool: PacketPool
    ) {
        guard let buffer = pool.take() else { return }
        let space = PacketBytes(pool.space(of: buffer))
        guard let count = ProhibitedAnswer.write(to: space, about: packet, headers) else {
            return pool.giveBack(buffer)
        }
        let back = direction.opposite
        self[back].counters.packets += 1
        self[back].counters.bytes += count
        let isKept = self.pass(buffer, pool.bytes(of: buffer, count: count), back, at: now)
        if !isKept { pool.giveBack(buffer) }
    }
}
