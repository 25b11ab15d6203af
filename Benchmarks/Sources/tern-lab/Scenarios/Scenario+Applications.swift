// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import LabLink
internal import LabReport

extension Scenario {
    static let ofApplications: [Scenario] = [
        Scenario(
            name: "requests", title: "Requests with an answer, ten at a time",
            summary: "Each request has a stream of its own and an answer of 4 KiB.",
            ground: .emulated(
                NetworkConditions(.line(down: 50, up: 20, roundTrip: 40, loss: .random(0.005))),
                words: homeWords + ", 0.5 % loss each way"),
            contenders: LabContender.carriers {
                .requests(RequestWork(count: $0.count(1_000, atLeast: 300), concurrency: 10, responseBytes: 4_096))
            },
            metrics: [
                .p50, .p99, .worst,
                MetricRecord(
                    key: "perSecond", title: "requests per second", unit: "1/s", isBetterLower: false, decimals: 0,
                    isMain: true), .wire,
            ],
            expectedSeconds: { 1 + 5 * $0.amount }, isLight: true),
        Scenario(
            name: "mixed", title: "Chat beside a download on the same connection",
            summary: """
                50 messages per second at the highest priority while a file comes down at the lowest, on a line that the file \
                alone would fill.
                """,
            ground: .emulated(
                NetworkConditions(.line(down: 10, up: 5, roundTrip: 40, queue: 200)),
                words: "10/5 Mbit/s, round trip 40 ms, queue 200 ms"),
            contenders: LabContender.carriers { profile in
                .messages(
                    MessageWork(
                        rate: 50, streams: 5, size: 100, seconds: 8 * profile.time,
                        bulkBytes: Int(20_000_000 * profile.time)))
            },
            metrics: [
                .p50, .p99, .worst, .gap.aside,
                MetricRecord(
                    key: "bulk", title: "download", unit: "MB/s", isBetterLower: false, decimals: 2, isMain: true),
                .reconnects, .unanswered,
            ],
            expectedSeconds: { 8 * $0.time + 3 }, isLight: true),
        Scenario(
            name: "fan-out", title: "One message to 100 subscribers",
            summary: """
                A publisher sends 10 messages per second, the server passes each to 100 connections of one client; the time from \
                when it was due until a subscriber has it.
                """,
            ground: .emulated(
                NetworkConditions(.line(down: 50, up: 20, roundTrip: 40, loss: .random(0.005))),
                words: homeWords + ", 0.5 % loss each way"),
            contenders: LabContender.carriers {
                .fanOut(FanOutWork(subscribers: 100, rate: 10, size: 200, seconds: 5 * $0.time))
            },
            metrics: [.p50, .p99, .p999, .worst, .clientCPU, .serverCPU, .wire],
            expectedSeconds: { 9 * $0.time + 4 }, profiles: [.standard, .full]),
        Scenario(
            name: "cost", title: "What a message costs",
            summary: """
                1,000 messages per second of 100 bytes over 20 streams and their echoes: processor time of each process and bytes \
                of IP packets, both directions together, by the number of messages.
                """,
            ground: .emulated(
                NetworkConditions(.line(down: 200, up: 200, roundTrip: 5)), words: "200 Mbit/s, round trip 5 ms"),
            contenders: LabContender.carriers([.quic, .tls]) { .messages(Self.chat(5 * $0.time, rate: 1_000)) },
            metrics: [
                MetricRecord(
                    key: "clientCPUPerMessage", title: "client CPU, message", unit: "µs",
                    isBetterLower: true, decimals: 1, isMain: true),
                MetricRecord(
                    key: "serverCPUPerMessage", title: "server CPU, message", unit: "µs",
                    isBetterLower: true, decimals: 1, isMain: true),
                MetricRecord(
                    key: "wireBytesPerMessage", title: "bytes, message", unit: "bytes",
                    isBetterLower: true, decimals: 0, isMain: true), .p50.aside, .p99.aside,
            ],
            expectedSeconds: { 5 * $0.time + 2 }),
    ]
}
