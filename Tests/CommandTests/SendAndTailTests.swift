// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ChildProcesses
import Foundation
import Testing

/// `tern send` and `tern tail` against a server, as processes.
@Suite(.timeLimit(.minutes(10)))
struct SendAndTailTests {
    private let tern: TernProgram

    init() throws {
        self.tern = try TernProgram()
    }

    @Test("Lines arrive byte for byte, acknowledged in order", arguments: ["quic", "tls"])
    func linesArrive(carrier: String) async throws {
        let server = try await self.tern.serve()
        let lines = (0..<500).map { $0 % 7 == 0 ? "" : "line \($0) \u{1F426} \t" } + ["the last without an end"]
        let sent = try await self.tern.run(
            ["send", "--json", "--carrier", carrier, "--to", "bob"] + self.client(server, token: "dev:ann"),
            input: lines.joined(separator: "\n"))
        #expect(sent.exitCode == 0, "\(sent.errors)")
        let acks = try sent.output.map { try JSON($0) }.filter { $0.event == "ack" }
        #expect(acks.map { $0.number("line") } == (1...lines.count).map(Double.init))
        #expect(acks.map { $0.number("sequence") } == (1...lines.count).map(Double.init))
        #expect(acks.allSatisfy { $0.string("carrier") == carrier && $0.string("messageID")?.count == 32 })

        let plain = try await self.tern.run(
            ["tail", "--with", "ann", "--from", "1", "--count", "\(lines.count)"]
                + self.client(server, token: "dev:bob"))
        #expect(plain.exitCode == 0, "\(plain.errors)")
        #expect(plain.output == lines)
        let json = try await self.tern.run(
            ["tail", "--json", "--from", "500", "--count", "2"] + self.client(server, token: "dev:bob"))
        let messages = try json.output.map { try JSON($0) }.filter { $0.event == "message" }
        #expect(messages.map { $0.number("sequence") } == [500, 501])
        #expect(messages.map { $0.string("text") } == Array(lines.suffix(2)))
        #expect(
            messages.allSatisfy { $0.string("sender") == "ann" && $0.string("channel") == acks[0].string("channel") })
        #expect(await server.stop().exitCode == 0)
    }

    @Test("A token of the right secret lets in; another secret's, another server's, none and nonsense do not")
    func tokens() async throws {
        for name in ["secret", "other"] {
            try self.tern.writeSecret("\(name) \(UUID())\(UUID())", to: name)
        }
        let server = try await self.tern.serve(["--self-signed", "--auth-secret", self.tern.path("secret")])
        #expect(server.ready.string("authentication") == "token")
        let right = try await self.token("--auth-secret", self.tern.path("secret"))
        let wrong = [
            try await self.token("--auth-secret", self.tern.path("other")),
            try await self.token("--auth-secret", self.tern.path("secret"), "--server-name", "elsewhere"),
            "nonsense", "dev:ann",
        ]
        for token in wrong {
            let run = try await self.tern.run(
                ["send", "--to", "bob"] + self.client(server, token: token), input: "lost\n")
            #expect(run.exitCode == 77, "\(run.errors)")
            #expect(run.output.isEmpty && run.errors.contains("the server refused"), "\(run.errors)")
        }
        let none = try await self.tern.run(
            ["send", "--to", "bob", "--server", server.address, "--ca", server.caFile], environment: ["TERN_TOKEN": ""])
        #expect(none.exitCode == 64, "\(none.errors)")
        let sent = try await self.tern.run(
            ["send", "--json", "--to", "bob", "--server", server.address, "--ca", server.caFile], input: "kept\n",
            environment: ["TERN_TOKEN": right])
        #expect(sent.exitCode == 0, "\(sent.errors)")
        // Nothing of the refused ones was stored.
        #expect(try sent.output.last.map { try JSON($0).number("sequence") } == 1)
        _ = await server.stop()
    }

    @Test("A line over the limit is refused by its number, after the lines before it were acknowledged")
    func longLine() async throws {
        let server = try await self.tern.serve()
        let run = try await self.tern.run(
            ["send", "--to", "bob"] + self.client(server, token: "dev:ann"),
            input: "one\ntwo\n" + String(repeating: "x", count: 70_000) + "\nfour\n")
        #expect(run.exitCode == 65)
        #expect(run.output.count == 2)
        #expect(run.errors.contains("line 3 "), "\(run.errors)")
        _ = await server.stop()
    }

    @Test("A message that waits for its acknowledgement survives the death of the server")
    func serverIsKilled() async throws {
        let server = try await self.tern.serve()
        let pipe = Pipe()
        let sending = try self.tern.start(
            ["send", "--json", "--to", "bob"] + self.client(server, token: "dev:ann"), input: pipe.fileHandleForReading)
        var lines = sending.process.lines.makeAsyncIterator()
        try pipe.fileHandleForWriting.write(contentsOf: Data("before\n".utf8))
        while let line = await lines.next(), try JSON(line.text).event != "ack" {}
        server.running.process.send(signal: SIGKILL)
        #expect(await server.running.end().exitCode == 128 + SIGKILL)
        try pipe.fileHandleForWriting.write(contentsOf: Data("after\n".utf8))
        try pipe.fileHandleForWriting.close()

        let again = try self.tern.start([
            "serve", "--json", "--listen", server.address, "--data", self.tern.path("data"), "--self-signed",
            "--development",
        ])
        let run = await sending.end()
        #expect(run.exitCode == 0, "\(run.errors)")
        #expect(try run.output.last.map { try JSON($0).number("sequence") } == 2)
        again.process.send(signal: SIGTERM)
        #expect(await again.end().exitCode == 0)
    }

    private func client(_ server: RunningServer, token: String) -> [String] {
        ["--server", server.address, "--ca", server.caFile, "--token", token]
    }

    private func token(_ options: String...) async throws -> String {
        try #require(try await self.tern.run(["token", "--user", "ann"] + options).output.first)
    }

    /// What is typed and not stored is said, and gives the code.
    @Test("A line of a chat that the server does not take is told")
    func chatTellsRefusals() async throws {
        let server = try await self.tern.serve(
            ["--self-signed", "--development", "--max-conversations-begun", "1"])
        let first = try await self.tern.run(
            ["chat", "--with", "bob"] + self.client(server, token: "dev:ann"), input: "one\ntwo\n")
        #expect(first.exitCode == 0, "\(first.errors)")
        let second = try await self.tern.run(
            ["chat", "--json", "--with", "carol"] + self.client(server, token: "dev:ann"), input: "three\n")
        #expect(second.exitCode == 65, "\(second.errors)")
        #expect(second.errors.contains("line 1 was refused"), "\(second.errors)")
        #expect(await server.stop().exitCode == 0)
    }

    /// Two terminals of one user, with the same token: each shows what the other one sent, and not what was typed into it.
    @Test("A chat shows what its user typed elsewhere")
    func chatShowsOtherDevices() async throws {
        let server = try await self.tern.serve()
        let sent = try await self.tern.run(
            ["send", "--to", "bob"] + self.client(server, token: "dev:ann"), input: "elsewhere\n")
        #expect(sent.exitCode == 0, "\(sent.errors)")
        let typing = Pipe()
        let watching = try self.tern.start(
            ["chat", "--with", "bob"] + self.client(server, token: "dev:ann"), input: typing.fileHandleForReading)
        await self.find("ann: elsewhere", in: watching)
        try typing.fileHandleForWriting.write(contentsOf: Data("typed here\n".utf8))
        let again = try await self.tern.run(
            ["send", "--to", "bob"] + self.client(server, token: "dev:ann"), input: "and again\n")
        #expect(again.exitCode == 0, "\(again.errors)")
        let seen = await self.find("ann: and again", in: watching)
        #expect(!seen.contains { $0.contains("typed here") })
        try typing.fileHandleForWriting.close()
        #expect(await watching.end().exitCode == 0)
        #expect(await server.stop().exitCode == 0)
    }

    /// Reads until a line has `text`.
    ///
    /// - Returns: the lines.
    @discardableResult
    private func find(_ text: String, in running: RunningTern) async -> [String] {
        var seen: [String] = []
        for await line in running.process.lines {
            seen.append(line.text)
            if line.text.contains(text) { return seen }
        }
        Issue.record("\(text) did not come: \(seen), \(running.readErrors())")
        return seen
    }
}
