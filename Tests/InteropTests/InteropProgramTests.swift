// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ChildProcesses
import Foundation
import NIOCore
import Tern
import Testing

/// interop-server and interop-client as processes: their contract, and requests that no client should send.
@Suite("The interop programs", .timeLimit(.minutes(10)))
struct InteropProgramTests {
    @Test("Files come whole, links inside the root too, and nothing else comes", arguments: [[], ["--http3"]])
    func files(options: [String]) async throws {
        let server = try await InteropProgram(options)
        let failures = ["nothing", "folder", "out", "folder/../../secret", "%2e%2e/secret", "..%2fsecret"]
        for name in failures {
            #expect(try await server.get([name], options) == 1, "\(name)")
        }
        #expect(try server.downloads() == [])
        // A failure keeps no other file from coming.
        #expect(try await server.get(["file", "nothing", "inside", "folder/below"], options) == 1)
        #expect(try server.downloads() == ["file", "folder", "inside"])
        #expect(try server.isEqual("file", to: "file") && server.isEqual("inside", to: "file"))
        #expect(try server.isEqual("folder/below", to: "folder/below"))
        #expect(try await server.get(["file?query"], options + ["--downloads", "-"]) == 0)
        await server.stop()
    }

    @Test("A request is a line, and what is none is reset")
    func requests() async throws {
        let server = try await InteropProgram()
        let connection = try await server.connect()
        for request in ["GET /file\r\n", "GET /file\n", "GET /file", "GET /%66ile\r\n", "GET /file\r\nmore"] {
            let stream = try await connection.openStream()
            try await stream.finish(ByteBuffer(string: request))
            #expect(try await readAll(stream) == server.content, "\(request)")
        }
        let nonsense = [
            "", "GET", "GET ", "GET file\r\n", "POST /file\r\n", "GET /../secret\r\n", "GET //etc/passwd\r\n",
            "GET /\r\n",
            "GET /out\r\n", "GET /%zz\r\n", "GET /file\u{0}\r\n", "get /file\r\n",
            "GET /" + String(repeating: "x", count: 10_000),
        ]
        for request in nonsense {
            let stream = try await connection.openStream()
            try await stream.finish(ByteBuffer(string: request))
            await #expect(
                throws: TransportError(.streamReset, message: "", wireCode: 1, initiator: .peer), "\(request)"
            ) {
                try await readAll(stream)
            }
        }
        await connection.close()
        await server.stop()
    }

    @Test("What is not supported is 127, what is wrong is 64")
    func exitCodes() async throws {
        let server = try await InteropProgram()
        #expect(try await server.get(["file"], environment: ["TESTCASE": "v2"]) == 127)
        #expect(try await server.get(["file"], environment: ["TESTCASE": "nonsense"]) == 127)
        #expect(try await server.get([], environment: ["REQUESTS": server.url("file")]) == 0)
        #expect(try await server.get([], environment: [:]) == 64)
        #expect(try await server.get(["file"], ["--ca", "/nowhere"]) == 1)
        #expect(try await server.run("interop-client", ["http://localhost/x"]) == 64)
        #expect(try await server.run("interop-server", ["--listen", "nowhere"]) == 64)
        #expect(try await server.run("interop-server", ["--root", "/nowhere"]) == 1)
        #expect(try await server.run("interop-server", [], environment: ["TESTCASE": "v2"]) == 127)
        await server.stop()
    }
}

/// `interop-server` on a port that the kernel chose, with a root of a few files.
private final class InteropProgram: Sendable {
    let content = randomBytes(300_000, seed: 3)
    private let files: ServerFiles
    private let port: Int
    private let process: ChildProcess

    init(_ options: [String] = []) async throws {
        self.files = try ServerFiles()
        let directory = self.files.directory
        let root = directory.appending(path: "root")
        try FileManager.default.createDirectory(at: root.appending(path: "folder"), withIntermediateDirectories: true)
        try FileManager.default.createDirectory(
            at: directory.appending(path: "downloads"), withIntermediateDirectories: true)
        try Data(self.content.readableBytesView).write(to: root.appending(path: "file"))
        try Data("below".utf8).write(to: root.appending(path: "folder/below"))
        try Data("secret".utf8).write(to: directory.appending(path: "secret"))
        try FileManager.default.createSymbolicLink(
            atPath: root.appending(path: "inside").path, withDestinationPath: "folder/../file")
        try FileManager.default.createSymbolicLink(
            atPath: root.appending(path: "out").path, withDestinationPath: "../secret")
        self.process = try ChildProcess(
            name: "interop-server", executable: try Programs.named("interop-server"),
            arguments: [
                "--listen", "127.0.0.1:0", "--root", root.path, "--certificate", self.files.certificate.path, "--key",
                self.files.key.path,
            ] + options, environment: ["TESTCASE": ""], input: nil, log: self.files.log)
        var lines = self.process.lines.makeAsyncIterator()
        let line = await lines.next()?.text ?? ""
        self.port = try #require(line.split(separator: " ").last.flatMap { Int($0) }, "\(line) \(self.files.logged)")
    }

    deinit { self.process.send(signal: SIGKILL) }

    func url(_ name: String) -> String { "https://127.0.0.1:\(self.port)/\(name)" }

    /// The client's exit code.
    func get(_ names: [String], _ options: [String] = [], environment: [String: String] = [:]) async throws -> Int32 {
        let folder = self.files.directory.appending(path: "downloads").path
        let standard = ["--ca", self.files.authority.path, "--downloads", folder]
        // The last one counts.
        return try await self.run("interop-client", standard + options + names.map(self.url), environment: environment)
    }

    func run(_ name: String, _ arguments: [String], environment: [String: String] = [:]) async throws -> Int32 {
        let program = try ChildProcess(
            name: name, executable: try Programs.named(name), arguments: arguments,
            environment: ["TESTCASE": "", "REQUESTS": ""].merging(environment) { _, new in new }, input: nil,
            log: self.files.log)
        return await withTaskCancellationHandler {
            await program.exitCode()
        } onCancel: {
            program.send(signal: SIGKILL)
        }
    }

    func connect() async throws -> Connection {
        try await self.files.connector(alpn: "hq-interop").connect(to: Endpoint(host: "127.0.0.1", port: self.port))
    }

    func downloads() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: self.files.directory.appending(path: "downloads").path)
            .sorted()
    }

    func isEqual(_ download: String, to name: String) throws -> Bool {
        let directory = self.files.directory
        return try Data(contentsOf: directory.appending(path: "downloads/\(download)"))
            == Data(contentsOf: directory.appending(path: "root/\(name)"))
    }

    func stop() async {
        self.process.send(signal: SIGTERM)
        #expect(await self.process.exitCode() == 0, "\(self.files.logged)")
    }
}
