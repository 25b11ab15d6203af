// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser
internal import BenchSupport
internal import Dispatch
internal import Foundation
internal import LabNetwork

@main
enum TernLab {
    static func main() {
        let arguments = Array(CommandLine.arguments.dropFirst())
        if arguments.first == ChildProcess.roleCommand, arguments.count == 2 { return Self.play(arguments[1]) }
        do {
            // While there is one thread only, as the kernel wants it.
            try LabMachine.enterNamespaces()
        } catch {
            LabFiles.complain("\(error)")
        }
        LabCommand.main(arguments)
    }

    /// One end of a trial.
    private static func play(_ role: String) {
        Task {
            do {
                try await JSONDecoder().decode(EndRole.self, from: Data(role.utf8)).play()
                exit(0)
            } catch {
                LabFiles.complain("\(error)")
                exit(1)
            }
        }
        dispatchMain()
    }
}

struct LabCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tern-lab",
        abstract: "QUIC and TCP compared on the same work, under conditions of your choice.",
        subcommands: [
            RunCommand.self, RepeatCommand.self, ReportCommand.self, CompareCommand.self, ListCommand.self,
            CheckCommand.self, LinkCommand.self,
        ],
        defaultSubcommand: RunCommand.self)
}
