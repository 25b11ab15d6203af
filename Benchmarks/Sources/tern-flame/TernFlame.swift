// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser
internal import BenchSupport
internal import Foundation
internal import LabReport

/// Draws a profile.
@main
struct TernFlame: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tern-flame", abstract: "Draw stacks that a profiler sampled as a flame graph.",
        discussion: """
            Takes folded stacks ("outer;inner 12", a line for each), or what "perf script -F comm,ip,sym,dso" prints. \
            Scripts/profile does the whole of it.
            """)

    @Argument(help: "The samples.")
    var file: String

    @Option(help: "Where the picture goes.")
    var out: String

    @Option(help: ArgumentHelp("Also write the folded stacks there.", valueName: "file"))
    var folded: String?

    @Flag(help: "The samples are those of \"perf script\".")
    var perf = false

    @Option(help: "What was sampled.")
    var title = "Where the time goes"

    @Option(help: "The circumstances.")
    var subtitle = ""

    func run() throws {
        guard let data = FileManager.default.contents(atPath: self.file) else {
            throw BenchmarkError("cannot read \(self.file)")
        }
        let text = String(decoding: data, as: UTF8.self)
        let profile = self.perf ? StackProfile(perfScript: text) : try StackProfile(folded: text)
        guard profile.sampleCount > 0 else { throw BenchmarkError("\(self.file) has no samples") }
        if let folded { try BenchSupport.write(profile.folded, to: folded) }
        try BenchSupport.write(FlameGraph(profile, title: self.title, subtitle: self.subtitle).svg, to: self.out)
        print("\(profile.sampleCount) samples: \(self.out)")
    }
}
