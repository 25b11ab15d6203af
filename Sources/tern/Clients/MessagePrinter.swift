// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernClient
internal import TernMessages
internal import TernTransport

/// Prints messages with the names of their senders. One task uses it.
final class MessagePrinter {
    private let client: MessageClient
    private let output: Output
    /// What carries the messages now.
    private var carrier: Carrier?
    /// Names that were asked for; emptied before it grows large.
    private var names: [UserID: Name] = [:]

    private static let mostNames = 10_000

    init(client: MessageClient, output: Output) {
        self.client = client
        self.output = output
    }

    /// The message that an update brings, for the caller to print; everything else that an update says is said here.
    ///
    /// - Parameter wanted: the only channel of which messages are wanted; `nil` for all.
    func message(in update: ClientUpdate, of wanted: ChannelID?, session: ClientSession) async throws -> ChannelMessage?
    {
        if case .connected(let summary) = update { self.carrier = summary.carrier }
        if try await session.printed(update) { return nil }
        switch update {
        case .message(let message) where wanted == nil || message.channel == wanted:
            return message
        case .channelRestarted(let channel, let epoch) where wanted == nil || channel == wanted:
            try await self.printRestart(of: channel, epoch: epoch)
            return nil
        case .messagesMissing(let channel, let epoch, let range) where wanted == nil || channel == wanted:
            try await self.printMissing(range, of: channel, epoch: epoch)
            return nil
        case .message, .channelRestarted, .messagesMissing, .receipt, .notice, .connected, .disconnected,
            .refusedForNow, .serverIsDraining:
            return nil
        }
    }

    /// The payload and a line end, or a JSON line.
    func print(_ message: ChannelMessage) async throws {
        guard self.output.isJSON else {
            return try await self.output.message(JSONLine(event: ""), orPayload: message.payload)
        }
        try await self.output.message(try await self.line(for: message), orPayload: message.payload)
    }

    /// `bob: hello`, with nothing in it that could steer a terminal; or a JSON line.
    func printForPeople(_ message: ChannelMessage) async throws {
        let name = try await self.name(of: message.sender)
        let text = String(decoding: message.payload.readableBytesView, as: UTF8.self)
        try await self.output.event(
            try await self.line(for: message),
            orText: Output.singleLine("\(name.map { "\($0)" } ?? "\(message.sender)"): \(text)"))
    }

    private func printMissing(_ range: ClosedRange<MessageSequence>, of channel: ChannelID, epoch: Epoch) async throws {
        var line = JSONLine(event: "messagesMissing")
        line.add("channel", channel.description)
        line.add("epoch", epoch.description)
        line.add("first", range.lowerBound.rawValue)
        line.add("last", range.upperBound.rawValue)
        try await self.output.status(
            line, orText: "\(channel): the server has no messages \(range.lowerBound) to \(range.upperBound)")
    }

    private func printRestart(of channel: ChannelID, epoch: Epoch) async throws {
        var line = JSONLine(event: "channelRestarted")
        line.add("channel", channel.description)
        line.add("epoch", epoch.description)
        try await self.output.status(
            line, orText: "the log of \(channel) is another one than before (epoch \(epoch)); it begins again")
    }

    private func line(for message: ChannelMessage) async throws -> JSONLine {
        var line = JSONLine(event: "message")
        line.add("channel", message.channel.description)
        line.add("epoch", message.epoch.description)
        line.add("sequence", message.sequence.rawValue)
        line.add("sender", try await self.name(of: message.sender)?.text)
        line.add("senderID", message.sender.rawValue)
        line.add("messageID", message.id.description)
        line.add("timestamp", message.timestamp.rawValue)
        line.add("type", message.type.rawValue)
        line.add(payload: message.payload)
        line.add("carrier", self.carrier?.name)
        return line
    }

    private func name(of user: UserID) async throws -> Name? {
        if let name = self.names[user] { return name }
        if self.names.count >= Self.mostNames { self.names.removeAll() }
        self.names[user] = try await self.client.names(of: [user])[user]
        return self.names[user]
    }
}
