// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import LabLink
internal import LabReport

/// Work under conditions that contenders do in turns, so that they can be compared.
struct Scenario: Sendable {
    let name: String
    let title: String
    /// What is done and measured, in plain words.
    let summary: String
    /// What lies between client and server.
    let ground: Ground
    /// What happens meanwhile.
    var script: @Sendable (LabProfile) -> [NetworkChange] = { _ in [] }
    let contenders: [LabContender]
    let metrics: [MetricRecord]
    var expectations: [ExpectationRecord] = []
    /// How long one contender takes, for the first guess of the time that is left.
    let expectedSeconds: @Sendable (LabProfile) -> Double
    /// Whether a contender leaves the processor idle most of the time: then all run at the same time, each on a network of its
    /// own, and what disturbs the machine disturbs all of them alike. Others have the machine for themselves, one by one.
    var isLight = false
    /// In which profiles it runs.
    var profiles: Set<LabProfile.Name> = [.quick, .standard, .full]

    enum Ground: Sendable {
        /// Both ends on this machine's loopback.
        case loopback
        /// Two network namespaces with an emulated network between them.
        case emulated(NetworkConditions, words: String)

        var words: String {
            switch self {
            case .loopback: "loopback"
            case .emulated(_, let words): words
            }
        }

        var conditions: NetworkConditions? {
            switch self {
            case .loopback: nil
            case .emulated(let conditions, _): conditions
            }
        }
    }

    /// Every scenario there is, in the order of the report.
    static let all: [Scenario] =
        [.connect] + Scenario.ofMessages + Scenario.ofBulk + Scenario.ofApplications + Scenario.ofTrouble

    var record: ScenarioRecord {
        ScenarioRecord(
            name: self.name, title: self.title, summary: self.summary, network: self.ground.words,
            metrics: self.metrics,
            contenders: self.contenders.map {
                ContenderRecord(name: $0.name, title: $0.title, kind: $0.kind.rawValue, missing: $0.missing)
            }, expectations: self.expectations)
    }
}

/// One of those that are compared.
struct LabContender: Sendable {
    enum Kind: String, Sendable {
        case quic
        case tcp
        case auto
    }

    let name: String
    let title: String
    let kind: Kind
    let play: Play
    /// The congestion control of the kernel's TCP in both namespaces.
    var tcpCongestionControl = "cubic"
    /// The congestion control of our QUIC server; `nil`: the library's default.
    var quicCongestionControl: String?

    enum Play: Sendable {
        case tern(LabCarrier, work: @Sendable (LabProfile) -> LabClient.Work)
        case foreign(ForeignWork, byteCount: @Sendable (LabProfile) -> Int)
    }

    /// Why it cannot run on this machine.
    var missing: String? {
        switch self.play {
        case .tern: TCPCongestionControl.missing(self.tcpCongestionControl)
        case .foreign(let work, _): work.missing
        }
    }

    /// Tern over QUIC, over TLS, and with its own choice.
    static func carriers(
        _ carriers: [LabCarrier] = LabCarrier.allCases, work: @escaping @Sendable (LabProfile) -> LabClient.Work
    ) -> [LabContender] {
        carriers.map { .tern($0, work: work) }
    }

    static func tern(
        _ carrier: LabCarrier, name: String? = nil, title: String? = nil,
        work: @escaping @Sendable (LabProfile) -> LabClient.Work
    ) -> LabContender {
        LabContender(
            name: name ?? carrier.rawValue, title: title ?? carrier.title, kind: carrier.kind,
            play: .tern(carrier, work: work))
    }
}

extension LabCarrier {
    var title: String {
        switch self {
        case .quic: "Tern over QUIC"
        case .tls: "Tern over TLS and TCP"
        case .auto: "Tern, its own choice"
        }
    }

    var kind: LabContender.Kind {
        switch self {
        case .quic: .quic
        case .tls: .tcp
        case .auto: .auto
        }
    }
}

/// How much is done, and how often.
struct LabProfile: Sendable {
    enum Name: String, Sendable, CaseIterable, Codable {
        /// A handful of scenarios once, in less than a minute: that the lab works, on a machine that measures nothing well.
        case ci
        /// Every question once or twice, in three minutes.
        case quick
        /// What the report in the documentation is made with; ten minutes.
        case standard
        /// More rounds and longer ones; an hour.
        case full
    }

    let name: Name
    /// How often each contender has its turn.
    var rounds: Int
    /// By how much the times of messages and scripts are multiplied.
    let time: Double
    /// By how much bytes and counts are multiplied.
    let amount: Double
    /// Whether a round that does not count goes first.
    let warmsUp: Bool

    static func named(_ name: Name) -> LabProfile {
        switch name {
        case .ci: LabProfile(name: name, rounds: 1, time: 0.5, amount: 0.2, warmsUp: false)
        case .quick: LabProfile(name: name, rounds: 2, time: 0.5, amount: 0.25, warmsUp: false)
        case .standard: LabProfile(name: name, rounds: 4, time: 0.7, amount: 0.5, warmsUp: false)
        case .full: LabProfile(name: name, rounds: 9, time: 2, amount: 2, warmsUp: true)
        }
    }

    /// 0 is the warm-up.
    var allRounds: ClosedRange<Int> { (self.warmsUp ? 0 : 1)...self.rounds }

    func count(_ standard: Int, atLeast minimum: Int = 1) -> Int { max(minimum, Int(Double(standard) * self.amount)) }
}

// MARK: What is measured

extension MetricRecord {
    static let firstByte = milliseconds("firstByte", "first byte")
    static let connect = milliseconds("connect", "connected").aside
    static let p50 = milliseconds("p50", "median")
    static let p99 = milliseconds("p99", "99th percentile")
    static let p999 = milliseconds("p999", "99.9th percentile").aside
    static let worst = milliseconds("worst", "slowest").aside
    static let gap = milliseconds("gap", "longest gap", decimals: 0)
    static let reconnects = MetricRecord(
        key: "reconnects", title: "connections lost", unit: "count", isBetterLower: true, decimals: 0, isMain: false)
    static let unanswered = MetricRecord(
        key: "unanswered", title: "unanswered", unit: "count", isBetterLower: true, decimals: 0,
        isMain: false)
    static let throughput = MetricRecord(
        key: "throughput", title: "throughput", unit: "MB/s", isBetterLower: false, decimals: 2, isMain: true)
    static let clientCPU = MetricRecord(
        key: "clientCPU", title: "client CPU", unit: "s", isBetterLower: true, decimals: 2, isMain: false)
    static let serverCPU = MetricRecord(
        key: "serverCPU", title: "server CPU", unit: "s", isBetterLower: true, decimals: 2, isMain: false)
    static let wire = MetricRecord(
        key: "wireBytes", title: "bytes on the wire", unit: "bytes", isBetterLower: true, decimals: 0, isMain: false)

    static let ofMessages: [MetricRecord] = [.p50, .p99, .p999, .worst, .gap, .reconnects, .unanswered, .wire]
    static let ofBulk: [MetricRecord] = [.throughput, .clientCPU, .serverCPU, .wire]

    private static func milliseconds(_ key: String, _ title: String, decimals: Int = 1) -> MetricRecord {
        MetricRecord(key: key, title: title, unit: "ms", isBetterLower: true, decimals: decimals, isMain: true)
    }

    /// The same, but not in the bars.
    var aside: MetricRecord {
        var metric = self
        metric.isMain = false
        return metric
    }
}

// MARK: Networks

extension DirectionConditions {
    /// - Parameters:
    ///   - megabits: per second.
    ///   - milliseconds: one way.
    ///   - queue: what waits at most, in milliseconds of the rate.
    static func link(
        _ megabits: Double, _ milliseconds: Double, loss: Loss = .none, jitter: Double = 0, reorders: Bool = false,
        queue: Double = 100
    ) -> DirectionConditions {
        DirectionConditions(
            bitsPerSecond: megabits * 1e6, delay: milliseconds / 1e3, jitter: jitter / 1e3, reorders: reorders,
            loss: loss, queueBytes: max(32 << 10, Int(megabits * 1e6 / 8 * queue / 1e3)))
    }
}

extension AccessConditions {
    /// A line with the same delay and loss in both directions.
    static func line(
        down: Double, up: Double, roundTrip: Double, loss: Loss = .none, jitter: Double = 0, reorders: Bool = false,
        queue: Double = 100
    ) -> AccessConditions {
        AccessConditions(
            up: .link(up, roundTrip / 2, loss: loss, jitter: jitter, reorders: reorders, queue: queue),
            down: .link(down, roundTrip / 2, loss: loss, jitter: jitter, reorders: reorders, queue: queue))
    }
}
