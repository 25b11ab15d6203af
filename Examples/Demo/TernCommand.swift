// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ChildProcesses
import Foundation

/// Starts the command `tern` and understands the JSON lines that it prints (Docs/COMMAND.md).
struct TernCommand: Sendable {
    let executable: URL
    /// Where the data, the texts and the logs lie.
    let directory: URL

    /// The fields that the demo looks at; each event has its own.
    struct Event: Decodable, Sendable {
        var event: String
        var quic: String?
        var tls: String?
        var caFile: String?
        var token: String?
        var carrier: String?
        var reason: String?
        var sequence: UInt64?
        var sender: String?
        var text: String?
        var base64: String?
        var message: String?
    }

    var data: URL { self.directory.appending(path: "data") }
    private var secret: URL { self.directory.appending(path: "auth-secret") }

    /// Starts a server and waits until it is ready.
    func serve(listen: String) async throws -> (process: ChildProcess, ready: Event) {
        let process = try self.start(
            "serve",
            arguments: [
                "--listen", listen, "--data", self.data.path, "--self-signed", "--auth-secret", self.secret.path,
            ])
        for await line in process.lines {
            let event = try self.event(of: line)
            guard event.event == "ready" else { continue }
            return (process, event)
        }
        throw DemoError(
            "the server ended with code \(await process.exitCode()) before it was ready; see \(self.log("serve").path)")
    }

    func makeSecret() throws {
        var generator = SystemRandomNumberGenerator()
        let bytes = Data((0..<32).map { _ in UInt8.random(in: .min ... .max, using: &generator) })
        let made = FileManager.default.createFile(
            atPath: self.secret.path, contents: Data(bytes.base64EncodedString().utf8),
            attributes: [.posixPermissions: 0o600])
        if !made { throw DemoError("cannot write \(self.secret.path)") }
    }

    func token(user: String) async throws -> String {
        let process = try self.start("token", arguments: ["--auth-secret", self.secret.path, "--user", user])
        var token: String?
        for await line in process.lines { token = try self.event(of: line).token ?? token }
        guard let token, await process.exitCode() == 0 else {
            throw DemoError("tern token made none; see \(self.log("token").path)")
        }
        return token
    }

    /// Starts a sender or a receiver at the relay.
    func client(
        _ verb: String, name: String, token: String, server: String, caFile: String, arguments: [String],
        input: FileHandle? = nil
    ) throws -> ChildProcess {
        try self.start(
            verb, name: name, arguments: ["--server", server, "--ca", caFile] + arguments,
            environment: ["TERN_TOKEN": token], input: input)
    }

    func event(of line: ChildProcess.Line) throws -> Event {
        do {
            return try JSONDecoder().decode(Event.self, from: Data(line.text.utf8))
        } catch {
            throw DemoError("tern printed a line that is no event: \(line.text)")
        }
    }

    func log(_ name: String) -> URL { self.directory.appending(path: "\(name).log") }

    private func start(
        _ verb: String, name: String? = nil, arguments: [String], environment: [String: String] = [:],
        input: FileHandle? = nil
    ) throws -> ChildProcess {
        try ChildProcess(
            name: name ?? verb, executable: self.executable, arguments: [verb, "--json"] + arguments,
            environment: environment, input: input, log: self.log(name ?? verb))
    }
}

/// Why the demo cannot go on.
struct DemoError: Error, CustomStringConvertible {
    let description: String
    /// 64 for a command line that means nothing, as in sysexits.h.
    let exitCode: Int32

    init(_ description: String, exitCode: Int32 = 1) {
        self.description = description
        self.exitCode = exitCode
    }
}
