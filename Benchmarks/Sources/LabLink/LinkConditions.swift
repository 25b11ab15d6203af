// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// What the network between a client and a server is like, at one moment. Values, so that they can be written to a file.
package struct NetworkConditions: Sendable, Equatable, Codable {
    /// The client's access networks, by number; each has an address of the client's own. Most networks have one, a handover
    /// needs two.
    package var accesses: [AccessConditions]

    package init(accesses: [AccessConditions]) {
        self.accesses = accesses
    }

    package init(_ access: AccessConditions) {
        self.accesses = [access]
    }
}

/// One way from the client into the network and back.
package struct AccessConditions: Sendable, Equatable, Codable {
    /// From the client to the server.
    package var up: DirectionConditions
    /// From the server to the client.
    package var down: DirectionConditions
    /// The largest IP packet in bytes, of the devices at both ends and of the link between them. At least 1,280.
    package var mtu: Int
    /// The largest IP packet that the link really carries: what is larger, but not larger than ``mtu``, is dropped in silence
    /// (a black hole). `nil`: the same as ``mtu``.
    package var silentMTU: Int?
    /// Whether packets get through at all. While it is down, packets are lost as if a cable were pulled: both ends keep their
    /// addresses.
    package var isUp: Bool
    /// What becomes of UDP.
    package var udp: UDPTreatment
    /// Whether the client's packets leave with an address of a translator's.
    package var hasNAT: Bool

    package init(
        up: DirectionConditions, down: DirectionConditions, mtu: Int = 1_500, silentMTU: Int? = nil, isUp: Bool = true,
        udp: UDPTreatment = .carried, hasNAT: Bool = false
    ) {
        self.up = up
        self.down = down
        self.mtu = mtu
        self.silentMTU = silentMTU
        self.isUp = isUp
        self.udp = udp
        self.hasNAT = hasNAT
    }
}

/// One direction of an access. A packet meets, in this order: loss, the queue in front of the bottleneck, the bottleneck's rate,
/// the delay with its jitter.
package struct DirectionConditions: Sendable, Equatable, Codable {
    /// How fast the bottleneck sends, in bits of IP packets per second; `nil`: as fast as this machine can.
    package var bitsPerSecond: Double?
    /// Propagation, one way, in seconds.
    package var delay: Double
    /// How far the delay goes up and down, in seconds, evenly distributed; at most the delay.
    package var jitter: Double
    /// Whether packets overtake each other when jitter says so. Otherwise a late packet holds up those behind it.
    package var reorders: Bool
    package var loss: Loss
    /// How many bytes of IP packets wait in front of the bottleneck before further ones are dropped (drop tail).
    package var queueBytes: Int
    /// Above how many waiting bytes an ECN-capable packet is marked CE; `nil`: never.
    package var markingBytes: Int?

    package init(
        bitsPerSecond: Double? = nil, delay: Double = 0, jitter: Double = 0, reorders: Bool = false, loss: Loss = .none,
        queueBytes: Int = 1 << 20, markingBytes: Int? = nil
    ) {
        self.bitsPerSecond = bitsPerSecond
        self.delay = delay
        self.jitter = jitter
        self.reorders = reorders
        self.loss = loss
        self.queueBytes = queueBytes
        self.markingBytes = markingBytes
    }
}

/// Packets that are lost without a queue being full.
package enum Loss: Sendable, Equatable, Codable {
    case none
    /// Each packet alone with this probability.
    case random(Double)
    /// Gilbert and Elliott: each packet may begin a bad spell (`enter`) or end one (`leave`); while it lasts, packets are lost
    /// with the probability `inside`.
    case bursts(enter: Double, leave: Double, inside: Double)
}

/// What a network does to UDP.
package enum UDPTreatment: Sendable, Equatable, Codable {
    case carried
    /// Dropped in silence.
    case blocked
    /// Dropped, and answered with ICMP "administratively prohibited".
    case refused
    /// Dropped above this rate (policing with a bucket of 100 ms), in bits per second and direction.
    case throttled(bitsPerSecond: Double)
}

/// What happens to a network while something is measured.
package struct NetworkChange: Sendable, Equatable, Codable {
    /// When, in seconds after the start of the measurement.
    package var at: Double
    /// Which access network it happens to.
    package var access: Int
    package var what: What

    package enum What: Sendable, Equatable, Codable {
        case up(DirectionConditions)
        case down(DirectionConditions)
        case link(isUp: Bool)
        case udp(UDPTreatment)
        case silentMTU(Int?)
        /// The translator forgets its mappings: what the client sends next leaves from new ports.
        case rebind
        /// The client's address of this access vanishes from its device, as when a phone leaves a wireless network.
        case addressRemoved
        case addressAdded
        /// The client's default route goes through this access from now on.
        case preferred
    }

    package init(at: Double, access: Int = 0, _ what: What) {
        self.at = at
        self.access = access
        self.what = what
    }
}
