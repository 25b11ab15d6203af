// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ChildProcesses
import Foundation
import Testing

/// A Python with aioquic: the foreign implementation that these tests talk to. `Scripts/test` installs it.
enum PythonPeer {
    /// The interpreter: what `TERN_AIOQUIC_PYTHON` names, or what `Scripts/test` installed.
    static let interpreter: URL? = {
        let named = ProcessInfo.processInfo.environment["TERN_AIOQUIC_PYTHON"].map { URL(filePath: $0) }
        let installed = Self.directory.deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: ".build/aioquic/bin/python")
        return [named, installed].compactMap { $0 }.first { FileManager.default.isExecutableFile(atPath: $0.path) }
    }()

    /// Where the scripts are.
    static let directory = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Peers")

    static let isRequired = ProcessInfo.processInfo.environment["CI"] == "true"

    static let reason: Comment = "there is no Python with aioquic: run Scripts/test, or set TERN_AIOQUIC_PYTHON"

    /// What a script printed and how it ended. A test that runs out of time ends the script.
    static func run(
        _ script: String, _ arguments: [String], log: URL
    ) async throws -> (lines: [String], exitCode: Int32) {
        let interpreter = try #require(Self.interpreter, Self.reason)
        let process = try ChildProcess(
            name: script, executable: interpreter,
            arguments: [Self.directory.appending(path: script).path] + arguments,
            environment: ["PYTHONDONTWRITEBYTECODE": "1"], input: nil, log: log)
        return await withTaskCancellationHandler {
            var lines: [String] = []
            for await line in process.lines { lines.append(line.text) }
            return (lines, await process.exitCode())
        } onCancel: {
            process.send(signal: SIGKILL)
        }
    }
}

extension Trait where Self == ConditionTrait {
    /// Skips a test that needs the foreign implementation where it is missing; with CI=true the test fails there.
    static var needsPythonPeer: Self {
        .enabled(if: PythonPeer.interpreter != nil || PythonPeer.isRequired, PythonPeer.reason)
    }
}
