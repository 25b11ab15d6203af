// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import LabReport
internal import Testing

/// A run like a real one: loss, a handover, bulk, blocked UDP, what failed and what is missing.
enum SyntheticLab {
    static func make(rounds: Int = 5, seed: UInt64 = 7) throws -> SyntheticRun {
        var generator = SeededGenerator(seed: seed)
        var run = try SyntheticRun([Self.loss, Self.handover, Self.bulk, Self.blocked, Self.connect], rounds: rounds)
        for round in 0...rounds {
            for contender in Self.loss.contenders {
                run.samples.append(Self.lossSample(contender.name, round, &generator))
            }
            for contender in Self.handover.contenders {
                run.samples.append(Self.handoverSample(contender.name, round, &generator))
            }
            for contender in Self.bulk.contenders where contender.missing == nil {
                run.samples.append(Self.bulkSample(contender.name, round, &generator))
            }
            for contender in Self.blocked.contenders {
                run.samples.append(Self.blockedSample(contender.name, round, &generator))
            }
            for contender in Self.connect.contenders {
                run.samples.append(Self.connectSample(contender.name, round, &generator))
            }
        }
        return run
    }

    static let loss = ScenarioRecord(
        name: "messages-loss", title: "200 small messages per second over 20 streams, 1 % loss",
        summary:
            "A client sends messages of 64 bytes in turn on 20 streams; the server answers each. A lost packet holds up "
            + "one stream over QUIC, all of them over TCP.", network: "20 Mbit/s, 40 ms round trip, 1 % random loss",
        metrics: [
            MetricRecord(key: "p99", title: "p99 latency", unit: "ms", isBetterLower: true, decimals: 1, isMain: true),
            MetricRecord(key: "gap", title: "Worst gap", unit: "ms", isBetterLower: true, decimals: 0, isMain: false),
            MetricRecord(
                key: "cpu", title: "CPU per message", unit: "µs", isBetterLower: true, decimals: 1, isMain: false),
            MetricRecord(
                key: "wire", title: "Bytes per message", unit: "bytes", isBetterLower: true, decimals: 0, isMain: false),
        ],
        contenders: [.quic, .tls, .auto],
        expectations: [
            ExpectationRecord(
                text: "p99 over QUIC is at most a fifth of TCP's", metric: "p99", first: "quic", second: "tls",
                relation: .ratio, atMost: 0.2),
            ExpectationRecord(
                text: "QUIC's p99 is below 60 ms", metric: "p99", first: "quic", relation: .value, atMost: 60),
        ])

    static func lossSample(_ name: String, _ round: Int, _ generator: inout SeededGenerator) -> LabSample {
        let late = name == "tls" ? 0.06 : 0.012
        let extra = name == "tls" ? 180.0 : 16.0
        let times = (0..<1_000).map { _ -> Int in
            let isLate = Double.random(in: 0..<1, using: &generator) < late
            let tail = isLate ? extra * Double.random(in: 0.3...1.6, using: &generator) : 0
            return Int((41 + Double.random(in: 0...3, using: &generator) + tail) * 1_000)
        }
        let sorted = times.sorted()
        return LabSample(
            scenario: "messages-loss", contender: name, round: round, load: 1.2,
            values: [
                "p99": Double(sorted[989]) / 1e3, "gap": Double(sorted[999]) / 1e3,
                "cpu": generator.around(name == "tls" ? 21 : 34),
                "wire": generator.around(name == "tls" ? 172 : 149, 0.01),
            ], latenciesMicroseconds: times)
    }

    static let handover = ScenarioRecord(
        name: "handover", title: "Handover from one access network to another while messages flow",
        summary:
            "At 2 s the first access loses its address; the second is there. The gap is the longest time without a "
            + "message.", network: "two accesses: 50 Mbit/s, 20 ms and 10 Mbit/s, 60 ms",
        metrics: [
            MetricRecord(key: "gap", title: "Gap", unit: "ms", isBetterLower: true, decimals: 0, isMain: true),
            MetricRecord(
                key: "bytes", title: "Throughput", unit: "MB/s", isBetterLower: false, decimals: 2, isMain: true),
        ],
        contenders: [.quic, .tls, .auto],
        expectations: [
            ExpectationRecord(
                text: "The gap over QUIC is at most two round trips (120 ms)", metric: "gap", first: "quic",
                relation: .value, atMost: 120)
        ])

    static func handoverSample(_ name: String, _ round: Int, _ generator: inout SeededGenerator) -> LabSample {
        let gap = name == "tls" ? generator.around(2.4, 0.2) : generator.around(0.13, 0.15)
        let step = 0.1
        let values = (0..<80).map { index -> Double in
            let at = Double(index) * step
            if at >= 2, at < 2 + gap { return max(0, 1 - min(1, (gap - (at - 2)) / step)) * 60_000 }
            return generator.around(at < 2 ? 600_000 : 125_000, 0.1)
        }
        var events = [
            LabEvent(at: 2, source: "network", text: "access 0 loses its address"),
            LabEvent(at: 2.001, source: "network", text: "default route through access 1"),
        ]
        if name == "tls" {
            events.append(LabEvent(at: 2.01, source: "transport", text: "connection closed: network unreachable"))
            events.append(LabEvent(at: 2 + gap - 0.2, source: "application", text: "reconnects"))
            events.append(LabEvent(at: 2 + gap, source: "application", text: "resends 14 messages"))
        } else {
            events.append(LabEvent(at: 2.004, source: "transport", text: "path 1 probed"))
            events.append(LabEvent(at: 2 + gap, source: "transport", text: "migrated to path 1"))
        }
        return LabSample(
            scenario: "handover", contender: name, round: round, load: 1.1,
            values: ["gap": gap * 1_000, "bytes": values.reduce(0, +) / 8 / 1e6],
            timeline: Timeline(step: step, unit: "bytes", values: values), events: events)
    }

    static let bulk = ScenarioRecord(
        name: "bulk-clean", title: "100 MB on a clean fast link",
        summary: "One stream, from the server to the client.", network: "1 Gbit/s, 2 ms",
        metrics: [
            MetricRecord(
                key: "rate", title: "Throughput", unit: "MB/s", isBetterLower: false, decimals: 1, isMain: true),
            MetricRecord(key: "cpu", title: "CPU per GB", unit: "s", isBetterLower: true, decimals: 2, isMain: true),
        ],
        contenders: [
            .quic, .tls, .auto, ContenderRecord(name: "gtls", title: "gtlsserver and gtlsclient", kind: "quic"),
            ContenderRecord(name: "nginx-curl", title: "nginx and curl", kind: "tcp"),
            ContenderRecord(name: "iperf3", title: "iperf3", kind: "tcp", missing: "iperf3 is not installed"),
        ],
        expectations: [
            ExpectationRecord(
                text: "TCP is ahead of QUIC", metric: "rate", first: "tls", second: "quic", relation: .ratio, atLeast: 1
            )
        ])

    static func bulkSample(_ name: String, _ round: Int, _ generator: inout SeededGenerator) -> LabSample {
        let rates = ["quic": 74.0, "tls": 108, "auto": 74.5, "gtls": 61, "nginx-curl": 112]
        let rate = generator.around(rates[name] ?? 1, 0.06)
        let values = (0..<40).map { index in generator.around(index < 3 ? rate * 30_000 : rate * 1e5 / 4, 0.08) }
        return LabSample(
            scenario: "bulk-clean", contender: name, round: round, load: 1.9,
            values: ["rate": rate, "cpu": generator.around(420 / rate)],
            timeline: Timeline(step: 0.025, unit: "bytes", values: values))
    }

    static let blocked = ScenarioRecord(
        name: "udp-blocked", title: "UDP is blocked before the connection",
        summary: "What a network that drops UDP does to each.", network: "20 Mbit/s, 40 ms, UDP dropped",
        metrics: [
            MetricRecord(key: "first", title: "First byte", unit: "ms", isBetterLower: true, decimals: 0, isMain: true)
        ],
        contenders: [.quic, .tls, .auto],
        expectations: [
            ExpectationRecord(
                text: "auto is at most 250 ms behind TCP", metric: "first", first: "auto", second: "tls",
                relation: .difference, atMost: 250),
            ExpectationRecord(
                text: "QUIC gives up within 10 s", metric: "first", first: "quic", relation: .value, atMost: 10_000),
        ])

    static func blockedSample(_ name: String, _ round: Int, _ generator: inout SeededGenerator) -> LabSample {
        guard name != "quic" else {
            return LabSample(
                scenario: "udp-blocked", contender: name, round: round, load: 0.7, values: [:],
                failure: "handshake timed out after 10 s")
        }
        return LabSample(
            scenario: "udp-blocked", contender: name, round: round, load: 0.7,
            values: ["first": generator.around(name == "tls" ? 124 : 375, 0.02)])
    }

    static let connect = ScenarioRecord(
        name: "connect", title: "First byte of a new connection", summary: "Cold, resumed, and with 0-RTT.",
        network: "20 Mbit/s, 40 ms",
        metrics: [
            MetricRecord(
                key: "cold", title: "First byte, cold", unit: "ms", isBetterLower: true, decimals: 1, isMain: true),
            MetricRecord(
                key: "resumed", title: "First byte, resumed", unit: "ms", isBetterLower: true, decimals: 1, isMain: true
            ),
            MetricRecord(key: "wire", title: "Bytes", unit: "bytes", isBetterLower: true, decimals: 0, isMain: false),
        ],
        contenders: [.quic, .tls, .auto],
        expectations: [
            ExpectationRecord(
                text: "QUIC needs one round trip less (40 ms)", metric: "cold", first: "tls", second: "quic",
                relation: .difference, atMost: 60, atLeast: 38)
        ])

    static func connectSample(_ name: String, _ round: Int, _ generator: inout SeededGenerator) -> LabSample {
        LabSample(
            scenario: "connect", contender: name, round: round, load: 0.7,
            values: [
                "cold": generator.around(name == "tls" ? 124 : 84, 0.02), "resumed": generator.around(82, 0.03),
                "wire": generator.around(name == "tls" ? 4_312 : 7_310, 0.002),
            ])
    }
}
