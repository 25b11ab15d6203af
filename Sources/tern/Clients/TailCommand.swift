// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser
internal import TernClient
internal import TernMessages

/// `tern tail`: prints messages as they come.
struct TailCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tail",
        abstract: "Print messages as they come, and older ones on request.",
        discussion: """
            Prints each payload as it is, and a line end. Without --with and --group: the messages of all conversations of \
            the user. Those of one conversation come in the order of their sequence, without a gap, each once, over any \
            number of reconnects. Ends after --count messages, or with 0 on SIGTERM and SIGINT.

              tern tail --server localhost:4433 --ca tern-data/ca.pem --token dev:bob --with ann --from 1
            """)

    @OptionGroup var connectionOptions: ConnectionOptions
    @OptionGroup var tokenOptions: TokenOptions

    @Option(
        help: ArgumentHelp("Only the conversation with this user.", valueName: "user"), transform: Name.init(argument:))
    var with: Name?

    @Option(
        help: ArgumentHelp(
            "Only this group, which is entered, or made if there is none; see tern group.", valueName: "name"),
        transform: Name.init(argument:))
    var group: Name?

    @Option(
        help: ArgumentHelp(
            "Begin with the message of this sequence in each conversation; 1 is the first.", valueName: "sequence"))
    var from: UInt64?

    @Option(help: ArgumentHelp("End after this many messages.", valueName: "n"))
    var count: Int?

    @OptionGroup var outputOptions: OutputOptions
    @OptionGroup var logOptions: LogOptions

    func validate() throws {
        _ = try Conversation(user: self.with, group: self.group, options: "--with and --group")
        if let from, !(1...MessageSequence.maximumRawValue).contains(from) {
            throw ValidationError("--from takes a sequence, from 1")
        }
        if let count, count < 1 { throw ValidationError("--count takes 1 or more") }
    }

    func run() async throws {
        let output = self.outputOptions.makeOutput()
        try await output.run {
            let conversation = try Conversation(user: self.with, group: self.group, options: "")
            let session = try ClientSession(
                connection: self.connectionOptions, token: self.tokenOptions,
                receives: self.from.map { .sequence($0) } ?? .live, logger: self.logOptions.makeLogger(label: "tern"),
                output: output)
            try await output.endingOnSignals {
                try await session.run { client in
                    try await self.printMessages(
                        of: client, conversation: conversation, session: session, output: output)
                }
            }
        }
    }

    private func printMessages(
        of client: MessageClient, conversation: Conversation?, session: ClientSession, output: Output
    ) async throws {
        var wanted: ChannelID?
        if let conversation { wanted = try await client.channel(of: conversation) }
        let printer = MessagePrinter(client: client, output: output)
        var rest = self.count ?? .max
        for try await update in client.updates {
            guard let message = try await printer.message(in: update, of: wanted, session: session) else { continue }
            try await printer.print(message)
            rest -= 1
            if rest == 0 { return }
        }
    }
}
