// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser
internal import BenchSupport
internal import Foundation

@main
enum TernBench {
    static func main() async {
        let arguments = Array(CommandLine.arguments.dropFirst())
        if arguments.first == RoleCommand.configuration.commandName {
            await RoleCommand.main(Array(arguments.dropFirst()))
        } else if arguments.first == LoadCommand.configuration.commandName {
            LoadCommand.main(Array(arguments.dropFirst()))
        } else {
            RunCommand.main(arguments)
        }
    }
}

/// Runs workloads and prints what came out.
struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tern-bench",
        abstract: "Measure Tern, side by side with others on the same machine.",
        discussion: """
            Workloads: bulk (a file over one stream, against gtlsserver and gtlsclient, nginx and curl, and bare GnuTLS), \
            echo (64 bytes there and back, on both surfaces, against bare UDP), handshakes, memory (of idle connections), \
            loops (one event loop or two), datagrams, allocations, durable (50 clients that each wait until their message is \
            stored), bulk-sizes (bulk with other windows and watermarks). Docs/BENCHMARKS.md says what the figures mean.
            """)

    @Argument(
        help: ArgumentHelp(
            "What to run. (default: everything but bulk-sizes)", valueName: "workload"))
    var workloads: [String] = []

    @Flag(help: "Less of everything, in about a minute; for a look, not for figures.")
    var quick = false

    @Option(help: "How often each contender has its turn. (default: 5, with --quick 2)")
    var rounds: Int?

    @Option(
        help: ArgumentHelp(
            "Where the samples are written, as JSON lines; the message store of a run is beside them until its end.",
            valueName: "directory"))
    var output: String = Self.defaultOutput

    func validate() throws {
        for name in self.workloads where !Workload.all.contains(where: { $0.name == name }) {
            throw ValidationError("no workload is called \(name): \(Workload.all.map(\.name).joined(separator: ", "))")
        }
        if let rounds, !(1...1_000).contains(rounds) { throw ValidationError("--rounds takes 1 to 1000") }
    }

    func run() throws {
        ChildProcess.heedInterruptions()
        var profile = self.quick ? Profile.quick : Profile.full
        if let rounds { profile.rounds = rounds }
        let chosen = Workload.all.filter {
            self.workloads.isEmpty ? !$0.isOnRequest : self.workloads.contains($0.name)
        }
        try Session(
            workloads: chosen, profile: profile, profileName: self.quick ? "quick" : "full", output: self.output
        ).run()
    }

    private static var defaultOutput: String {
        let package = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        return package.appending(path: "results").path
    }
}

/// One side of a workload, started by ``RunCommand``.
struct RoleCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: ChildProcess.roleCommand, shouldDisplay: false)

    @Argument var role: String

    func run() async throws {
        try await JSONDecoder().decode(Role.self, from: Data(self.role.utf8)).play()
    }
}
