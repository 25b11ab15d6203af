// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser
internal import NIOCore
internal import TernClient
internal import TernMessages

/// `tern chat`: type lines, see what others say.
struct ChatCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chat",
        abstract: "Talk with a user or in a group.",
        discussion: """
            Shows what was said last, then what others say; each line that you type is sent. The end of the input (Ctrl-D) \
            ends it when everything is stored.

              tern chat --server localhost:4433 --ca tern-data/ca.pem --token dev:ann --with bob
            """)

    @OptionGroup var connectionOptions: ConnectionOptions
    @OptionGroup var tokenOptions: TokenOptions

    @Option(help: ArgumentHelp("Talk with this user.", valueName: "user"))
    var with: String?

    @Option(help: ArgumentHelp("Talk in this group, which is made if there is none, and joined.", valueName: "name"))
    var group: String?

    @Option(help: ArgumentHelp("How many of the last messages to show first, at most 200.", valueName: "n"))
    var history: UInt16 = 20

    @OptionGroup var outputOptions: OutputOptions
    @OptionGroup var logOptions: LogOptions

    func validate() throws {
        guard try Conversation(user: self.with, group: self.group, options: "--with and --group") != nil else {
            throw ValidationError("give --with or --group")
        }
        guard self.history <= 200 else { throw ValidationError("--history takes 0 to 200") }
    }

    func run() async throws {
        let output = self.outputOptions.makeOutput()
        try await output.run {
            guard let conversation = try Conversation(user: self.with, group: self.group, options: "") else { return }
            let session = try ClientSession(
                connection: self.connectionOptions, token: self.tokenOptions, receives: .live,
                logger: self.logOptions.makeLogger(label: "tern"), output: output)
            try await endingOnSignals {
                try await session.run { client in
                    try await withThrowingTaskGroup(of: Void.self) { group in
                        group.addTask {
                            try await self.show(conversation, client: client, session: session, output: output)
                        }
                        group.addTask {
                            try await self.say(conversation, client: client)
                            await client.close()
                        }
                        while try await group.next() != nil {}
                    }
                }
            }
        }
    }

    private func show(
        _ conversation: Conversation, client: MessageClient, session: ClientSession, output: Output
    ) async throws {
        guard let channel = try await client.channel(of: conversation) else { return }
        let printer = MessagePrinter(client: client, output: output)
        var shown = MessageSequence.zero
        if self.history > 0 {
            let page = try await client.history(of: channel, from: .zero, direction: .backward, limit: self.history)
            for message in page.messages {
                try await printer.printForPeople(message)
                shown = max(shown, message.sequence)
            }
        }
        let user = try await client.identity().user
        for try await update in client.updates {
            // Its messages come again from the start.
            if case .channelRestarted(channel, _) = update { shown = .zero }
            guard let message = try printer.message(in: update, of: channel, session: session),
                message.sequence > shown
            else { continue }
            shown = message.sequence
            // What one typed oneself is on the screen already.
            if message.sender != user || output.isJSON { try await printer.printForPeople(message) }
            client.markRead(channel, upTo: message.sequence)
        }
    }

    private func say(_ conversation: Conversation, client: MessageClient) async throws {
        let receiver = try await client.receiver(of: conversation)
        var reader = LineReader(maximumBytes: Int(try await client.identity().maximumPayloadLength))
        while let line = try await reader.next() {
            if line.readableBytes > 0 { _ = try await client.enqueue(line, to: receiver) }
        }
    }
}
