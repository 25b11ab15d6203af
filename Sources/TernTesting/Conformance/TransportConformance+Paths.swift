// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTransport

/// Paths, the fates of datagrams, and what is measured.
extension TransportConformance {
    static let pathBehaviours: [ConformanceBehaviour] = [
        ConformanceBehaviour("every tagged datagram has one fate", Self.fates),
        ConformanceBehaviour("a datagram that is refused has no fate", Self.refusedFates),
        ConformanceBehaviour(
            "a connection moves to another address under load, or says that it cannot", Self.migration),
        ConformanceBehaviour("a probe measures another way and changes nothing", Self.probe),
        ConformanceBehaviour("statistics are plausible at both ends", Self.plausibleStatistics),
    ]

    private static func fates(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            for (sender, receiver) in [(client, server), (server, client)] {
                try await sender.perform { end in
                    for tag in [0, 7, 1 << 63] as [UInt64] {
                        _ = try end.connection.sendDatagram(testBytes(100), tag: tag)
                        _ = try end.connection.sendDatagram(testBytes(100))
                    }
                }
                try await receiver.until("six datagrams") { $0.datagrams.count == 6 }
                try await sender.until("three fates") { $0.fates.count == 3 }
                let expected: DatagramFate =
                    sender.connection.capabilities.reportsDatagramDelivery ? .acknowledged : .written
                let fates = try await sender.perform { $0.record.fates }
                try require(fates == [0: expected, 7: expected, 1 << 63: expected], "the fates are \(fates)")
            }
        }
    }

    private static func refusedFates(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            try await client.perform { end in
                try expectError(.limitExceeded, "a tagged datagram that is too large") {
                    try end.connection.sendDatagram(testBytes(end.connection.maximumDatagramSize + 1), tag: 1)
                }
                _ = try end.connection.sendDatagram(testBytes(10), tag: 2)
            }
            try await server.until("the datagram") { $0.datagrams.count == 1 }
            try await client.until("its fate") { $0.fates[2] != nil }
            let fates = try await client.perform { $0.record.fates }
            try require(fates.count == 1, "the fates are \(fates)")
        }
    }

    private static func migration(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            try await server.expectNoPaths { $0.migrate(to: nil) }
            guard client.connection.capabilities.canMigrate else {
                return try await client.expectNoPaths { $0.migrate(to: nil) }
            }
            try await server.echo()
            let stream = try await client.openStream()
            try await client.send(testBytes(300_000), on: stream, finish: false)
            try await client.until("some of the echo") { $0.count(stream) > 0 }
            let before = try await client.perform { $0.connection.localAddress }
            let report = try await client.path { $0.migrate(to: nil) }
            try await client.send(testBytes(300_000), on: stream)
            let answer = try await client.whole(stream)
            try require(answer.readableBytes == 600_000, "\(answer.readableBytes) bytes came back")
            let after = try await client.perform { $0.connection.localAddress }
            try require(
                after?.port != nil && after?.port != before?.port,
                "the address was \(before as Any) and is \(after as Any)")
            try require(after?.port == report.localAddress.port, "the report names \(report)")
            try require(report.validationTime > .zero, "the path was validated in no time")
            try await client.until("the change of the path") { $0.events.contains(.pathChanged) }
            try await server.until("the change of the path") { $0.events.contains(.pathChanged) }
            let seen = try await server.perform { $0.connection.remoteAddress }
            try require(seen?.port == after?.port, "the server still answers \(seen as Any)")
        }
    }

    private static func probe(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            try await server.expectNoPaths { $0.probe(from: nil) }
            guard client.connection.capabilities.canMigrate else {
                return try await client.expectNoPaths { $0.probe(from: nil) }
            }
            let stream = try await client.openStream(.unidirectional)
            try await client.send(testBytes(10), on: stream, finish: false)
            let before = try await client.perform { $0.connection.localAddress }
            let report = try await client.path { $0.probe(from: nil) }
            try require(report.localAddress.port != before?.port, "the probe went the same way: \(report)")
            try require(report.remoteAddress.port != nil, "the report names no peer")
            let after = try await client.perform { $0.connection.localAddress }
            try require(after == before, "the probe moved the connection")
            try await client.send(testBytes(10), on: stream)
            let received = try await server.whole(stream)
            try require(received.readableBytes == 20, "\(received.readableBytes) bytes came instead of 20")
        }
    }

    private static func plausibleStatistics(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            try await server.echo()
            let stream = try await client.openStream()
            try await client.send(testBytes(1 << 20), on: stream)
            _ = try await client.whole(stream)
            for end in [client, server] {
                let statistics = try await end.perform { $0.connection.statistics() }
                let who = "the \(end.connection.role)'s"
                try require(statistics.bytesSent >= 1 << 20, "\(who) bytes sent are \(statistics.bytesSent)")
                try require(
                    statistics.bytesReceived >= 1 << 20, "\(who) bytes received are \(statistics.bytesReceived)")
                // Headers, retransmissions on a busy machine, acknowledgements; not twice what was asked for.
                try require(statistics.bytesSent < 2 << 20, "\(who) bytes sent are \(statistics.bytesSent)")
                try require(statistics.bytesReceived < 2 << 20, "\(who) bytes received are \(statistics.bytesReceived)")
                try statistics.checkPlausible(who)
            }
        }
    }
}

extension ConnectionStatistics {
    /// What is measured must fit together; what is not measured is `nil`, and never zero.
    fileprivate func checkPlausible(_ who: String) throws(ConformanceFailure) {
        let patience = TransportConformance.patience
        for (name, time) in [
            ("handshake", self.handshakeDuration), ("smoothed round trip", self.smoothedRoundTripTime),
            ("latest round trip", self.latestRoundTripTime), ("minimum round trip", self.minimumRoundTripTime),
        ] {
            guard let time else { continue }
            try require(time > .zero && time < patience, "\(who) \(name) is \(time)")
        }
        if let minimum = self.minimumRoundTripTime, let latest = self.latestRoundTripTime {
            try require(minimum <= latest, "\(who) minimum round trip \(minimum) is above the latest \(latest)")
        }
        if let sent = self.packetsSent, let received = self.packetsReceived {
            try require(sent > 0 && received > 0, "\(who) packets are \(sent) and \(received)")
            try require(self.packetsLost ?? 0 <= sent, "\(who) lost packets are more than were sent")
            try require(self.bytesSent / sent <= 65_535, "\(who) packets are too large: \(self.bytesSent / sent)")
        }
        if let congestionWindow {
            try require(congestionWindow >= 1000, "\(who) congestion window is \(congestionWindow)")
        }
        if let pathMaximumSize { try require(pathMaximumSize >= 500, "\(who) path takes \(pathMaximumSize) bytes") }
    }
}

extension ConformanceEnd {
    fileprivate func path(
        _ begin: @escaping @Sendable (any LoopConnection) -> EventLoopFuture<PathReport>
    ) async throws -> PathReport {
        // It is refused until the handshake is confirmed.
        let deadline = NIODeadline.now() + TransportConformance.patience
        while true {
            do {
                return try await self.perform { begin($0.connection) }.get()
            } catch let error as TransportError where error.code == .misuse {
                try require(NIODeadline.now() < deadline, "no path could be tried: \(error)")
                try await self.connection.eventLoop.scheduleTask(in: .milliseconds(1)) {}.futureResult.get()
            }
        }
    }

    fileprivate func expectNoPaths(
        _ begin: @escaping @Sendable (any LoopConnection) -> EventLoopFuture<PathReport>
    ) async throws {
        do {
            let report = try await self.perform { begin($0.connection) }.get()
            throw ConformanceFailure("the \(self.connection.role) tried a path: \(report)")
        } catch let error as TransportError {
            try require(error.code == .misuse, "the \(self.connection.role) refused with \(error)")
        }
    }
}
