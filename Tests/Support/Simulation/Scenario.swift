// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore
package import TernTesting
package import TernTransport

/// Something that happens to a network.
package struct NetworkChange {
    package var after: TimeAmount
    package var name: String
    /// No handshake survives it, and none has to: RFC 9000, section 9 has no migration before the handshake is confirmed.
    package var waitsForHandshake = false
    package var change: (inout SimulatedNetwork) -> Void
}

/// A network, its changes, limits and two workloads, all from one seed.
package struct Scenario: CustomStringConvertible {
    package let seed: UInt64
    package var outbound = NetworkConditions()
    package var inbound = NetworkConditions()
    package var limits = ConnectionLimits()
    package var client = Workload()
    package var server = Workload()
    package var growsWindows = false
    package var changes: [NetworkChange] = []

    package init(seed: UInt64) {
        self.seed = seed
        var random = SeededRandom(seed: seed)
        self.outbound = Self.conditions(&random)
        self.inbound = Self.conditions(&random)
        self.client = Self.workload(&random)
        self.server = Self.workload(&random)
        self.limits = Self.limits(&random)
        self.growsWindows = random.chance(0.3)
        for _ in 0..<(random.next() % 4) { self.addChange(&random) }
        self.changes.sort { $0.after < $1.after }
    }

    package var description: String {
        """
        seed \(self.seed): out \(self.outbound)
        in \(self.inbound)
        changes \(self.changes.map { ($0.after, $0.name) })
        limits \(self.limits), windows \(self.growsWindows ? "grow" : "stay")
        client \(self.client)
        server \(self.server)
        """
    }

    private static func conditions(_ random: inout SeededRandom) -> NetworkConditions {
        var conditions = NetworkConditions()
        conditions.delay = .microseconds(200) + random.amount(upTo: .milliseconds(60))
        if random.chance(0.5) { conditions.jitter = random.amount(upTo: .milliseconds(15)) }
        if random.chance(0.5) { conditions.loss = Double(random.next() % 10) / 100 }
        if random.chance(0.3) { conditions.burstLoss = 0.003 }
        if random.chance(0.3) { conditions.duplication = 0.05 }
        if random.chance(0.3) { conditions.corruption = 0.02 }
        if random.chance(0.3) { conditions.reordering = 0.05 }
        if random.chance(0.4) {
            conditions.rate = 100_000 + Int(random.next() % 2_000_000)
            conditions.queueSize = 20_000 + Int(random.next() % 200_000)
            conditions.marksCongestion = random.chance(0.5)
        }
        if random.chance(0.3) { conditions.maximumPayload = 1200 + Int(random.next() % 300) }
        return conditions
    }

    private static func workload(_ random: inout SeededRandom) -> Workload {
        var workload = Workload()
        workload.streams = 1 + Int(random.next() % 20)
        workload.actions = 20 + Int(random.next() % 100)
        workload.largestChunk = [2000, 20_000, 60_000][Int(random.next() % 3)]
        workload.readsSlowly = random.chance(0.3)
        if random.chance(0.3) { (workload.reset, workload.stop) = (0, 0) }
        return workload
    }

    private static func limits(_ random: inout SeededRandom) -> ConnectionLimits {
        var limits = ConnectionLimits()
        if random.chance(0.5) {
            limits.connectionWindow = 30_000 + Int(random.next() % 300_000)
            limits.streamWindow = 10_000 + Int(random.next() % 100_000)
        }
        if random.chance(0.5) {
            limits.bidirectionalStreams = 1 + Int(random.next() % 5)
            limits.unidirectionalStreams = 1 + Int(random.next() % 5)
        }
        if random.chance(0.3) {
            limits.writeHighWatermark = 10_000
            limits.writeLowWatermark = 4_000
        }
        limits.handshakeTimeout = .seconds(30)
        return limits
    }

    private mutating func addChange(_ random: inout SeededRandom) {
        let after = TimeAmount.milliseconds(100) + random.amount(upTo: .seconds(3))
        let port = 50_000 + Int(random.next() % 1000)
        let host = 2 + Int(random.next() % 200)
        let payload = 1200 + Int(random.next() % 300)
        let outage = TimeAmount.milliseconds(100) + random.amount(upTo: .seconds(4))
        switch random.next() % 4 {
        case 0:
            self.changes.append(
                NetworkChange(after: after, name: "new port \(port)", change: { $0.rebind(port: port) }))
        case 1:
            self.changes.append(
                NetworkChange(
                    after: after, name: "new address \(host)", waitsForHandshake: true,
                    change: { $0.rebind(host: host, port: port) }))
        case 2:
            self.changes.append(
                NetworkChange(
                    after: after, name: "payload \(payload)",
                    change: {
                        $0.outbound.maximumPayload = payload
                        $0.inbound.maximumPayload = payload
                    }))
        default:
            self.changes.append(NetworkChange(after: after, name: "down", change: { $0.setDown(true) }))
            self.changes.append(NetworkChange(after: after + outage, name: "up", change: { $0.setDown(false) }))
        }
    }
}

extension SimulatedNetwork {
    package mutating func rebind(port: Int) {
        if let address = try? SocketAddress(ipAddress: self.outside.ipAddress ?? "192.0.2.1", port: port) {
            self.rebind(to: address)
        }
    }

    package mutating func rebind(host: Int, port: Int) {
        if let address = try? SocketAddress(ipAddress: "203.0.113.\(host)", port: port) { self.rebind(to: address) }
    }

    package mutating func setDown(_ isDown: Bool) {
        self.outbound.isDown = isDown
        self.inbound.isDown = isDown
    }
}
