// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser
internal import NIOCore
internal import Synchronization
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

    @Option(
        help: ArgumentHelp("Talk with this user.", valueName: "user"), transform: Name.init(argument:))
    var with: Name?

    @Option(
        help: ArgumentHelp(
            "Talk in this group, which is entered, or made if there is none; see tern group.", valueName: "name"),
        transform: Name.init(argument:))
    var group: Name?

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
            let ownLines = OwnLines()
            try await output.endingOnSignals {
                try await session.run { client in
                    try await withThrowingTaskGroup(of: Void.self) { group in
                        group.addTask {
                            do {
                                try await self.show(
                                    conversation, client: client, session: session, ownLines: ownLines, output: output)
                            } catch let error as ClientError where error.code == .closed {
                                // The input ended while something was still asked for; how the client ended its run says.
                            }
                        }
                        group.addTask {
                            try await self.say(conversation, client: client, ownLines: ownLines, output: output)
                        }
                        while try await group.next() != nil {}
                    }
                }
            }
        }
    }

    /// What was typed here.
    private final class OwnLines: Sendable {
        private let ids = Mutex<Set<ClientMessageID>>([])

        func insert(_ id: ClientMessageID) { self.ids.withLock { _ = $0.insert(id) } }

        /// Whether the message is one of them; each is asked for once.
        func remove(_ id: ClientMessageID) -> Bool { self.ids.withLock { $0.remove(id) != nil } }
    }

    private func show(
        _ conversation: Conversation, client: MessageClient, session: ClientSession, ownLines: OwnLines,
        output: Output
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
        for try await update in client.updates {
            // Its messages come again from the start.
            if case .channelRestarted(channel, _) = update { shown = .zero }
            guard let message = try await printer.message(in: update, of: channel, session: session),
                message.sequence > shown
            else { continue }
            shown = message.sequence
            // What was typed here is on the screen already; what the same user typed elsewhere is not.
            if !ownLines.remove(message.id) || output.isJSON { try await printer.printForPeople(message) }
            client.markRead(message)
        }
    }

    /// Sends what is typed, and says at once what the server does not take.
    ///
    /// - Throws: ``CommandError`` at the end of the input when a line was not stored.
    private func say(
        _ conversation: Conversation, client: MessageClient, ownLines: OwnLines, output: Output
    ) async throws {
        let receiver = try await client.receiver(of: conversation)
        let largest = Int(try await client.identity().maximumPayloadLength)
        let (lines, sent) = AsyncStream.makeStream(of: (number: Int, receipt: SendReceipt).self)
        let firstError = try await withThrowingTaskGroup(of: CommandError?.self) { group in
            group.addTask {
                var firstError: CommandError?
                for await line in lines {
                    guard let error = try await self.refusal(of: line.receipt, line: line.number) else { continue }
                    var json = JSONLine(event: "refused")
                    json.add("line", line.number)
                    json.add("reason", error.message)
                    try await output.status(json, orText: error.message)
                    firstError = firstError ?? error
                }
                return firstError
            }
            group.addTask {
                defer { sent.finish() }
                var reader = LineReader(maximumBytes: largest)
                while let line = try await reader.next() {
                    guard line.readableBytes > 0 else { continue }
                    let id = ClientMessageID.random()
                    ownLines.insert(id)
                    sent.yield((reader.count, try await client.enqueue(line, to: receiver, id: id)))
                }
                // Waits for what is on its way, and fails what is not stored by then.
                await client.close()
                return nil
            }
            var firstError: CommandError?
            while let ended = try await group.next() { firstError = firstError ?? ended }
            return firstError
        }
        if let firstError { throw firstError }
    }

    /// Why the server did not store a line; `nil` when it did.
    private func refusal(of receipt: SendReceipt, line: Int) async throws -> CommandError? {
        do {
            _ = try await receipt.acknowledgement()
            return nil
        } catch let error as ClientError where error.code == .refused {
            return CommandError(.badInput, "line \(line) was refused: \(error.message)")
        } catch let error as ClientError where error.code == .closed {
            return CommandError(.unavailable, "line \(line) was not acknowledged, and may be stored or not")
        }
    }
}
