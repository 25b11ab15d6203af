// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ChildProcesses
import Foundation
import Tern
import TestTimeLimits
import Testing

/// What an operator does to a server, and sees of it.
@Suite(.untilItHangs)
struct OperatingTests {
    private let tern: TernProgram

    init() throws {
        self.tern = try TernProgram()
    }

    private func send(_ server: RunningServer, token: String, _ options: [String] = []) async throws -> TernProgram.Run
    {
        try await self.tern.run(
            ["send", "--server", server.address, "--ca", server.caFile, "--token", token, "--to", "bob"] + options,
            input: "hello\n")
    }

    @Test("SIGHUP ends no server, and says that it does nothing")
    func hangUp() async throws {
        let server = try await self.tern.serve()
        for _ in 0..<3 { server.running.process.send(signal: SIGHUP) }
        while !server.running.readErrors().contains("SIGHUP") { try await Task.sleep(for: .milliseconds(5)) }
        let run = try await self.send(server, token: "dev:ann")
        #expect(run.exitCode == 0, "\(run.errors)")
        #expect(await server.stop().exitCode == 0)
    }

    @Test("A refused login is a warning with address and reason, whatever the level of the log")
    func refusedLogin() async throws {
        let server = try await self.tern.serve()
        #expect(try await self.send(server, token: "nonsense").exitCode == 77)
        let errors = await server.stop().errors
        let line = try #require(errors.split(separator: "\n").first { $0.contains("refused") }, "\(errors)")
        for part in ["warning", "address=127.0.0.1:", "reason=this server takes development tokens only", "quic"] {
            #expect(line.contains(part), "\(line)")
        }
    }

    // MARK: The names of a server

    private func names() throws -> [TLSCertificate.Name] {
        let text = try String(contentsOf: URL(filePath: self.tern.path("data/certificate.pem")), encoding: .utf8)
        let lines = text.split(separator: "\n").drop { !$0.contains("BEGIN") }.dropFirst().prefix {
            !$0.contains("END")
        }
        return try TLSCertificate(der: Array(try #require(Data(base64Encoded: lines.joined())))).alternativeNames
    }

    @Test("A certificate of its own has the machine's names, and those that are asked for")
    func certifiedNames() async throws {
        let hosts = [
            "--host", "Chat.example", "--host", "192.0.2.7", "--host", "2001:db8::7", "--host", "bücher.example",
        ]
        let server = try await self.tern.serve(["--self-signed", "--development"] + hosts)
        let names = try self.names()
        for name in ["localhost", "chat.example", "xn--bcher-kva.example"] {
            #expect(names.contains(.dns(name)), "\(name)")
        }
        #expect(names.contains(.address([127, 0, 0, 1])) && names.contains(.address([192, 0, 2, 7])))
        #expect(names.contains(.address([0x20, 1, 0x0d, 0xb8] + [UInt8](repeating: 0, count: 11) + [7])))
        let machine = ProcessInfo.processInfo.hostName.lowercased()
        #expect(names.contains(.dns(machine)) || !machine.utf8.allSatisfy { $0 == 0x2d || $0 == 0x2e || $0 > 0x2f })
        #expect(Set(names).count == names.count)
        for (name, code) in [("chat.example", 0), ("localhost", 0), ("other.example", 69)] as [(String, Int32)] {
            let run = try await self.send(server, token: "dev:ann", ["--server-name", name, "--timeout", "5"])
            #expect(run.exitCode == code, "\(name): \(run.errors)")
        }
        _ = await server.stop()
        // It is kept, and what it lacks is said.
        let same = await (try await self.tern.serve(["--self-signed", "--development"] + hosts)).stop()
        #expect(!same.errors.contains("WARNING"), "\(same.errors)")
        let more = await (try await self.tern.serve(["--self-signed", "--development", "--host", "new.example"])).stop()
        #expect(more.errors.contains("does not have new.example"), "\(more.errors)")
        #expect(try self.names() == names)
    }

    @Test(
        "Hosts that are none, or go with nothing",
        arguments: [["--self-signed", "--host", "a b"], ["--self-signed", "--host", ""], ["--host", "a.example"]])
    func wrongHosts(arguments: [String]) async throws {
        let files = arguments.contains("--self-signed") ? [] : ["--tls-certificate", "c.pem", "--tls-key", "k.pem"]
        let run = try await self.tern.run(
            ["serve", "--development", "--listen", "127.0.0.1:0", "--data", self.tern.path("data")] + arguments + files)
        #expect(run.exitCode == 64 && run.errors.contains("--host"), "\(run.errors)")
    }

    // MARK: Restarts

    /// The server died without a word; the new one answers the first packet of a connection that it does not know.
    @Test("An idle client learns with its next packet that the server is another one")
    func statelessReset() async throws {
        let server = try await self.tern.serve()
        let authority = try Data(contentsOf: URL(filePath: server.caFile))
        let connector = try Connector(
            applicationProtocol: .messages,
            tls: TLSClientConfiguration(trust: .certificateAuthorities(pem: Array(authority))),
            policy: ConnectionPolicy(.quicOnly))
        let connection = try await connector.connect(to: try #require(Endpoint(server.address)))
        // The server holds more than a handshake: it waits for a stream.
        let stream = try await connection.openStream()
        try await stream.write(ByteBuffer(bytes: [0]))
        try await stream.delivered()
        server.running.process.send(signal: SIGKILL)
        _ = await server.running.end()
        let restarted = try self.tern.start([
            "serve", "--json", "--listen", server.address, "--data", self.tern.path("data"), "--self-signed",
            "--development",
        ])
        var lines = restarted.process.lines.makeAsyncIterator()
        _ = try #require(await lines.next(), "\(restarted.readErrors())")
        try? await stream.write(ByteBuffer(bytes: [0]))
        let end = await connection.closed()
        #expect(end.code == .carrierLost, "\(end)")
        #expect(end.message.contains("does not know this connection"), "\(end)")
        restarted.process.send(signal: SIGTERM)
        _ = await restarted.end()
    }
}
