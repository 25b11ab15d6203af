// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import LabLink
internal import LabReport

extension Scenario {
    static let ofBulk: [Scenario] = [
        Scenario(
            name: "bulk-loopback", title: "A file over one stream, on the loopback",
            summary: """
                As fast as the processors can: no network is emulated, so this runs everywhere. Between two programs of one \
                machine Tern's QUIC uses packets of 16 KiB, as the loopback carries them.
                """,
            ground: .loopback,
            contenders: Self.downloads(1 << 29) + Self.foreign(1 << 29),
            metrics: MetricRecord.ofBulk.filter { $0.key != "wireBytes" },
            expectedSeconds: { 1 + 4 * $0.amount }, profiles: [.ci, .quick, .standard, .full]),
        Scenario(
            name: "bulk-fast", title: "A file over one stream, on a fast clean line",
            summary: "As fast as the processors can with packets of 1,500 bytes, half a millisecond away.",
            ground: .emulated(
                NetworkConditions(
                    AccessConditions(
                        up: DirectionConditions(delay: 0.000_25, queueBytes: 4 << 20),
                        down: DirectionConditions(delay: 0.000_25, queueBytes: 4 << 20))),
                words: "no limit but the machine's, round trip 0.5 ms"),
            contenders: Self.downloads(1 << 28) + Self.foreign(1 << 28),
            metrics: MetricRecord.ofBulk,
            expectations: [
                ExpectationRecord(
                    text: "TCP is ahead on a clean fast line", metric: "throughput", first: "tls", second: "quic",
                    relation: .ratio, atLeast: 1)
            ],
            expectedSeconds: { 1 + 4 * $0.amount }),
        Scenario(
            name: "bulk-home", title: "A file over one stream, on a line at home",
            summary: "The line is the limit; who fills it, and how much it costs.",
            ground: .emulated(NetworkConditions(home), words: homeWords),
            contenders: Self.downloads(12_000_000), metrics: MetricRecord.ofBulk,
            expectedSeconds: { 1 + 2.5 * $0.amount }, isLight: true, profiles: [.standard, .full]),
        Scenario(
            name: "bulk-loss", title: "A file over one stream, 1 % lost",
            summary: """
                What congestion control makes of packets that are lost for no reason. Tern's QUIC uses BBR unless told otherwise, \
                the kernel's TCP CUBIC.
                """,
            ground: .emulated(
                NetworkConditions(.line(down: 50, up: 20, roundTrip: 40, loss: .random(0.01))),
                words: homeWords + ", 1 % loss each way"),
            contenders: Self.downloads(6_000_000) + Self.congestionControls(6_000_000),
            metrics: MetricRecord.ofBulk, expectedSeconds: { 2 + 10 * $0.amount }, isLight: true,
            profiles: [.quick, .standard, .full]),
        Scenario(
            name: "long-fat", title: "A file over one stream, on a long fat line",
            summary: "Much is on its way at any moment; the windows and the start of a connection decide.",
            ground: .emulated(
                NetworkConditions(.line(down: 200, up: 200, roundTrip: 150, queue: 100)),
                words: "200 Mbit/s, round trip 150 ms"),
            contenders: Self.downloads(50_000_000), metrics: MetricRecord.ofBulk,
            expectedSeconds: { 2 + 4 * $0.amount }, profiles: [.standard, .full]),
        Scenario(
            name: "udp-throttled", title: "A file over one stream where UDP is throttled",
            summary: "The network drops UDP above 2 Mbit/s and leaves TCP alone.",
            ground: .emulated(
                NetworkConditions(Self.throttled), words: homeWords + ", UDP policed to 2 Mbit/s"),
            contenders: Self.downloads(3_000_000), metrics: MetricRecord.ofBulk,
            expectedSeconds: { 2 + 14 * $0.amount }, isLight: true),
    ]

    private static var throttled: AccessConditions {
        var access = home
        access.udp = .throttled(bitsPerSecond: 2e6)
        return access
    }

    private static func downloads(_ byteCount: Int) -> [LabContender] {
        LabContender.carriers { .bulk(BulkWork(byteCount: $0.count(byteCount))) }
    }

    private static func congestionControls(_ byteCount: Int) -> [LabContender] {
        var cubic = LabContender.tern(.quic, name: "quic-cubic", title: "Tern over QUIC, CUBIC") {
            .bulk(BulkWork(byteCount: $0.count(byteCount)))
        }
        cubic.quicCongestionControl = "cubic"
        var bbr = LabContender.tern(.tls, name: "tls-bbr", title: "Tern over TLS and TCP, BBR") {
            .bulk(BulkWork(byteCount: $0.count(byteCount)))
        }
        bbr.tcpCongestionControl = "bbr"
        return [cubic, bbr]
    }

    private static func foreign(_ byteCount: Int) -> [LabContender] {
        [
            LabContender(
                name: "gtls", title: "gtlsserver and gtlsclient, HTTP/3", kind: .quic,
                play: .foreign(.gtls, byteCount: { $0.count(byteCount) })),
            LabContender(
                name: "nginx-curl", title: "nginx and curl, TLS 1.3", kind: .tcp,
                play: .foreign(.nginxCurl(measures: .throughput), byteCount: { $0.count(byteCount) })),
            LabContender(
                name: "iperf3", title: "iperf3, TCP without TLS", kind: .tcp,
                play: .foreign(.iperf3, byteCount: { $0.count(byteCount) })),
        ]
    }
}
