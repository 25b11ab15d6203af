// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Synchronization
internal import Tern

/// One publisher, many subscribers, each over a connection of its own; how long until a message is with each of them.
struct FanOutWork: Codable {
    var subscribers: Int
    /// Messages per second.
    var rate: Double
    var size: Int
    var seconds: Double

    func play(_ client: LabClient) async throws -> ClientResult {
        let connector = try client.makeConnector()
        let count = Int(self.rate * self.seconds)
        let dueTimes = DueTimes()
        let subscriptions = try await self.subscribe(connector, client.endpoint)
        let connections = subscriptions.map(\.connection)
        let latencies = try await withThrowingTaskGroup(of: [Int].self) { group in
            for subscription in subscriptions {
                group.addTask {
                    var reader = subscription.reader
                    var times: [Int] = []
                    // A connection that ended delivers no more; the result says how many deliveries are missing.
                    while times.count < count, let message = try? await reader.next() {
                        guard let due = dueTimes[message.number] else { continue }
                        times.append(Int((ContinuousClock.now - due).seconds * 1e6))
                    }
                    return times
                }
            }
            let publisher = try await connector.connect(to: client.endpoint)
            try await self.publish(count, over: publisher, dueTimes)
            // Readers end by themselves with the last message; one that never comes must not keep them for ever.
            let patience = Task {
                try await Task.sleep(for: .seconds(10))
                for connection in connections { await connection.close() }
            }
            let latencies = try await group.reduce(into: [Int]()) { $0 += $1 }
            patience.cancel()
            await publisher.close()
            return latencies
        }
        await withDiscardingTaskGroup { group in
            for connection in connections { group.addTask { await connection.close() } }
        }
        var result = ClientResult()
        result.add(latencies: latencies)
        let missing = count * self.subscribers - latencies.count
        result.values["deliveries"] = Double(latencies.count)
        if missing > 0 { result.failure = "\(missing) deliveries are missing" }
        return result
    }

    private func subscribe(
        _ connector: Connector, _ endpoint: Endpoint
    ) async throws -> [(connection: Connection, reader: MessageReader)] {
        try await withThrowingTaskGroup(of: (connection: Connection, reader: MessageReader).self) { group in
            for _ in 0..<self.subscribers {
                group.addTask {
                    let connection = try await connector.connect(to: endpoint)
                    return (connection, try await Self.begin(connection.openStream()))
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
    }

    /// Subscribes, and waits for the server's word that it delivers from now on.
    private static func begin(_ stream: Tern.Stream) async throws -> MessageReader {
        try await stream.write(StreamRequest(.subscribe).bytes)
        var reader = MessageReader(stream)
        _ = try await reader.next()
        return reader
    }

    private func publish(
        _ count: Int, over connection: Connection, _ dueTimes: DueTimes
    ) async throws {
        let stream = try await connection.openStream()
        try await stream.write(StreamRequest(.publish).bytes)
        try tell(ClientWord.started)
        let start = ContinuousClock.now + .milliseconds(50)
        for number in 0..<count {
            let due = start + .seconds(Double(number) / self.rate)
            try await Task.sleep(until: due, tolerance: .microseconds(200), clock: .continuous)
            dueTimes.append(due)
            try await stream.write(LabMessage(number: UInt64(number), size: self.size).bytes)
        }
        // What is dropped unfinished is reset, and the last messages with it.
        try await stream.finish()
    }
}

/// When each message was due, by its number.
private final class DueTimes: Sendable {
    private let times = Mutex<[ContinuousClock.Instant]>([])

    func append(_ due: ContinuousClock.Instant) { self.times.withLock { $0.append(due) } }

    subscript(number: UInt64) -> ContinuousClock.Instant? {
        self.times.withLock { times in number < UInt64(times.count) ? times[Int(number)] : nil }
    }
}

/// Many clients lose their connections at the same moment, as when a network comes back, and all connect anew: how long until
/// each has its first answer.
struct StormWork: Codable {
    var clients: Int

    func play(_ client: LabClient) async throws -> ClientResult {
        let connector = try client.makeConnector()
        let connections = try await self.connectAll(connector, client.endpoint).map(\.connection)
        for connection in connections { Task.detached { await connection.close(code: 1, reason: "the storm") } }
        try tell(ClientWord.started)
        let watch = Stopwatch()
        let outcomes = try await self.connectAll(connector, client.endpoint)
        let seconds = watch.seconds
        var result = ClientResult()
        result.add(latencies: outcomes.map(\.microseconds))
        result.values["lastBack"] = seconds * 1e3
        for outcome in outcomes { await outcome.connection.close() }
        return result
    }

    private struct Outcome {
        var connection: Connection
        var microseconds: Int
    }

    private func connectAll(_ connector: Connector, _ endpoint: Endpoint) async throws -> [Outcome] {
        let watch = Stopwatch()
        return try await withThrowingTaskGroup(of: Outcome.self) { group in
            for _ in 0..<self.clients {
                group.addTask {
                    let connection = try await Self.connect(connector, endpoint)
                    let stream = try await connection.openStream()
                    try await stream.finish(StreamRequest(.download, count: 64).bytes)
                    while try await stream.read() != nil {}
                    return Outcome(connection: connection, microseconds: Int(watch.seconds * 1e6))
                }
            }
            return try await group.reduce(into: [Outcome]()) { $0.append($1) }
        }
    }

    /// As applications do: tries again until it works, waiting longer each time.
    private static func connect(_ connector: Connector, _ endpoint: Endpoint) async throws -> Connection {
        var failures = 0
        while true {
            do {
                return try await connector.connect(to: endpoint)
            } catch {
                failures += 1
                guard failures < 6 else { throw error }
                try await Task.sleep(for: .milliseconds(100 << failures))
            }
        }
    }
}
