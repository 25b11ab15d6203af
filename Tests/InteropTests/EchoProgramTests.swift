// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ChildProcesses
import Foundation
import NIOCore
import NIOPosix
import Tern
import Testing

/// The echo programs as processes: what Examples/Echo/README.md promises.
@Suite("The echo programs", .timeLimit(.minutes(10)))
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

    #if os(Linux)
    /// 60 connections and 40 descriptors: caps that follow the limit keep some free, for the clients over UDP and of other hosts.
    @Test("Idle clients over TCP beyond what the process may open cost nothing, and are said once")
    func fewDescriptors() async throws {
        let server = try await EchoProgram(descriptors: 40)
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        var idle: [any Channel] = []
        for _ in 0..<60 {
            idle.append(try await ClientBootstrap(group: loop).connect(host: "127.0.0.1", port: server.port).get())
        }
        let before = try server.processorTime()
        try await Task.sleep(for: .seconds(2))
        // Ten thousand failing accepts a second burnt a core.
        #expect(try server.processorTime() - before < 0.5)
        let connection = try await server.connect("quic")
        await connection.close()
        // The warning names the limit, once.
        let warnings = server.files.logged.split(separator: "\n").filter {
            $0.contains("warning") && $0.contains("TCP")
        }
        #expect((1...2).contains(warnings.count), "\(warnings)")
        for channel in idle { try? await channel.close().get() }
        // With room again, newcomers are served.
        var answer: String?
        for _ in 0..<100 where answer == nil {
            answer = try? await server.connect("tls").applicationProtocol
            if answer == nil { try await Task.sleep(for: .milliseconds(50)) }
        }
        #expect(answer == "echo-qx02")
        await server.stop()
    }
    #endif

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

    /// - Parameter descriptors: how many the process may open; `nil` leaves the limit of this one.
    init(descriptors: Int? = nil) async throws {
        self.files = try ServerFiles()
        let program = try Programs.named("echo-server")
        let options = [
            "--listen", "127.0.0.1:0", "--certificate", self.files.certificate.path, "--key", self.files.key.path,
        ]
        let limited = descriptors.map { ["-c", "ulimit -n \($0); exec \"$0\" \"$@\"", program.path] + options }
        self.process = try ChildProcess(
            name: "echo-server", executable: limited == nil ? program : URL(filePath: "/bin/sh"),
            arguments: limited ?? options, environment: [:], input: nil, log: self.files.log)
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

    /// Seconds of the processor that the server has used.
    func processorTime() throws -> Double {
        let text = try String(contentsOfFile: "/proc/\(self.identifier)/stat", encoding: .utf8)
        // After the name, which may hold anything in parentheses: utime and stime are the 12th and 13th, in hundredths.
        let fields = text[(text.lastIndex(of: ")") ?? text.startIndex)...].split(separator: " ")
        let ticks = try fields[12...13].map { try #require(Double($0)) }
        return (ticks[0] + ticks[1]) / 100
    }

    func exitCode() async -> Int32 { await self.process.exitCode() }

    func stop() async {
        self.process.send(signal: SIGTERM)
        #expect(await self.process.exitCode() == 0, "\(self.files.logged)")
    }
}
