// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import NIOCore
import Tern
import Testing

@testable import demo

/// The echo programs as processes: what Examples/Echo/README.md promises.
@Suite("The echo programs", .timeLimit(.minutes(2)))
struct EchoProgramTests {
    @Test("A foreign client finds what is promised", .needsPythonPeer, arguments: ["quic", "tls"])
    func promises(carrier: String) async throws {
        let server = try await EchoProgram()
        let log = server.files.directory.appending(path: "peer-log")
        let (lines, exitCode) = try await PythonPeer.run(
            "echo_contract.py",
            ["\(server.port)", server.files.authority.path, "\(server.identifier)", carrier], log: log)
        let logged = (try? String(contentsOf: log, encoding: .utf8)) ?? ""
        #expect(exitCode == 0, "\(lines.joined(separator: "\n"))\n\(logged)")
        #expect(lines.last == "ok close")
        #expect(await server.exitCode() == 0)
    }

    @Test("A client that does not read is not read, and may give up", arguments: ["quic", "tls"])
    func stalls(carrier: String) async throws {
        let server = try await EchoProgram()
        let connection = try await server.connect(carrier)
        let stream = try await connection.openStream()
        let writer = Task {
            while true { try await stream.write(ByteBuffer(repeating: 1, count: 64 << 10)) }
        }
        // The stalled stream takes no more than the windows; the others go on.
        for size in [1, 100_000, 1 << 20] {
            let other = try await connection.openStream()
            let sent = randomBytes(size, seed: size)
            async let answer = readAll(other)
            try await other.finish(sent)
            #expect(try await answer == sent)
        }
        writer.cancel()
        _ = await writer.result
        stream.reset(code: 4711)
        let error = await #expect(throws: TransportError.self) { while try await stream.read() != nil {} }
        #expect(error == TransportError(.streamReset, message: "", wireCode: 4711, initiator: .peer))
        await connection.close()
        await server.stop()
    }

    @Test(
        "The client prints what comes back",
        arguments: ["quic", "tls", "auto"], [[], ["--datagram"], ["--unidirectional"]])
    func client(carrier: String, options: [String]) async throws {
        let server = try await EchoProgram()
        let (output, exitCode) = try await server.run(
            "echo-client",
            ["127.0.0.1:\(server.port)", "--ca", server.files.authority.path, "--carrier", carrier] + options
                + ["Hello", "from over there! ü"])
        #expect(output == ["Hello", "from over there! ü"])
        #expect(exitCode == 0)
        await server.stop()
    }

    @Test("Bad options are answered by the usage, and failures by a sentence")
    func mistakes() async throws {
        let server = try await EchoProgram()
        for arguments in [["--listen", "nowhere"], ["--certificate", "x"], ["--port", "1"], ["4433"]] {
            #expect(try await server.run("echo-server", arguments).exitCode == 64, "\(arguments)")
        }
        for arguments in [
            [], ["127.0.0.1:1"], ["127.0.0.1", "x"], ["127.0.0.1:0", "x"], ["localhost:1", "x", "--carrier", "udp"],
        ] {
            #expect(try await server.run("echo-client", arguments).exitCode == 64, "\(arguments)")
        }
        #expect(
            try await server.run(
                "echo-server", ["--listen", "127.0.0.1:0", "--certificate", "/nowhere", "--key", "/nowhere"]
            )
            .exitCode == 1)
        #expect(try await server.run("echo-server", ["--listen", "127.0.0.1:\(server.port)"]).exitCode == 1)
        #expect(
            try await server.run("echo-client", ["127.0.0.1:\(server.port)", "x", "--ca", "/nowhere"]).exitCode == 1)
        #expect(try await server.run("echo-server", ["--help"]).exitCode == 0)
        await server.stop()
    }
}

/// `echo-server` on a port that the kernel chose.
private final class EchoProgram: Sendable {
    let files: ServerFiles
    let port: Int
    private let process: ChildProcess

    init() async throws {
        self.files = try ServerFiles()
        self.process = try ChildProcess(
            name: "echo-server", executable: try Programs.named("echo-server"),
            arguments: [
                "--listen", "127.0.0.1:0", "--certificate", self.files.certificate.path, "--key", self.files.key.path,
            ], environment: [:], input: nil, log: self.files.log)
        var lines = self.process.lines.makeAsyncIterator()
        let line = await lines.next()?.text ?? ""
        self.port = try #require(line.split(separator: " ").last.flatMap { Int($0) }, "\(line) \(self.files.logged)")
    }

    deinit { self.process.send(signal: SIGKILL) }

    var identifier: Int32 { self.process.processIdentifier }

    func connect(_ carrier: String) async throws -> Connection {
        let connector = try Connector(
            applicationProtocol: ApplicationProtocol("echo"),
            tls: TLSClientConfiguration(trust: .certificateAuthorities(file: self.files.authority.path)),
            policy: ConnectionPolicy(carrier == "tls" ? .tcpOnly : .quicOnly))
        return try await connector.connect(to: Endpoint(host: "127.0.0.1", port: self.port))
    }

    /// Runs another of the programs to its end.
    func run(_ name: String, _ arguments: [String]) async throws -> (output: [String], exitCode: Int32) {
        let program = try ChildProcess(
            name: name, executable: try Programs.named(name), arguments: arguments, environment: [:], input: nil,
            log: self.files.log)
        return await withTaskCancellationHandler {
            var output: [String] = []
            for await line in program.lines { output.append(line.text) }
            return (output, await program.exitCode())
        } onCancel: {
            program.send(signal: SIGKILL)
        }
    }

    func exitCode() async -> Int32 { await self.process.exitCode() }

    func stop() async {
        self.process.send(signal: SIGTERM)
        #expect(await self.process.exitCode() == 0, "\(self.files.logged)")
    }
}
