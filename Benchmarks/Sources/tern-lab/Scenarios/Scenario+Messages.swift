// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import LabLink
internal import LabReport

extension Scenario {
    /// The network of most scenarios: a line at home.
    static let home = AccessConditions.line(down: 50, up: 20, roundTrip: 40)
    static let homeWords = "50/20 Mbit/s, round trip 40 ms"

    // MARK: Connecting

    static let connect = Scenario(
        name: "connect", title: "Connect, ask for one byte, get it",
        summary: """
            From the call that connects until the first byte of the answer. Cold: the client knows nothing of the server. \
            Resumed: it has a ticket of an earlier connection. Early: it sends the question before the handshake is done (0-RTT).
            """,
        ground: .emulated(NetworkConditions(home), words: homeWords),
        contenders: LabCarrier.allCases.map { Self.connecting($0, .cold) }
            + [LabCarrier.quic, .tls].map { Self.connecting($0, .resumed) }
            + [LabCarrier.quic, .tls].map { Self.connecting($0, .early) }
            + [
                LabContender(
                    name: "nginx-curl", title: "nginx and curl, TLS 1.3", kind: .tcp,
                    play: .foreign(.nginxCurl(measures: .firstByte), byteCount: { _ in 1 }))
            ],
        metrics: [
            .firstByte, .connect, .p99.aside, .wire,
        ],
        expectations: [
            ExpectationRecord(
                text: "the first byte over QUIC is there one round trip (40 ms) before that over TCP and TLS",
                metric: "firstByte", first: "quic", second: "tls", relation: .difference, atMost: -36),
            ExpectationRecord(
                text: "with early data two round trips (80 ms) before", metric: "firstByte", first: "quic-early",
                second: "tls", relation: .difference, atMost: -72),
            ExpectationRecord(
                text: "choosing the carrier costs nothing where UDP works", metric: "firstByte", first: "auto",
                second: "quic", relation: .ratio, atMost: 1.1),
        ],
        expectedSeconds: { Double($0.count(12, atLeast: 4)) * 0.15 + 0.5 }, isLight: true,
        profiles: [.ci, .quick, .standard, .full])

    private static func connecting(_ carrier: LabCarrier, _ mode: ConnectWork.Mode) -> LabContender {
        .tern(
            carrier, name: mode == .cold ? carrier.rawValue : "\(carrier.rawValue)-\(mode.rawValue)",
            title: "\(carrier.title), \(mode.rawValue)"
        ) {
            .connects(ConnectWork(mode: mode, count: $0.count(12, atLeast: 4)))
        }
    }

    // MARK: Messages

    static let ofMessages: [Scenario] = [
        Self.messages(
            "messages-clean", "Small messages over 20 streams, nothing lost",
            .line(down: 50, up: 20, roundTrip: 40), homeWords, profiles: [.quick, .standard, .full],
            expectations: [
                ExpectationRecord(
                    text: "without loss the median over QUIC is within 10 % of TCP's", metric: "p50", first: "quic",
                    second: "tls", relation: .ratio, atMost: 1.1, atLeast: 0.9),
                ExpectationRecord(
                    text: "without loss the 99th percentile over QUIC is within 10 % of TCP's", metric: "p99",
                    first: "quic", second: "tls",
                    relation: .ratio, atMost: 1.1, atLeast: 0.9),
            ]),
        Self.messages(
            "messages-loss", "Small messages over 20 streams, 1 % lost",
            .line(down: 50, up: 20, roundTrip: 40, loss: .random(0.01)), homeWords + ", 1 % loss each way",
            profiles: [.ci, .quick, .standard, .full],
            expectations: [
                ExpectationRecord(
                    text: "the 99th percentile over QUIC is at most a fifth of TCP's", metric: "p99", first: "quic",
                    second: "tls", relation: .ratio, atMost: 0.2)
            ]),
        Self.messages(
            "messages-bursts", "Small messages over 20 streams, losses in bursts",
            .line(
                down: 50, up: 20, roundTrip: 40, loss: .bursts(enter: 0.003, leave: 0.3, inside: 0.7)),
            homeWords + ", bursts of about 3 packets, 0.7 % loss each way", profiles: [.standard, .full],
            expectations: []),
        Self.messages(
            "mobile", "Small messages over 20 streams on a poor mobile network",
            .line(
                down: 8, up: 2, roundTrip: 80, loss: .bursts(enter: 0.005, leave: 0.3, inside: 0.8), jitter: 15,
                queue: 400),
            "8/2 Mbit/s, round trip 80 ms ± 30 ms in order, bursts, 1.3 % loss each way, deep queues",
            profiles: [.quick, .standard, .full], expectations: []),
    ]

    static func chat(_ seconds: Double, rate: Double = 200, streams: Int = 20) -> MessageWork {
        MessageWork(rate: rate, streams: streams, size: 100, seconds: seconds)
    }

    private static func messages(
        _ name: String, _ title: String, _ access: AccessConditions, _ words: String,
        profiles: Set<LabProfile.Name>, expectations: [ExpectationRecord]
    ) -> Scenario {
        Scenario(
            name: name, title: title,
            summary: """
                Messages of 100 bytes, each echoed by the server, 200 per second on 20 streams in turn; the time from when a \
                message was due until its echo is there. On one TCP connection a lost packet holds up all streams behind it, \
                over QUIC only its own.
                """,
            ground: .emulated(NetworkConditions(access), words: words),
            contenders: LabContender.carriers { .messages(Self.chat(10 * $0.time)) },
            metrics: MetricRecord.ofMessages, expectations: expectations,
            expectedSeconds: { 10 * $0.time + 2 }, isLight: true, profiles: profiles)
    }
}
