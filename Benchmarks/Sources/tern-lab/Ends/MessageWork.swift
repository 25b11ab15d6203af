// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import NIOCore
internal import Synchronization
internal import Tern

/// Messages at a steady rate, on several streams in turn, each echoed by the server: what a chat or a game does.
///
/// The times are counted from when a message was due, not from when it could be sent, so that a stall counts for every
/// message that it holds up. Where a connection ends or falls silent, the client does what applications do today: it connects
/// anew and sends again what was not echoed.
struct MessageWork: Codable {
    /// Per second, over all streams.
    var rate: Double
    var streams: Int
    /// Bytes of a message.
    var size: Int
    /// How long messages are due.
    var seconds: Double
    /// Messages before, which do not count.
    var warmUpSeconds = 0.5
    /// How long the client waits for something to come back before it gives the connection up.
    var patience = 3.0
    /// How long the client waits for the rest after the last message was due.
    var grace = 8.0
    /// Bytes that are downloaded at the same time over the same connection, at the lowest priority; 0: none.
    var bulkBytes = 0

    func play(_ client: LabClient) async throws -> ClientResult {
        let link = MessageLink(work: self, client: client, connector: try client.makeConnector())
        return try await link.run()
    }

    var warmUpCount: Int { Int(self.warmUpSeconds * self.rate) }
    var count: Int { Int(self.seconds * self.rate) }
}

/// One run of a ``MessageWork``: the connection of the moment, and what outlives it.
private final class MessageLink: Sendable {
    let work: MessageWork
    let client: LabClient
    let connector: Connector
    let log: MessageLog
    let follower = NetworkFollower()

    init(work: MessageWork, client: LabClient, connector: Connector) {
        (self.work, self.client, self.connector) = (work, client, connector)
        self.log = MessageLog(work)
    }

    func run() async throws -> ClientResult {
        let first = try await self.connector.connect(to: self.client.endpoint)
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await self.schedule() }
            group.addTask { await self.keepConnected(first) }
            let deadline = self.work.warmUpSeconds + self.work.seconds + self.work.grace
            group.addTask {
                try await Task.sleep(for: .seconds(deadline))
                self.log.giveUp()
            }
            // Whichever comes first: everything is echoed, or the time is over.
            await self.log.untilDone()
            group.cancelAll()
            while let outcome = await group.nextResult() {
                if case .failure(let error) = outcome, !(error is CancellationError) { throw error }
            }
            return self.log.result()
        }
    }

    /// Says of every message when it is due. The measurement begins with the first that counts.
    private func schedule() async throws {
        let start = ContinuousClock.now + .milliseconds(50)
        let interval = 1 / self.work.rate
        let measured = start + .seconds(Double(self.work.warmUpCount) * interval)
        self.log.begin(at: start, measuredFrom: measured)
        for number in 0..<(self.work.warmUpCount + self.work.count) {
            if number == self.work.warmUpCount {
                try await Task.sleep(until: measured, clock: .continuous)
                try tell(ClientWord.started)
            }
            let due = start + .seconds(Double(number) * interval)
            if due > .now { try await Task.sleep(until: due, tolerance: .microseconds(200), clock: .continuous) }
            self.log.send(number, due: due)
        }
        self.log.everythingIsDue()
    }

    private func keepConnected(_ first: Connection) async {
        var connection: Connection? = first
        var failures = 0
        while !Task.isCancelled {
            do {
                let current: Connection
                if let connection {
                    current = connection
                } else {
                    self.log.note("connects anew", isOfTransport: false)
                    let (anew, report) = try await self.connector.race(to: self.client.endpoint)
                    self.log.note("connected over \(report.carrier), \(report.reason)", isOfTransport: false)
                    current = anew
                }
                connection = nil
                failures = 0
                try await self.use(current)
            } catch {
                if Task.isCancelled { return }
                self.log.note("\(Self.brief(error))", isOfTransport: false)
                failures += 1
                self.log.reconnects(1)
                if failures > 1 {
                    try? await Task.sleep(for: .milliseconds(min(1_000, 50 << min(failures, 5))))
                }
            }
        }
    }

    /// Sends and receives over one connection until it fails.
    private func use(_ connection: Connection) async throws {
        defer { self.log.detach() }
        do {
            try await withThrowingTaskGroup(of: Void.self) { group in
                let lanes = self.log.attach()
                for (number, messages) in lanes.enumerated() {
                    let stream = try await connection.openStream()
                    stream.setPriority(.highest)
                    try await stream.write(StreamRequest(.echo, urgency: StreamPriority.highest.urgency).bytes)
                    group.addTask {
                        for await message in messages {
                            try await stream.write(LabMessage(number: UInt64(message), size: self.work.size).bytes)
                        }
                    }
                    group.addTask { try await self.receive(from: stream, lane: number) }
                }
                if self.work.bulkBytes > 0 { group.addTask { try await self.download(over: connection) } }
                group.addTask { try await self.watchForSilence() }
                group.addTask { await self.follower.follow(connection) }
                group.addTask { await self.noteEvents(of: connection) }
                // The first that fails ends the others.
                while try await group.next() != nil {}
            }
        } catch {
            await Self.abandon(connection)
            throw error
        }
    }

    private func receive(from stream: Tern.Stream, lane: Int) async throws {
        var reader = MessageReader(stream)
        while let message = try await reader.next() { self.log.received(Int(clamping: message.number), at: .now) }
        throw BenchmarkError("the server ended a stream")
    }

    private func download(over connection: Connection) async throws {
        let stream = try await connection.openStream()
        stream.setPriority(.background)
        try await stream.finish(
            StreamRequest(
                .download, urgency: StreamPriority.background.urgency, count: UInt64(self.work.bulkBytes)
            ).bytes)
        while let bytes = try await stream.read() { self.log.receivedBulk(bytes.readableBytes, at: .now) }
    }

    /// A connection on which nothing comes back although something is awaited is given up.
    private func watchForSilence() async throws {
        while true {
            try await Task.sleep(for: .milliseconds(50))
            if self.log.silence > self.work.patience {
                throw BenchmarkError("nothing came back for \(fixed(self.work.patience, 1)) s")
            }
        }
    }

    private func noteEvents(of connection: Connection) async {
        for await event in connection.events {
            self.log.note("\(event.kind): \(event.message)", isOfTransport: true)
        }
    }

    /// Does not wait for the peer to hear of it, which may take as long as the network is down.
    private static func abandon(_ connection: Connection) async {
        Task.detached { await connection.close(code: 1, reason: "given up") }
    }

    private static func brief(_ error: any Error) -> String {
        guard let error = error as? TransportError else { return "\(error)" }
        let wireCode = error.wireCode.map { " (0x\(String($0, radix: 16)))" } ?? ""
        return "\(error.code)\(wireCode) by \(error.initiator): \(error.message.prefix(120))"
    }
}
