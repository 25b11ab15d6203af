// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ChildProcesses
import Foundation
import Testing

/// `tern group`, and groups in `send` and `tail`, as processes.
@Suite(.timeLimit(.minutes(10)))
struct GroupTests {
    private let tern: TernProgram

    init() throws {
        self.tern = try TernProgram()
    }

    private func run(
        _ user: String, _ server: RunningServer, _ arguments: String..., input: String = ""
    ) async throws -> TernProgram.Run {
        let options = ["--server", server.address, "--ca", server.caFile, "--token", "dev:\(user)"]
        return try await self.tern.run(arguments + options, input: input)
    }

    @Test("A closed group is for those who were invited, and they read from then on")
    func closedGroup() async throws {
        let server = try await self.tern.serve()
        let made = try await self.run("ann", server, "group", "create", "--json", "team")
        #expect(made.exitCode == 0, "\(made.errors)")
        let group = try #require(try made.output.map { try JSON($0) }.first { $0.event == "group" })
        #expect(group.string("name") == "team" && group.number("members") == 1)
        #expect(try await self.run("ann", server, "send", "--group", "team", input: "before\n").exitCode == 0)

        // Bob is told that he is not invited, by whatever way he comes; and the group does not change by it.
        for arguments in [
            ["send", "--group", "team"], ["tail", "--group", "team", "--count", "1"], ["group", "join", "team"],
            ["group", "create", "team"], ["group", "invite", "team", "bob"], ["group", "leave", "team"],
        ] {
            let options = ["--server", server.address, "--ca", server.caFile, "--token", "dev:bob"]
            let refused = try await self.tern.run(arguments + options, input: "let me in\n")
            #expect(refused.exitCode == 65, "\(arguments): \(refused.errors)")
            #expect(refused.errors.contains("the server refused"), "\(arguments): \(refused.errors)")
        }
        let send = try await self.run("bob", server, "send", "--group", "team", input: "let me in\n")
        #expect(send.errors.contains("the group team is closed: a member has to invite you"), "\(send.errors)")

        let invited = try await self.run("ann", server, "group", "invite", "team", "bob", "carol")
        #expect(invited.output == ["bob may enter team", "carol may enter team"], "\(invited.errors)")
        let joined = try await self.run("bob", server, "group", "join", "team")
        #expect(joined.output == ["team: closed, 2 members"], "\(joined.errors)")
        #expect(try await self.run("carol", server, "send", "--group", "team", input: "hello\n").exitCode == 0)
        let read = try await self.run("bob", server, "tail", "--group", "team", "--from", "1", "--count", "1")
        #expect(read.output == ["hello"], "\(read.errors)")
        #expect(try await self.run("bob", server, "group", "list").output == ["team"])
        let left = try await self.run("bob", server, "group", "leave", "team")
        #expect(left.output == ["you are not in team"], "\(left.errors)")
        #expect(try await self.run("bob", server, "group", "list").output.isEmpty)
        #expect(try await self.run("bob", server, "group", "join", "team").exitCode == 65)
        _ = await server.stop()
    }

    @Test("Everybody enters an open group, and reads it from its start when it shares its history")
    func openGroup() async throws {
        let server = try await self.tern.serve()
        let made = try await self.run("ann", server, "group", "create", "--open", "--share-history", "square")
        #expect(made.output == ["square: open, 1 member"], "\(made.errors)")
        #expect(try await self.run("ann", server, "send", "--group", "square", input: "one\ntwo\n").exitCode == 0)
        let read = try await self.run("bob", server, "tail", "--group", "square", "--from", "1", "--count", "2")
        #expect(read.exitCode == 0, "\(read.errors)")
        #expect(read.output == ["one", "two"])
        _ = await server.stop()
    }

    /// 64 says that nothing was tried, so it must not come after something was done.
    @Test("What is no name is found before anything is tried")
    func namesAreChecked() async throws {
        let server = try await self.tern.serve()
        #expect(try await self.run("ann", server, "group", "create", "team").exitCode == 0)
        let tooLong = String(repeating: "x", count: 65)
        for arguments in [
            ["group", "invite", "team", "bob", tooLong], ["group", "create", tooLong], ["group", "join", ""],
            ["send", "--to", tooLong], ["tail", "--with", ""], ["chat", "--group", "a\u{7f}b"],
        ] {
            // Nothing is tried: nobody is at that address.
            let run = try await self.tern.run(
                arguments + ["--server", "127.0.0.1:1", "--ca", server.caFile, "--token", "dev:ann"])
            #expect(run.exitCode == 64, "\(arguments): \(run.errors)")
            #expect(run.errors.contains("is no name"), "\(arguments): \(run.errors)")
        }
        let run = try await self.run("ann", server, "group", "invite", "team", "bob", tooLong)
        #expect(run.exitCode == 64 && run.output.isEmpty, "\(run.errors)")
        #expect(try await self.run("bob", server, "group", "join", "team").exitCode == 65, "nobody was invited")
        _ = await server.stop()
    }
}
