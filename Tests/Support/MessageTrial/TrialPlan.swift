// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import Tern
import TernClient
import TernTesting

/// What is tried, and for how long.
package struct TrialOptions: Sendable {
    package enum Carriers: String, Sendable, CaseIterable {
        case quic, tls, both
    }

    package var seed: UInt64
    /// How long things happen. Before and after it everybody comes and settles, which takes as long as it takes.
    package var time: Duration
    package var carriers: Carriers = .both

    package init(seed: UInt64, time: Duration) {
        self.seed = seed
        self.time = time
    }
}

/// Who is there, and what happens when: all of it from a seed. What real processes and networks make of it is another matter.
struct TrialPlan {
    struct Device {
        let user: String
        let device: String
        let receives: ReceiveStart?
        let mode: ConnectionPolicy.Mode
        let start: Duration
        /// What its user takes for each message while things happen.
        let pace: Duration
        let configuration: ClientConfiguration
        let seed: UInt64

        var name: String { "\(self.user)/\(self.device)" }
    }

    enum Fault {
        case disturb(TrialRelay.Disturbance)
        case kill(down: Duration, then: TrialServer.Kind)
        case drain(down: Duration, then: TrialServer.Kind)
    }

    /// By user.
    private(set) var people: [[Device]] = []
    private(set) var faults: [(at: Duration, fault: Fault)] = []
    let durability: String
    let personSeeds: [UInt64]
    private var random: SeededRandom
    private let isStrict: Bool

    init(_ options: TrialOptions) {
        var random = SeededRandom(seed: options.seed)
        self.durability = random.chance(0.7) ? "normal" : "full"
        self.isStrict = random.chance(0.3)
        self.personSeeds = (0..<8).map { _ in random.next() }
        self.random = random
        let users = 4 + self.random.pick(2)
        for number in 1...users {
            let devices = number <= 2 ? 2 : 1 + self.random.pick(2)
            self.people.append((1...devices).map { self.makeDevice("user\(number)", $0, options) })
        }
        self.addFaults(until: options.time)
    }

    private mutating func makeDevice(_ user: String, _ number: Int, _ options: TrialOptions) -> Device {
        // The first device of a user is there from the beginning, and receives.
        let starts: [ReceiveStart?] = [.live, .live, .sequence(1), .sequence(1), nil]
        let receives = starts[self.random.pick(number == 1 ? 4 : 5)]
        let modes: [ConnectionPolicy.Mode] =
            switch options.carriers {
            case .quic: [.quicOnly]
            case .tls: [.tcpOnly]
            case .both: [.quicOnly, .tcpOnly, .preferQUIC]
            }
        let isLate = number > 1 && self.random.chance(0.5)
        var configuration = ClientConfiguration(token: "dev:\(user)/device\(number)", receives: receives)
        configuration.outboxCapacity = 4 + self.random.pick(60)
        configuration.messagesInFlight = 1 + self.random.pick(16)
        configuration.updateCapacity = 2 + self.random.pick(30)
        configuration.requestTimeout = .seconds(5)
        configuration.liveness.idlePingInterval = .milliseconds(1_500)
        configuration.liveness.busyPingInterval = .milliseconds(700)
        configuration.reconnecting.maximumDelay = .seconds(1)
        configuration.reconnecting.retriesFirstConnection = true
        return Device(
            user: user, device: "device\(number)", receives: receives, mode: modes[self.random.pick(modes.count)],
            start: isLate ? options.time * (0.2 + 0.6 * self.random.part()) : .zero,
            // Some are always behind: what they don't read waits at the server, and becomes too much.
            pace: self.random.chance(0.3) ? self.random.milliseconds(5...40) : .zero, configuration: configuration,
            seed: self.random.next())
    }

    // MARK: Faults

    private mutating func addFaults(until end: Duration) {
        var moment = Duration.milliseconds(300)
        while moment < end {
            self.faults.append((moment, self.makeFault()))
            moment += self.random.milliseconds(100...700)
        }
    }

    private mutating func makeFault() -> Fault {
        let choice = self.random.pick(64)
        switch self.random.pick(100) {
        case ..<22: return .kill(down: self.random.milliseconds(0...300), then: self.makeKind())
        case ..<31: return .drain(down: self.random.milliseconds(0...200), then: self.makeKind())
        case ..<52: return .disturb(.reset(choice))
        case ..<62: return .disturb(.end(choice))
        case ..<70: return .disturb(.silence(choice))
        case ..<74: return .disturb(.resetAll)
        case ..<80: return .disturb(.outage(.milliseconds(Int64(100 + self.random.pick(1_200)))))
        default:
            return .disturb(
                .weather(
                    delay: .milliseconds(Int64(self.random.pick(20))),
                    jitter: .milliseconds(Int64(self.random.pick(10))), loss: 0.05 * self.random.part()))
        }
    }

    private mutating func makeKind() -> TrialServer.Kind {
        self.random.chance(0.4) ? .command : self.isStrict ? .strict : .narrow
    }
}

extension SeededRandom {
    /// 0 ..< count.
    mutating func pick(_ count: Int) -> Int { Int(self.next() >> 1) % max(count, 1) }

    /// 0 ..< 1.
    mutating func part() -> Double { Double(self.next() >> 11) * 0x1p-53 }

    mutating func milliseconds(_ range: ClosedRange<Int>) -> Duration {
        .milliseconds(range.lowerBound + self.pick(range.count))
    }
}
