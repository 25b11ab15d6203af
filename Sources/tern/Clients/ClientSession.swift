// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Logging
internal import NIOCore
internal import Synchronization
internal import Tern
internal import TernClient
internal import TernMessages

/// What `send`, `tail` and `chat` have in common: a client that stays connected, and what is said about its connections.
final class ClientSession: Sendable {
    let client: MessageClient
    private let output: Output
    private let reports: Reports

    /// How the connections came about, told by the dialler and printed when the server accepted the token.
    private final class Reports: Sendable {
        let last = Mutex<ConnectionReport?>(nil)
        let count = Mutex(0)
    }

    /// - Throws: ``CommandError`` for a token, a CA file or a pin that cannot be used.
    init(
        connection: ConnectionOptions, token: TokenOptions, receives: ReceiveStart?, logger: Logger, output: Output
    ) throws {
        var configuration = ClientConfiguration(token: try token.read(), receives: receives)
        if let source = token.source { configuration.tokenSource = { try source() } }
        configuration.program = Program.nameAndVersion
        configuration.reconnecting.giveUpAfter = .seconds(connection.timeout)
        configuration.requestTimeout = min(configuration.requestTimeout, .seconds(connection.timeout))
        let connector = try connection.makeConnector(logger: logger)
        let reports = Reports()
        let follower = NetworkFollower()
        self.output = output
        self.reports = reports
        self.client = MessageClient(configuration) {
            let isFirst = reports.last.withLock { $0 == nil }
            let (made, report) =
                isFirst
                ? try await connection.connect(by: connector) : try await connector.race(to: connection.server)
            reports.last.withLock { $0 = report }
            return made
        } whileConnected: {
            await follower.follow($0)
        }
    }

    /// Keeps the client connected while `body` runs, and closes it when `body` returns.
    ///
    /// - Throws: what `body` threw, or why the client ended before it.
    func run(_ body: @escaping @Sendable (MessageClient) async throws -> Void) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await self.client.run() }
            group.addTask {
                do {
                    try await body(self.client)
                    await self.client.close()
                } catch {
                    // Says good-bye, so that the server does not wait for what never comes.
                    await self.client.close(timeout: .zero)
                    throw error
                }
            }
            // The first error counts: what others say of it afterwards is its echo.
            while try await group.next() != nil {}
        }
    }

    /// Asks the server something, and is done when it was answered.
    func ask(_ body: @escaping @Sendable (MessageClient) async throws -> Void) async throws {
        try await self.run { client in
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { for try await update in client.updates { _ = try await self.printed(update) } }
                group.addTask {
                    try await body(client)
                    await client.close()
                }
                do {
                    while try await group.next() != nil {}
                } catch {
                    // Who reads the updates would wait on.
                    await client.close(timeout: .zero)
                    throw error
                }
            }
        }
    }

    /// Prints what an update says about the connection; `false` for all others.
    func printed(_ update: ClientUpdate) async throws -> Bool {
        switch update {
        case .connected(let summary):
            try await self.printConnected(summary)
        case .disconnected(let reason, let delay):
            var line = JSONLine(event: "disconnected")
            line.add("reason", reason)
            try await self.output.status(
                line, orText: "disconnected: \(reason)" + (delay == nil ? "" : "; connecting again"))
        case .refusedForNow(let failure):
            var line = JSONLine(event: "refused-for-now")
            line.add("reason", "\(failure.code)")
            try await self.output.status(
                line, orText: "the server takes nothing for now (\(failure.code)); trying again")
        case .serverIsDraining:
            try await self.output.status(JSONLine(event: "draining"), orText: "the server is about to stop")
        case .message, .channelRestarted, .messagesMissing, .receipt, .notice:
            return false
        }
        return true
    }

    private func printConnected(_ summary: ConnectionSummary) async throws {
        let report = self.reports.last.withLock { $0 }
        let number = self.reports.count.withLock { count in
            count += 1
            return count
        }
        var line = JSONLine(event: "connected")
        line.add("carrier", summary.carrier.name)
        line.add("reason", report?.description)
        line.add(milliseconds: "connectMilliseconds", report?.totalDuration)
        line.add(milliseconds: "handshakeMilliseconds", report?.handshakeDuration)
        line.add("attempt", number)
        line.add("user", summary.userName.text)
        line.add("device", summary.deviceName.text)
        try await self.output.status(
            line, orText: "\(report?.description ?? "connected over \(summary.carrier)") as \(summary.userName)")
    }
}

extension MessageClient {
    /// Who is addressed; a group is made, closed, if there is none of that name, and entered.
    func receiver(of conversation: Conversation) async throws -> PartyID {
        switch conversation {
        case .user(let name): PartyID(try await self.resolveUser(name))
        case .group(let name): PartyID(try await self.enterGroup(name).group)
        }
    }

    /// The channel of a conversation, as the user that we are has it.
    func channel(of conversation: Conversation) async throws -> ChannelID? {
        let receiver = try await self.receiver(of: conversation)
        return ChannelID(sender: PartyID(try await self.identity().user), receiver: receiver)
    }
}
