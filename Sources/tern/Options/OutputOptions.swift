// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser

/// How every verb speaks.
struct OutputOptions: ParsableArguments {
    @Flag(help: "Print JSON lines, for scripts. Docs/COMMAND.md lists every field.")
    var json = false

    /// Make it once for each run.
    func makeOutput() -> Output { Output(json: self.json) }
}
