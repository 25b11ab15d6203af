// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import NIOCore
internal import Tern

/// Connects, asks for one byte, and again: how long until the connection stands, and until the byte is there.
struct ConnectWork: Codable {
    enum Mode: String, Codable {
        /// Without memory of the server.
        case cold
        /// With a ticket; nothing is sent before the handshake is done.
        case resumed
        /// With a ticket; the question is sent at once (0-RTT).
        case early
    }

    var mode: Mode
    var count: Int

    func play(_ client: LabClient) async throws -> ClientResult {
        var tls = TLSClientConfiguration(
            trust: .certificateAuthorities(pem: Array(client.server.certificateAuthority.utf8)))
        if self.mode == .cold { tls.sessionCache = nil }
        let connector = try client.makeConnector(tls)
        // The first one makes what is made once, and brings the first ticket.
        _ = try await self.once(connector, client.endpoint, tls.sessionCache, isFirst: true)
        try tell(ClientWord.started)
        var (connects, firstBytes): ([Int], [Int]) = ([], [])
        for _ in 0..<self.count {
            let times = try await self.once(connector, client.endpoint, tls.sessionCache, isFirst: false)
            connects.append(times.connect)
            firstBytes.append(times.firstByte)
        }
        var result = ClientResult()
        result.add(latencies: firstBytes)
        result.values["firstByte"] = result.values["p50"]
        result.values["connect"] = Spread(connects.map { Double($0) / 1e3 })?.median
        return result
    }

    private func once(
        _ connector: Connector, _ endpoint: Endpoint, _ tickets: TLSSessionCache?, isFirst: Bool
    ) async throws -> (connect: Int, firstByte: Int) {
        let request = StreamRequest(.download, count: 1).bytes
        let watch = Stopwatch()
        let connection: Connection
        let stream: Tern.Stream
        var connected: Double
        if self.mode == .early, !isFirst {
            let (early, streams) = try await connector.connect(
                to: endpoint, replayable: [ReplayableStream(request, finishes: true)])
            guard let first = streams.first else { throw BenchmarkError("no stream was opened early") }
            (connection, stream, connected) = (early, first, watch.seconds)
        } else {
            connection = try await connector.connect(to: endpoint)
            connected = watch.seconds
            stream = try await connection.openStream()
            try await stream.finish(request)
        }
        guard try await stream.read() != nil else { throw BenchmarkError("the server answered without a byte") }
        let firstByte = watch.seconds
        while try await stream.read() != nil {}
        if self.mode == .early, !isFirst {
            try await connection.handshakeCompleted()
            let outcome = await connection.earlyData()
            guard outcome == .accepted else { throw BenchmarkError("early data was not accepted: \(outcome)") }
        }
        if let tickets { try await Self.untilTicket(in: tickets) }
        await connection.close()
        return (Int(connected * 1e6), Int(firstByte * 1e6))
    }

    /// The server's ticket comes after the handshake, about when the first answer does, and is good for one connection.
    /// Looks again and again, since the cache tells nobody what it keeps; outside of what is measured.
    private static func untilTicket(in tickets: TLSSessionCache) async throws {
        let watch = Stopwatch()
        while tickets.count == 0 {
            guard watch.seconds < 2 else { throw BenchmarkError("the server gives no tickets") }
            try await Task.sleep(for: .milliseconds(2))
        }
    }
}

/// Downloads so many bytes over one stream.
struct BulkWork: Codable {
    var byteCount: Int
    /// Downloaded before, so that the congestion window is not that of a new connection; 0: measures its growth, too.
    var warmUpBytes = 0

    func play(_ client: LabClient) async throws -> ClientResult {
        let connector = try client.makeConnector()
        let connection = try await connector.connect(to: client.endpoint)
        if self.warmUpBytes > 0 { try await Self.download(self.warmUpBytes, over: connection) { _, _ in } }
        try tell(ClientWord.started)
        let watch = Stopwatch()
        var arrivals = ArrivalCounter()
        var firstByte: Double?
        try await Self.download(self.byteCount, over: connection) { count, _ in
            let now = watch.seconds
            if firstByte == nil { firstByte = now }
            arrivals.add(Double(count), at: now)
        }
        let seconds = watch.seconds
        var result = ClientResult()
        result.values = [
            "throughput": Double(self.byteCount) / seconds / 1e6, "seconds": seconds,
            "firstByte": (firstByte ?? 0) * 1e3,
        ]
        result.add(timeline: arrivals, of: "bytes")
        await connection.close()
        return result
    }

    private static func download(
        _ byteCount: Int, over connection: Connection, _ arrived: (Int, Int) -> Void
    ) async throws {
        let stream = try await connection.openStream()
        try await stream.finish(StreamRequest(.download, count: UInt64(byteCount)).bytes)
        var received = 0
        while let bytes = try await stream.read() {
            received += bytes.readableBytes
            arrived(bytes.readableBytes, received)
        }
        guard received == byteCount else { throw BenchmarkError("\(received) of \(byteCount) bytes arrived") }
    }
}

/// Requests with an answer, each on a stream of its own, so many at a time.
struct RequestWork: Codable {
    var count: Int
    var concurrency: Int
    var responseBytes: Int

    func play(_ client: LabClient) async throws -> ClientResult {
        let connection = try await client.makeConnector().connect(to: client.endpoint)
        for _ in 0..<3 { _ = try await self.request(over: connection) }
        try tell(ClientWord.started)
        let watch = Stopwatch()
        let latencies = try await withThrowingTaskGroup(of: [Int].self) { group in
            for lane in 0..<self.concurrency {
                group.addTask {
                    var times: [Int] = []
                    for _ in stride(from: lane, to: self.count, by: self.concurrency) {
                        times.append(try await self.request(over: connection))
                    }
                    return times
                }
            }
            return try await group.reduce(into: [Int]()) { $0 += $1 }
        }
        let seconds = watch.seconds
        var result = ClientResult()
        result.add(latencies: latencies)
        result.values["perSecond"] = Double(latencies.count) / seconds
        await connection.close()
        return result
    }

    private func request(over connection: Connection) async throws -> Int {
        let watch = Stopwatch()
        let stream = try await connection.openStream()
        try await stream.finish(StreamRequest(.download, count: UInt64(self.responseBytes)).bytes)
        var received = 0
        while let bytes = try await stream.read() { received += bytes.readableBytes }
        guard received == self.responseBytes else { throw BenchmarkError("an answer was cut short") }
        return Int(watch.seconds * 1e6)
    }
}
