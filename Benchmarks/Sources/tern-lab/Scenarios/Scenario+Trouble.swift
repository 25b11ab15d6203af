// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import LabLink
internal import LabReport

/// Networks that fail while they are used.
extension Scenario {
    static let ofTrouble: [Scenario] = [
        .handover, .udpBlockedBefore, .udpBlockedDuring, .udpBlockedAfter, .rebinding, .elevator, .storm,
    ]

    private static let handover = Scenario(
        name: "handover", title: "From one access network to another",
        summary: """
            The client's address on the first network vanishes and the default route goes through a second one. The application \
            hears of it from the system, moves its QUIC connection, and connects anew where there is only TCP.
            """,
        ground: .emulated(
            NetworkConditions(accesses: [home, .line(down: 20, up: 10, roundTrip: 60)]),
            words: "\(homeWords); then 20/10 Mbit/s, round trip 60 ms"),
        script: { profile in
            [
                NetworkChange(at: 3 * profile.time, access: 0, .addressRemoved),
                NetworkChange(at: 3 * profile.time, access: 1, .preferred),
            ]
        },
        contenders: LabContender.carriers { .messages(Self.chat(7 * $0.time)) },
        metrics: [.gap, .worst.aside, .p50.aside, .p99.aside, .reconnects, .unanswered, .wire],
        expectations: [
            ExpectationRecord(
                text: "the gap over QUIC is at most two round trips (120 ms) and the first message's own",
                metric: "gap", first: "quic", second: nil, relation: .value, atMost: 185),
            ExpectationRecord(
                text: "it is shorter than over TCP", metric: "gap", first: "quic", second: "tls", relation: .ratio,
                atMost: 0.9),
        ],
        expectedSeconds: { 7 * $0.time + 2 }, isLight: true, profiles: [.ci, .quick, .standard, .full])

    private static let udpBlockedBefore = Scenario(
        name: "udp-blocked-before", title: "UDP is blocked from the beginning",
        summary:
            "How long until the first byte where QUIC cannot work; the choice that is made by itself must cost little.",
        ground: .emulated(NetworkConditions(blocked), words: homeWords + ", UDP dropped in silence"),
        contenders: LabContender.carriers([.tls, .auto]) {
            .connects(ConnectWork(mode: .cold, count: $0.count(12, atLeast: 4)))
        },
        metrics: [
            .firstByte, .connect, .p99.aside,
        ],
        expectations: [
            ExpectationRecord(
                text: "the choice that makes itself costs at most 300 ms", metric: "firstByte", first: "auto",
                second: "tls", relation: .difference, atMost: 300)
        ],
        expectedSeconds: { Double($0.count(12, atLeast: 4)) * 0.4 + 0.5 }, isLight: true)

    private static let udpBlockedDuring = Scenario(
        name: "udp-blocked-during", title: "UDP is blocked for a while in the middle",
        summary: "The network drops UDP in silence for some seconds and then carries it again.",
        ground: .emulated(NetworkConditions(home), words: homeWords + ", UDP dropped for a while"),
        script: { profile in
            [
                NetworkChange(at: 2 * profile.time, .udp(.blocked)),
                NetworkChange(at: 8 * profile.time, .udp(.carried)),
            ]
        },
        contenders: LabContender.carriers { .messages(Self.chat(11 * $0.time, rate: 100)) },
        metrics: [.gap, .worst.aside, .p50.aside, .p99, .reconnects, .unanswered],
        expectedSeconds: { 11 * $0.time + 4 }, isLight: true, profiles: [.standard, .full])

    private static let udpBlockedAfter = Scenario(
        name: "udp-blocked-after", title: "UDP is blocked for good in the middle",
        summary: """
            The network drops UDP in silence from some moment on. QUIC alone never comes back; what chooses by itself connects \
            anew over TCP and sends again what was not answered.
            """,
        ground: .emulated(NetworkConditions(home), words: homeWords + ", UDP dropped from the middle on"),
        script: { [NetworkChange(at: 3 * $0.time, .udp(.blocked))] },
        contenders: LabContender.carriers { .messages(Self.chat(10 * $0.time, rate: 100)) },
        metrics: [.gap, .worst.aside, .p50.aside, .p99, .reconnects, .unanswered],
        expectedSeconds: { 10 * $0.time + 8 }, isLight: true)

    private static let rebinding = Scenario(
        name: "rebinding", title: "The translator forgets the client",
        summary: """
            Behind a NAT that forgets its mappings three times, every 30 s in the full profile and more often in the shorter ones: \
            what the client sends next comes from a new port. The server answers TCP segments from there with a reset.
            """,
        ground: .emulated(NetworkConditions(Self.translated), words: homeWords + ", NAT"),
        script: { profile in
            let interval = profile.name == .full ? 30.0 : 4 * profile.time
            return (1...3).map { NetworkChange(at: Double($0) * interval - interval / 2, .rebind) }
        },
        contenders: LabContender.carriers { .messages(Self.chat(Self.rebindingSeconds($0), rate: 100)) },
        metrics: [.gap, .worst.aside, .p50.aside, .p99, .reconnects, .unanswered],
        expectations: [
            ExpectationRecord(
                text: "QUIC goes on within two round trips (80 ms)", metric: "gap", first: "quic", second: nil,
                relation: .value, atMost: 130)
        ],
        expectedSeconds: { Self.rebindingSeconds($0) + 5 }, isLight: true)

    private static func rebindingSeconds(_ profile: LabProfile) -> Double {
        profile.name == .full ? 95 : 12 * profile.time
    }

    private static let elevator = Scenario(
        name: "elevator", title: "Ten seconds without a network",
        summary: """
            Nothing gets through for ten seconds (five in the quick profile). The application gives a connection up when nothing \
            came back for three seconds, and tries again and again.
            """,
        ground: .emulated(NetworkConditions(home), words: homeWords + ", everything dropped for a while"),
        script: { profile in
            let length = profile.time < 0.6 ? 5.0 : 10
            return [
                NetworkChange(at: 2, .link(isUp: false)), NetworkChange(at: 2 + length, .link(isUp: true)),
            ]
        },
        contenders: LabContender.carriers {
            .messages(Self.chat($0.time < 0.6 ? 9 : 16, rate: 100))
        },
        metrics: [.gap, .worst.aside, .p50.aside, .p99.aside, .reconnects, .unanswered, .wire],
        expectedSeconds: { ($0.time < 0.6 ? 9 : 16) + 4 }, isLight: true)

    private static let storm = Scenario(
        name: "storm", title: "200 clients come back at the same moment",
        summary: """
            200 connections end at once and all are made anew, with the tickets of before: how long until each client has its \
            first answer, and what that takes from the wire and the server.
            """,
        ground: .emulated(
            NetworkConditions(.line(down: 20, up: 20, roundTrip: 40)), words: "20 Mbit/s, round trip 40 ms"),
        contenders: LabContender.carriers { _ in .storm(StormWork(clients: 200)) },
        metrics: [
            MetricRecord(
                key: "lastBack", title: "last one back", unit: "ms", isBetterLower: true, decimals: 0,
                isMain: true), .p50.aside, .p99.aside,
            MetricRecord(
                key: "wireBytes", title: "bytes on the wire", unit: "bytes", isBetterLower: true, decimals: 0,
                isMain: true), .serverCPU,
        ],
        expectedSeconds: { _ in 3 })

    private static var blocked: AccessConditions {
        var access = home
        access.udp = .blocked
        return access
    }

    private static var translated: AccessConditions {
        var access = home
        access.hasNAT = true
        return access
    }
}
