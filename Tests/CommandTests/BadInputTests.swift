// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import Tern
import Testing

/// What cannot work is said in one line, with the documented exit code.
@Suite(.timeLimit(.minutes(10)))
struct BadInputTests {
    private let tern: TernProgram

    init() throws {
        self.tern = try TernProgram()
    }

    @Test("A port that is taken")
    func occupiedPort() async throws {
        let server = try await self.tern.serve()
        let run = try await self.tern.run(
            self.serve("other", listen: server.address) + ["--self-signed", "--development"])
        self.expect(run, code: 71, says: "cannot listen on \(server.address) over TCP: address already in use")
        _ = await server.stop()
    }

    @Test("A key that cannot be read")
    func unreadableKey() async throws {
        let made = try TLSIdentity.selfSigned()
        try Data(made.certificatePEM).write(to: URL(filePath: self.tern.path("certificate.pem")))
        let run = try await self.tern.run(
            self.serve("data") + [
                "--tls-certificate", self.tern.path("certificate.pem"), "--tls-key", self.tern.path("missing.pem"),
                "--development",
            ])
        self.expect(run, code: 66, says: "missing.pem")
        #expect(!FileManager.default.fileExists(atPath: self.tern.path("data")), "nothing is made before all is read")
    }

    @Test("A key of another certificate, and a file that is none")
    func keyThatDoesNotFit() async throws {
        let (one, other) = (try TLSIdentity.selfSigned(), try TLSIdentity.selfSigned())
        try Data(one.certificatePEM).write(to: URL(filePath: self.tern.path("certificate.pem")))
        try self.tern.writeSecret(String(decoding: other.keyPEM, as: UTF8.self), to: "other.pem")
        try self.tern.writeSecret("no key", to: "text.pem")
        for key in ["other.pem", "text.pem"] {
            let run = try await self.tern.run(
                self.serve("data") + [
                    "--tls-certificate", self.tern.path("certificate.pem"), "--tls-key", self.tern.path(key),
                    "--development",
                ])
            self.expect(run, code: 78, says: key)
        }
    }

    @Test("A data directory of another version, untouched")
    func otherVersion() async throws {
        _ = await (try await self.tern.serve()).stop()
        let database = URL(filePath: self.tern.path("data/messages.sqlite"))
        var bytes = try Data(contentsOf: database)
        // user_version in the header of a SQLite file: https://www.sqlite.org/fileformat.html, section 1.3.
        bytes.replaceSubrange(60..<64, with: [0, 0, 0x7f, 0xff])
        try bytes.write(to: database)
        let run = try await self.tern.run(self.serve("data") + ["--self-signed", "--development"])
        self.expect(run, code: 78, says: "messages.sqlite")
        #expect(try Data(contentsOf: database) == bytes)
    }

    @Test("A data directory that is not Tern's")
    func foreignDatabase() async throws {
        let data = URL(filePath: self.tern.path("data"))
        try FileManager.default.createDirectory(at: data, withIntermediateDirectories: true)
        try Data(repeating: 7, count: 4_096).write(to: data.appending(path: "messages.sqlite"))
        let run = try await self.tern.run(self.serve("data") + ["--self-signed", "--development"])
        self.expect(run, code: 78, says: "messages.sqlite")
    }

    @Test("A data directory that cannot be written", arguments: ["file/data", "closed"])
    func unwritableDirectory(name: String) async throws {
        try Data().write(to: URL(filePath: self.tern.path("file")))
        try FileManager.default.createDirectory(
            atPath: self.tern.path("closed"), withIntermediateDirectories: true, attributes: [.posixPermissions: 0o500])
        // Permissions do not hold root back.
        guard name != "closed" || geteuid() != 0 else { return }
        let run = try await self.tern.run(self.serve(name) + ["--self-signed", "--development"])
        self.expect(run, code: 73, says: self.tern.path(name.split(separator: "/").first.map(String.init) ?? ""))
    }

    @Test("A data directory that another server uses")
    func directoryInUse() async throws {
        let server = try await self.tern.serve()
        let run = try await self.tern.run(self.serve("data") + ["--self-signed", "--development"])
        self.expect(run, code: 73, says: "in use")
        _ = await server.stop()
    }

    @Test(
        "Command lines that mean nothing",
        arguments: [
            ["serve", "--self-signed"], ["serve", "--development"],
            ["serve", "--self-signed", "--development", "--auth-secret", "x"],
            ["serve", "--self-signed", "--development", "--tls-key", "x"],
            ["serve", "--self-signed", "--development", "--listen", "0.0.0.0:0"],
            ["serve", "--self-signed", "--development", "--listen", "nowhere"],
            ["ping"], ["ping", "--server", "localhost:1", "--carrier", "pigeon"], ["token"], ["fly"],
        ])
    func usage(arguments: [String]) async throws {
        let run = try await self.tern.run(arguments)
        #expect(run.exitCode == 64, "\(run.errors)")
        #expect(run.output.isEmpty)
        #expect(!run.errors.isEmpty)
    }

    @Test("A lab that is not where it should be")
    func labIsMissing() async throws {
        let missing = self.tern.path("tern-lab")
        let run = try await self.tern.run(["bench", "list"], environment: ["TERN_LAB": missing])
        self.expect(run, code: 69, says: "tern-lab is not here")
    }

    @Test("The lab gets all arguments and gives the exit code")
    func labTakesOver() async throws {
        let lab = self.tern.path("tern-lab")
        try Data("#!/bin/sh\necho \"$@\"\nexit 7\n".utf8).write(to: URL(filePath: lab))
        try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: lab)
        let run = try await self.tern.run(
            ["bench", "run", "--profile", "quick", "--help"], environment: ["TERN_LAB": lab])
        #expect(run.exitCode == 7)
        #expect(run.output == ["run --profile quick --help"])
    }

    @Test("A secret that is too short, and one that is not there")
    func badSecret() async throws {
        try self.tern.writeSecret("short\n")
        for (file, code) in [("secret", Int32(78)), ("missing", 66)] {
            let secret = self.tern.path(file)
            let token = try await self.tern.run(["token", "--auth-secret", secret, "--user", "ann"])
            self.expect(token, code: code, says: secret)
            let serve = try await self.tern.run(self.serve("data") + ["--self-signed", "--auth-secret", secret])
            self.expect(serve, code: code, says: secret)
        }
    }

    @Test("A server that is not there, and one that is not trusted")
    func unreachableServer() async throws {
        let server = try await self.tern.serve()
        let strangers = try TLSIdentity.selfSigned().certificateAuthorityPEM
        try Data(strangers).write(to: URL(filePath: self.tern.path("strangers.pem")))
        for trust in [["--ca", self.tern.path("strangers.pem")], ["--pin", String(repeating: "00", count: 32)], []] {
            let run = try await self.tern.run(["ping", "--server", server.address] + trust)
            self.expect(run, code: 69, says: "not trusted")
        }
        let caFile = self.tern.path("kept.pem")
        try FileManager.default.copyItem(atPath: server.caFile, toPath: caFile)
        _ = await server.stop()
        let run = try await self.tern.run(["ping", "--server", server.address, "--ca", caFile])
        self.expect(run, code: 69, says: "could not connect to \(server.address)")
    }

    @Test("With --json an error is one JSON line on standard error")
    func errorsAsJSON() async throws {
        let run = try await self.tern.run(["ping", "--json", "--server", "localhost:1", "--ca", "/nonexistent"])
        #expect(run.exitCode == 66 && run.output.isEmpty)
        let error = try JSON(run.errors)
        #expect(error.event == "error" && error.string("code") == "unreadableFile" && error.number("exitCode") == 66)
        #expect(error.string("message")?.contains("/nonexistent") == true)
    }

    @Test(
        "With --json a wrong command line is a JSON line, too",
        arguments: [
            ["ping", "--json"], ["ping", "--json", "--server", "localhost:0"], ["serve", "--json", "--self-signed"],
            ["send", "--server", "localhost:1", "--json", "--to", "a", "--group", "b"], ["fly", "--json"],
            ["token", "--json", "--auth-secret"], ["tail", "--server", "localhost:1", "--count=x", "--json"],
            ["ping", "--server", "localhost:1", "--pin", "x", "--json"],
        ])
    func usageAsJSON(arguments: [String]) async throws {
        let run = try await self.tern.run(arguments)
        #expect(run.exitCode == 64 && run.output.isEmpty)
        let error = try JSON(run.errors)
        #expect(error.event == "error" && error.string("code") == "usage" && error.number("exitCode") == 64)
        #expect(error.string("message")?.isEmpty == false)
    }

    @Test("Help stays help with --json")
    func helpAsJSON() async throws {
        let run = try await self.tern.run(["ping", "--json", "--help"])
        #expect(run.exitCode == 0 && run.errors.isEmpty && run.output.contains { $0.contains("USAGE") })
    }

    @Test("A server name that is none", arguments: ["", " ", "a b", "a..b", String(repeating: "a", count: 64)])
    func badServerName(name: String) async throws {
        let run = try await self.tern.run(["ping", "--server", "localhost:1", "--server-name", name])
        #expect(run.exitCode == 64 && run.errors.contains("--server-name"), "\(run.errors)")
    }

    @Test(
        "A file without a name",
        arguments: [
            ["ping", "--server", "localhost:1", "--ca", ""], ["token", "--user", "a", "--auth-secret", ""],
            ["tail", "--server", "localhost:1", "--token-file", ""], ["serve", "--self-signed", "--auth-secret", ""],
            ["serve", "--development", "--tls-certificate", "", "--tls-key", "x"],
            ["serve", "--development", "--tls-certificate", "x", "--tls-key", ""],
        ])
    func emptyFileName(arguments: [String]) async throws {
        let run = try await self.tern.run(arguments)
        #expect(run.exitCode == 64 && run.errors.contains("takes the name of a file"), "\(run.errors)")
    }

    @Test("What is wrong is quoted once, and steers no terminal", arguments: ["\u{1b}[31m", "a\u{202e}b", "a:b"])
    func quotedOnce(address: String) async throws {
        let run = try await self.tern.run(["ping", "--server", address])
        let shown = address.unicodeScalars.map { $0 == "\u{1b}" || $0 == "\u{202e}" ? "\u{fffd}" : String($0) }.joined()
        #expect(run.exitCode == 64)
        #expect(run.errors.components(separatedBy: shown).count == 2, "\(run.errors)")
        #expect(!run.errors.unicodeScalars.contains { $0 == "\u{1b}" || $0 == "\u{202e}" })
        #expect(run.errors.contains("Usage: tern ping"))
    }

    @Test("A CA file without a certificate is named", arguments: ["empty.pem", "text.pem"])
    func emptyCA(name: String) async throws {
        try Data((name == "empty.pem" ? "" : "no certificate").utf8).write(to: URL(filePath: self.tern.path(name)))
        let run = try await self.tern.run(["ping", "--server", "localhost:1", "--ca", self.tern.path(name)])
        self.expect(run, code: 78, says: self.tern.path(name))
    }

    @Test(
        "A development token that names nobody", arguments: ["dev:", "dev:/", "dev:ann/", "dev:a\u{200b}nn", "dev", ""])
    func badToken(token: String) async throws {
        let server = try await self.tern.serve()
        let run = try await self.tern.run(
            ["send", "--server", server.address, "--ca", server.caFile, "--token", token, "--to", "bob"], input: "x\n")
        self.expect(run, code: token.isEmpty ? 64 : 77, says: token.isEmpty ? "token is empty" : "refused")
        _ = await server.stop()
    }

    private func serve(_ data: String, listen: String = "127.0.0.1:0") -> [String] {
        ["serve", "--listen", listen, "--data", self.tern.path(data)]
    }

    private func expect(
        _ run: TernProgram.Run, code: Int32, says text: String, at location: SourceLocation = #_sourceLocation
    ) {
        #expect(run.exitCode == code, "\(run.errors)", sourceLocation: location)
        #expect(run.output.isEmpty, sourceLocation: location)
        #expect(run.errors.contains(text), "\(run.errors)", sourceLocation: location)
        #expect(run.errors.split(separator: "\n").count == 1, "one line: \(run.errors)", sourceLocation: location)
    }
}
