// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser
internal import NIOCore
internal import TernClient
internal import TernMessages

/// `tern send`: each line of standard input is a message.
struct SendCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "send",
        abstract: "Send each line of standard input as a message.",
        discussion: """
            Prints a line per message when the server stored it, in the order of the input, and ends with 0 when everything \
            is stored. Bytes are sent as they are, without the line end; empty lines are messages too. While a connection is \
            lost it connects again and repeats what was not acknowledged; nothing is stored twice.

              cat text | tern send --server localhost:4433 --ca tern-data/ca.pem --token dev:ann --to bob
            """)

    @OptionGroup var connectionOptions: ConnectionOptions
    @OptionGroup var tokenOptions: TokenOptions

    @Option(
        help: ArgumentHelp("Send to this user, who need not be there, nor ever have been.", valueName: "user"),
        transform: Name.init(argument:))
    var to: Name?

    @Option(
        help: ArgumentHelp(
            "Send to this group, which is entered, or made if there is none; see tern group.", valueName: "name"),
        transform: Name.init(argument:))
    var group: Name?

    @OptionGroup var outputOptions: OutputOptions
    @OptionGroup var logOptions: LogOptions

    func validate() throws {
        guard try Conversation(user: self.to, group: self.group, options: "--to and --group") != nil else {
            throw ValidationError("give --to or --group")
        }
    }

    func run() async throws {
        let output = self.outputOptions.makeOutput()
        try await output.run {
            guard let conversation = try Conversation(user: self.to, group: self.group, options: "") else { return }
            let session = try ClientSession(
                connection: self.connectionOptions, token: self.tokenOptions, receives: nil,
                logger: self.logOptions.makeLogger(label: "tern"), output: output)
            try await session.run { client in
                let progress = ProgressWatch(timeout: .seconds(self.connectionOptions.timeout))
                let sending = LineSending(
                    client: client, conversation: conversation, output: output, progress: progress)
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask { for try await update in client.updates { _ = try await session.printed(update) } }
                    group.addTask { try await progress.run() }
                    group.addTask {
                        try await sending.run()
                        await client.close()
                    }
                    // The updates end when the client is closed, the sender before it; the watch is for as long as they are.
                    do {
                        for _ in 0..<2 { try await group.next() }
                    } catch {
                        // Those who wait for the server would wait on.
                        await client.close(timeout: .zero)
                        throw error
                    }
                    group.cancelAll()
                }
            }
        }
    }
}
