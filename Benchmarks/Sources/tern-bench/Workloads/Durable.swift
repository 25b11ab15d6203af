// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation
internal import Logging
internal import NIOCore
internal import Tern
internal import TernClient
internal import TernMessages
internal import TernServer
internal import TernStore

extension Workload {
    static let durable = Workload(
        name: "durable",
        summary: {
            """
            \(MessageClients.clientCount) clients, each with a connection and a channel of its own, send \
            \(MessageClients.payloadSize) bytes and wait for the acknowledgement, for \($0.durableSeconds) s; durability full
            """
        },
        contenders: { profile in
            [BenchmarkCarrier.quic, .tls].map { carrier in
                Contender(
                    name: "tern-\(carrier)", expectedSeconds: profile.durableSeconds + MessageClients.warmUpSeconds + 1
                ) {
                    try $0.store(for: profile.durableSeconds, over: carrier)
                }
            }
        },
        columns: [
            Column(title: "messages/s", key: "messagesPerSecond", decimals: 0),
            Column(title: "p50 ms", key: "p50Milliseconds", decimals: 2),
            Column(title: "p99 ms", key: "p99Milliseconds", decimals: 2),
            Column(title: "clients CPU µs", key: "clientCPUMicroseconds", decimals: 0),
            Column(title: "server CPU µs", key: "serverCPUMicroseconds", decimals: 0),
        ],
        ratios: [Ratio(key: "messagesPerSecond", of: "tern-quic", to: "tern-tls")])

    fileprivate static let messageProtocol = ApplicationProtocol.messages
}

extension Stage {
    fileprivate func store(for seconds: Double, over carrier: BenchmarkCarrier) throws -> [String: Double] {
        let directory = "\(self.scratch)/store"
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let server = try self.start(.messageServer(MessageServerRole(directory: directory)), name: "message-server")
        let address: ServerAddress = try self.answer(of: server)
        let clients = try self.start(
            .messageClients(MessageClients(server: address, carrier: carrier, seconds: seconds)),
            name: "message-clients")
        let result: MessageClients.Result = try self.answer(of: clients)
        let clientEnding = try clients.finish(within: .seconds(20), whileWaiting: self.tick)
        let serverEnding = try server.stop(.closingInput)
        return [
            "messagesPerSecond": Double(result.measured) / seconds,
            "p50Milliseconds": result.p50Milliseconds,
            "p99Milliseconds": result.p99Milliseconds,
            "maximumMilliseconds": result.maximumMilliseconds,
            "measured": Double(result.measured),
            "acknowledged": Double(result.acknowledged),
            // Of the whole process, by all messages: starting, fifty handshakes and warming up are in it.
            "clientCPUMicroseconds": clientEnding.cpuSeconds * 1e6 / Double(result.acknowledged),
            "serverCPUMicroseconds": serverEnding.cpuSeconds * 1e6 / Double(result.acknowledged),
        ]
    }
}

/// The message server with its store, as the command's `serve` makes them.
struct MessageServerRole: Codable {
    var directory: String

    func play() async throws {
        var logger = Logger(label: "tern")
        logger.logLevel = .warning
        var configuration = ServerConfiguration(name: try Name("bench"))
        configuration.acceptsDevelopmentTokens = true
        var options = SQLiteMessageStore.Options()
        options.durability = .full
        let store = try SQLiteMessageStore(directory: self.directory, options: options, logger: logger)
        let server = MessageServer(store: store, configuration: configuration, logger: logger)
        try await serve(Workload.messageProtocol) { connection in await server.serve(connection) }
        await store.close()
    }
}

/// Clients that each send a message, wait until it is stored, and send the next.
struct MessageClients: Codable {
    var server: ServerAddress
    var carrier: BenchmarkCarrier
    var seconds: Double

    static let clientCount = 50
    static let payloadSize = 256
    static let warmUpSeconds = 1.0

    struct Result: Codable {
        /// Acknowledgements in the measured time.
        var measured: Int
        /// With those before and after it.
        var acknowledged: Int
        var p50Milliseconds: Double
        var p99Milliseconds: Double
        var maximumMilliseconds: Double
    }

    func play() async throws {
        let connector = try makeConnector(to: self.server, over: self.carrier, Workload.messageProtocol)
        let endpoint = self.server.endpoint
        let clients = (0..<Self.clientCount).map { number in
            MessageClient(ClientConfiguration(token: "dev:sender-\(number)", receives: nil)) {
                try await connector.connect(to: endpoint)
            }
        }
        let result = try await withThrowingTaskGroup(of: Void.self) { group in
            for client in clients { group.addTask { try await client.run() } }
            let receivers = try await Self.receivers(for: clients)
            let result = try await self.measure(clients, receivers)
            for client in clients { await client.close() }
            return result
        }
        try tell(result)
    }

    /// A user for each client to write to. When it returns, every client is connected.
    private static func receivers(for clients: [MessageClient]) async throws -> [PartyID] {
        try await withThrowingTaskGroup(of: (Int, PartyID).self) { group in
            for (number, client) in clients.enumerated() {
                group.addTask { (number, PartyID(try await client.resolveUser(try Name("receiver-\(number)")))) }
            }
            return try await group.reduce(into: [:]) { $0[$1.0] = $1.1 }.sorted { $0.key < $1.key }.map(\.value)
        }
    }

    private func measure(_ clients: [MessageClient], _ receivers: [PartyID]) async throws -> Result {
        let begin = ContinuousClock.now + .seconds(Self.warmUpSeconds)
        let end = begin + .seconds(self.seconds)
        return try await withThrowingTaskGroup(of: (Int, Latencies).self) { group in
            for (client, receiver) in zip(clients, receivers) {
                group.addTask { try await self.send(from: client, to: receiver, begin: begin, end: end) }
            }
            var (acknowledged, all) = (0, Latencies(capacity: 1 << 20))
            for try await (count, latencies) in group {
                acknowledged += count
                all.append(contentsOf: latencies)
            }
            return Result(
                measured: all.count, acknowledged: acknowledged, p50Milliseconds: all.microseconds(at: 0.5) / 1e3,
                p99Milliseconds: all.microseconds(at: 0.99) / 1e3, maximumMilliseconds: all.microseconds(at: 1) / 1e3)
        }
    }

    private func send(
        from client: MessageClient, to receiver: PartyID, begin: ContinuousClock.Instant, end: ContinuousClock.Instant
    ) async throws -> (Int, Latencies) {
        let payload = ByteBuffer(repeating: 0x61, count: Self.payloadSize)
        var (count, latencies) = (0, Latencies(capacity: 1 << 14))
        while true {
            let start = ContinuousClock.now
            guard start < end else { return (count, latencies) }
            let sent = try await client.send(payload, to: receiver)
            let now = ContinuousClock.now
            count += 1
            // An acknowledgement that promises less, or that is not for the message that was sent, is no result.
            guard sent.durability == .full, sent.sequence.rawValue == UInt64(count), !sent.isDuplicate else {
                throw BenchmarkError("message \(count) was acknowledged as \(sent)")
            }
            if now >= begin, now < end { latencies.append(now - start) }
        }
    }
}
