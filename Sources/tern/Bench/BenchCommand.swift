// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser
internal import Foundation

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// `tern bench`: hands over to the lab, which is a program of its own so that nobody else builds it.
struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Compare QUIC and TCP on this machine and write a report.",
        discussion: """
            Runs the lab, tern-lab, with all arguments that follow; without any it runs the standard comparison, about ten \
            minutes. "tern bench run --profile quick" takes three, "tern bench help" says what else there is.

            The lab is looked for in $TERN_LAB, beside this program, in the PATH and in the checkout that this program was built \
            in. There this builds it:

              swift build -c release --package-path Benchmarks --product tern-lab
            """)

    @Argument(
        parsing: .captureForPassthrough, help: ArgumentHelp("What tern-lab takes.", valueName: "argument"))
    var arguments: [String] = []

    func run() async throws {
        if ["-h", "--help"].contains(self.arguments.first) { throw CleanExit.helpRequest(Self.self) }
        try await Output(json: false).run {
            guard let program = LabProgram.find() else {
                throw CommandError(
                    .unavailable,
                    """
                    tern-lab is not here. In a checkout of Tern "swift build -c release --package-path Benchmarks --product \
                    tern-lab" builds it; TERN_LAB may name it.
                    """)
            }
            // In the place of this process, so that signals and the exit code are the lab's.
            var argv = ([program] + self.arguments).map { (text: String) in strdup(text) }
            argv.append(nil)
            execv(program, argv)
            throw CommandError(.unavailable, "cannot start \(program): \(String(cString: strerror(errno)))")
        }
    }
}

/// Where the lab's program is.
enum LabProgram {
    static let name = "tern-lab"

    static func find(
        environment: [String: String] = ProcessInfo.processInfo.environment,
        ownPath: String? = LabProgram.ownPath,
        isExecutable: (String) -> Bool = { FileManager.default.isExecutableFile(atPath: $0) }
    ) -> String? {
        self.candidates(environment: environment, ownPath: ownPath).first(where: isExecutable)
    }

    /// In the order in which they are looked at.
    static func candidates(environment: [String: String], ownPath: String?) -> [String] {
        // What was named is taken or nothing is: another program in its place would be a surprise.
        if let named = environment["TERN_LAB"], !named.isEmpty { return [named] }
        var candidates: [String] = []
        let own = ownPath.map { URL(filePath: $0).deletingLastPathComponent() }
        if let own { candidates.append(own.appending(path: self.name).path) }
        let path = environment["PATH"] ?? ""
        candidates += path.split(separator: ":").map { "\($0)/\(self.name)" }
        var directory = own
        while let current = directory, current.pathComponents.count > 1 {
            candidates.append(current.appending(path: "Benchmarks/.build/release/\(self.name)").path)
            directory = current.deletingLastPathComponent()
        }
        return candidates
    }

    static var ownPath: String? {
        #if os(Linux)
        try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        #else
        Bundle.main.executablePath
        #endif
    }
}
