// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ChildProcesses
import Foundation
import Testing

/// How a server lets users in.
enum Admission: String, Sendable, CaseIterable {
    case token, development
}

/// `tern serve` as a process on a port that the kernel chose, with a directory that goes away with it.
final class ServedTern: Sendable {
    let directory: URL
    private let process: ChildProcess
    private let arguments: [String]

    init(_ admission: Admission) async throws {
        let executable = try Programs.named("tern")
        self.directory = FileManager.default.temporaryDirectory.appending(path: "tern-interop-\(UUID())")
        try FileManager.default.createDirectory(at: self.directory, withIntermediateDirectories: true)
        let secret = self.directory.appending(path: "secret")
        try Data("a secret that is longer than thirty-two bytes".utf8).write(to: secret)
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: secret.path)
        let access = admission == .token ? ["--auth-secret", secret.path] : ["--development"]
        self.process = try ChildProcess(
            name: "serve", executable: executable,
            arguments: [
                "serve", "--json", "--listen", "127.0.0.1:0", "--data", self.directory.appending(path: "data").path,
                "--self-signed",
            ] + access, environment: [:], input: nil, log: self.directory.appending(path: "log"))
        var lines = self.process.lines.makeAsyncIterator()
        let line = await lines.next()?.text ?? ""
        let ready = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
        let address = try #require(ready?["quic"] as? String, "\(line)")
        let authority = try #require(ready?["caFile"] as? String)
        let identifier = try #require(ready?["processID"] as? Int)
        self.arguments =
            ["--address", address, "--ca", authority, "--process", "\(identifier)"]
            + (admission == .token ? ["--secret", secret.path] : [])
    }

    deinit {
        self.process.send(signal: SIGKILL)
        try? FileManager.default.removeItem(at: self.directory)
    }

    /// What the server logged.
    var log: String {
        (try? String(contentsOf: self.directory.appending(path: "log"), encoding: .utf8)) ?? ""
    }

    /// Runs a script against this server; every line that begins with FAILED, and what follows it, is an issue.
    func run(_ script: String, carrier: String, _ names: [String] = []) async throws {
        let log = self.directory.appending(path: "peer-log")
        let (lines, exitCode) = try await PythonPeer.run(
            script, self.arguments + ["--carrier", carrier] + names, log: log)
        let said = (try? String(contentsOf: log, encoding: .utf8)) ?? ""
        #expect(
            exitCode == 0, "\(lines.joined(separator: "\n"))\n\(said)\nThe server logged:\n\(self.log)")
        #expect(lines.contains { $0.hasPrefix("ok ") }, "the script ran something")
    }

    /// Ends it as an operator does: nothing that happened may keep it from draining.
    func stop() async {
        self.process.send(signal: SIGTERM)
        #expect(await self.process.exitCode() == 0, "\(self.log)")
    }
}
