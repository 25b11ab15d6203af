// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTransport

/// Datagrams, statistics, and the beginning and the end of a connection.
extension TransportConformance {
    static let connectionBehaviours: [ConformanceBehaviour] = [
        ConformanceBehaviour("both ends know what they are", Self.constants),
        ConformanceBehaviour("datagrams go round, up to the largest", Self.datagrams),
        ConformanceBehaviour("a peer that takes no datagrams gets none", Self.refusedDatagrams),
        ConformanceBehaviour("events wait for the start", Self.heldBackEvents),
        ConformanceBehaviour("a connection that ended before its start says so", Self.endBeforeStart),
        ConformanceBehaviour("a close tells both ends its code and reason", Self.closeCode),
        ConformanceBehaviour("a close that both ends begin comes once", Self.simultaneousClose),
        ConformanceBehaviour("after the end every call throws its reason or does nothing", Self.callsAfterTheEnd),
        ConformanceBehaviour("a long reason is cut to 256 bytes", Self.longReason),
        ConformanceBehaviour("statistics count what moved", Self.statistics),
    ]

    private static func constants(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            for end in [client, server] {
                try require(end.connection.carrier == harness.carrier, "the carrier is \(end.connection.carrier)")
                try require(!end.connection.applicationProtocol.isEmpty, "no ALPN identifier")
            }
            try require(client.connection.role == .client && server.connection.role == .server, "the roles are wrong")
            try require(
                client.connection.applicationProtocol == server.connection.applicationProtocol,
                "the ends do not agree about the ALPN identifier")
            // Only clients move (RFC 9000, section 9).
            var expected = client.connection.capabilities
            expected.canMigrate = false
            try require(server.connection.capabilities == expected, "the server's capabilities differ")
        }
    }

    private static func datagrams(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            for (sender, receiver) in [(client, server), (server, client)] {
                let maximum = try await sender.perform { $0.connection.maximumDatagramSize }
                try require(maximum >= 1000, "only \(maximum) bytes fit into a datagram")
                let sizes = [0, 1, 500, maximum]
                try await sender.perform { end in
                    for size in sizes {
                        let outcome = try end.connection.sendDatagram(testBytes(size))
                        try require(outcome == .accepted, "a datagram of \(size) bytes was dropped")
                    }
                    try expectError(.limitExceeded, "a datagram that is too large") {
                        try end.connection.sendDatagram(testBytes(end.connection.maximumDatagramSize + 1))
                    }
                }
                let isReliable = !sender.connection.capabilities.hasUnreliableDatagrams
                try await receiver.until("the datagrams") { record in
                    // On loopback none is lost; but only a reliable carrier keeps their order.
                    let sorted = record.datagrams.map { $0.readableBytes }.sorted()
                    return isReliable ? record.datagrams == sizes.map { testBytes($0) } : sorted == sizes
                }
            }
        }
    }

    private static func refusedDatagrams(_ harness: any ConformanceHarness) async throws {
        var limits = ConnectionLimits()
        limits.datagramFrameSize = 0
        try await harness.withEnds(server: limits) { client, _ in
            try await client.perform { end in
                try require(end.connection.maximumDatagramSize == 0, "the peer takes none")
                try expectError(.limitExceeded, "a datagram to a peer that takes none") {
                    try end.connection.sendDatagram(ByteBuffer())
                }
            }
        }
    }

    private static func heldBackEvents(_ harness: any ConformanceHarness) async throws {
        let pair = try await harness.connectWithoutTimers(client: ConnectionLimits(), server: ConnectionLimits())
        try await ConformanceEnds(pair).run { client, server in
            try await client.start()
            let first = try await client.openStream()
            try await client.send(testBytes(3000), on: first)
            let second = try await client.openStream(.unidirectional)
            try await client.send(testBytes(10), on: second)
            try await server.untilStatistics("3000 bytes") { $0.bytesReceived > 3000 }
            try await server.start()
            let received = try await (server.whole(first), server.whole(second))
            try require(received == (testBytes(3000), testBytes(10)), "the bytes differ")
            let opened = try await server.perform { $0.record.opened }
            try require(opened == [first, second], "the streams were opened as \(opened)")
        }
    }

    private static func endBeforeStart(_ harness: any ConformanceHarness) async throws {
        let pair = try await harness.connectWithoutTimers(client: ConnectionLimits(), server: ConnectionLimits())
        try await ConformanceEnds(pair).run { client, server in
            try await client.start()
            try await client.perform { $0.connection.close(code: 12, reason: "early") }
            try await client.until("its own end") { $0.end != nil }
            try await server.start()
            let reason = try await server.until("the end") { $0.end }
            let expected = TransportError(.application, message: "", wireCode: 12, initiator: .peer)
            try require(reason == expected, "\(reason)")
        }
    }

    private static func closeCode(_ harness: any ConformanceHarness) async throws {
        for code in [0, 42, (1 << 62) - 1] as [UInt64] {
            for closesAsServer in [false, true] {
                try await harness.withEnds { client, server in
                    let (closer, other) = closesAsServer ? (server, client) : (client, server)
                    // A connection that carries something.
                    let stream = try await closer.openStream()
                    try await closer.send(testBytes(10), on: stream, finish: false)
                    try await other.until("10 bytes") { $0.count(stream) == 10 }
                    try await closer.perform { $0.connection.close(code: code, reason: "so long") }
                    let ends = try await (
                        closer.until("the end") { $0.end }, other.until("the end") { $0.end }
                    )
                    let expected = TransportError(.application, message: "so long", wireCode: code)
                    try require(ends.0 == expected, "the closer heard \(ends.0)")
                    try require(ends.1.initiator == .peer, "the other end heard \(ends.1), not by the peer")
                    try require(ends.1.code == .application && ends.1.wireCode == code, "the other end heard \(ends.1)")
                    try require(ends.1.message == "so long", "the reason became \(ends.1.message)")
                }
            }
        }
    }

    private static func simultaneousClose(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            async let byClient: Void = client.perform { $0.connection.close(code: 1, reason: "") }
            async let byServer: Void = server.perform { $0.connection.close(code: 2, reason: "") }
            _ = try await (byClient, byServer)
            for end in [client, server] {
                let reason = try await end.until("the end") { $0.end }
                try require(reason.code == .application, "\(reason)")
            }
        }
    }

    private static func callsAfterTheEnd(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            let stream = try await client.openStream()
            try await client.send(testBytes(10), on: stream, finish: false)
            try await server.until("10 bytes") { $0.count(stream) == 10 }
            try await client.perform { $0.connection.close(code: 8, reason: "") }
            for end in [client, server] {
                try await end.until("the end") { $0.end != nil }
                try await end.perform { end in
                    try expectError(.application, wireCode: 8, "openStream after the end") {
                        try end.connection.openStream(.bidirectional)
                    }
                    try expectError(.application, wireCode: 8, "write after the end") {
                        try end.connection.write(testBytes(1), to: stream, finish: true)
                    }
                    try expectError(.application, wireCode: 8, "sendDatagram after the end") {
                        try end.connection.sendDatagram(testBytes(1))
                    }
                    end.connection.reset(stream, code: 1)
                    end.connection.stopSending(stream, code: 1)
                    end.connection.consumed(10, of: stream)
                    end.connection.setPriority(.highest, of: stream)
                    end.connection.close(code: 99, reason: "again")
                    _ = end.connection.statistics()
                }
            }
        }
    }

    private static func longReason(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            try await client.perform { $0.connection.close(code: 3, reason: String(repeating: "x", count: 1000)) }
            let reason = try await server.until("the end") { $0.end }
            try require(reason.message == String(repeating: "x", count: 256), "\(reason.message.utf8.count) bytes came")
        }
    }

    private static func statistics(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            let before = try await client.perform { $0.connection.statistics() }
            let stream = try await client.openStream(.unidirectional)
            try await client.send(testBytes(100_000), on: stream)
            _ = try await server.whole(stream)
            _ = try await client.perform { try $0.connection.sendDatagram(testBytes(10)) }
            try await server.until("the datagram") { $0.datagrams.count == 1 }
            let sent = try await client.perform { $0.connection.statistics() }
            let received = try await server.perform { $0.connection.statistics() }
            try require(sent.bytesSent >= before.bytesSent + 100_000, "\(sent.bytesSent) bytes were counted as sent")
            try require(received.bytesReceived >= 100_000, "\(received.bytesReceived) bytes were counted as received")
            try require(sent.datagramsSent == 1 && received.datagramsReceived == 1, "datagrams were not counted")
        }
    }
}

extension ConformanceEnd {
    /// Looks at the statistics each time the event loop comes round, until they match.
    func untilStatistics(_ what: String, _ match: @escaping @Sendable (ConnectionStatistics) -> Bool) async throws {
        let deadline = NIODeadline.now() + TransportConformance.patience
        while try await !self.perform({ match($0.connection.statistics()) }) {
            try require(NIODeadline.now() < deadline, "the \(self.connection.role) never counted \(what)")
            try await self.connection.eventLoop.scheduleTask(in: .milliseconds(1)) {}.futureResult.get()
        }
    }
}
