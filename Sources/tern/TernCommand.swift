// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser

/// The command: each verb is a file of its own.
@main
struct TernCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tern",
        abstract: "Messages over QUIC, and over TCP where UDP is blocked.",
        discussion: """
            A first try, on one machine:

              tern serve --development --self-signed --data tern-data
              tern tail  --server localhost:4433 --ca tern-data/ca.pem --token dev:bob
              echo hello | tern send --server localhost:4433 --ca tern-data/ca.pem --token dev:ann --to bob

            Docs/COMMAND.md lists every JSON field and every exit code.
            """,
        version: Program.version,
        subcommands: [
            ServeCommand.self, TokenCommand.self, SendCommand.self, TailCommand.self, ChatCommand.self,
            GroupCommand.self, PingCommand.self, BenchCommand.self,
        ])

    static func main() async {
        do {
            var command = try Self.parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch {
            let usage = ExitCode(CommandError.Code.usage.rawValue)
            // A verb that ran has said what was wrong.
            guard !(error is ExitCode), Self.exitCode(for: error) == usage else { Self.exit(withError: error) }
            let isJSON = CommandLine.arguments.dropFirst().prefix { $0 != "--" }.contains("--json")
            let output = Output(json: isJSON)
            output.reportUsage(Self.message(for: error), explained: Self.fullMessage(for: error))
            await output.flush()
            Self.exit(withError: usage)
        }
    }
}

/// What the program says of itself.
enum Program {
    static let version = "0.1.0"
    static let nameAndVersion = "tern/\(version)"
}
