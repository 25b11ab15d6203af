// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ChildProcesses
import Foundation
import Tern
import TestTimeLimits
import Testing

/// What others made, or can read or change, is not trusted; and what gives secrets away is said.
@Suite(.untilItHangs)
struct TrustTests {
    private let tern: TernProgram

    init() throws {
        self.tern = try TernProgram()
    }

    private func setMode(_ mode: Int, of name: String) throws {
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: self.tern.path(name))
    }

    private func serve(_ arguments: [String] = ["--self-signed", "--development"]) async throws -> TernProgram.Run {
        try await self.tern.run(["serve", "--listen", "127.0.0.1:0", "--data", self.tern.path("data")] + arguments)
    }

    @Test("A data directory that everybody can write to")
    func openDirectory() async throws {
        try FileManager.default.createDirectory(atPath: self.tern.path("data"), withIntermediateDirectories: true)
        try self.setMode(0o777, of: "data")
        let run = try await self.serve()
        #expect(run.exitCode == 73, "\(run.errors)")
        #expect(run.errors.contains(self.tern.path("data")) && run.errors.contains("chmod"), "\(run.errors)")
    }

    @Test("A private key that others can read, and one that is a link")
    func exposedKey() async throws {
        let first = try await self.tern.serve()
        _ = await first.stop()
        try self.setMode(0o644, of: "data/key.pem")
        let exposed = try await self.serve()
        #expect(exposed.exitCode == 78 && exposed.errors.contains("key.pem"), "\(exposed.errors)")
        try self.setMode(0o600, of: "data/key.pem")
        try FileManager.default.moveItem(atPath: self.tern.path("data/key.pem"), toPath: self.tern.path("key.pem"))
        try FileManager.default.createSymbolicLink(
            atPath: self.tern.path("data/key.pem"), withDestinationPath: self.tern.path("key.pem"))
        let linked = try await self.serve()
        #expect(linked.exitCode == 78 && linked.errors.contains("symbolic link"), "\(linked.errors)")
    }

    @Test("A secret that others can change", arguments: [0o620, 0o602, 0o666])
    func exposedSecret(mode: Int) async throws {
        try self.tern.writeSecret(String(repeating: "s", count: 40))
        try self.setMode(mode, of: "secret")
        let arguments = ["--auth-secret", self.tern.path("secret")]
        for run in [
            try await self.serve(["--self-signed"] + arguments),
            try await self.tern.run(["token", "--user", "ann"] + arguments),
        ] {
            #expect(run.exitCode == 78, "\(run.errors)")
            #expect(run.errors.contains(self.tern.path("secret")) && run.errors.contains("chmod"), "\(run.errors)")
        }
        // Its group may read it, and a link of one's own may lead to it.
        try self.setMode(0o440, of: "secret")
        try FileManager.default.createSymbolicLink(
            atPath: self.tern.path("link"), withDestinationPath: self.tern.path("secret"))
        let token = try await self.tern.run(["token", "--user", "ann", "--auth-secret", self.tern.path("link")])
        #expect(token.exitCode == 0, "\(token.errors)")
    }

    /// Secrets are mounted into containers so, where nobody can change them.
    @Test("A secret or key that others can read is used, with a warning", arguments: [0o444, 0o644, 0o604])
    func readableSecret(mode: Int) async throws {
        try self.tern.writeSecret(String(repeating: "s", count: 40))
        try self.setMode(mode, of: "secret")
        let secret = ["--auth-secret", self.tern.path("secret")]
        let token = try await self.tern.run(["token", "--user", "ann"] + secret)
        let warnings = token.errors.split(separator: "\n")
        #expect(token.exitCode == 0 && token.output.count == 1)
        #expect(warnings.count == 1 && token.errors.contains("WARNING"), "\(token.errors)")
        #expect(token.errors.contains(self.tern.path("secret")), "\(token.errors)")
        let made = try TLSIdentity.selfSigned()
        try Data(made.certificatePEM).write(to: URL(filePath: self.tern.path("chain.pem")))
        try self.tern.writeSecret(String(decoding: made.keyPEM, as: UTF8.self), to: "key.pem")
        try self.setMode(mode, of: "key.pem")
        let files = ["--tls-certificate", self.tern.path("chain.pem"), "--tls-key", self.tern.path("key.pem")]
        let run = await (try await self.tern.serve(secret + files)).stop()
        for name in ["secret", "key.pem"] {
            #expect(run.errors.contains("file \(self.tern.path(name)) can be read by other"), "\(run.errors)")
        }
    }

    @Test("A private key that others can change, and one that is no file", arguments: [0o620, 0o666, 0])
    func foreignKey(mode: Int) async throws {
        let made = try TLSIdentity.selfSigned()
        try Data(made.certificatePEM).write(to: URL(filePath: self.tern.path("chain.pem")))
        let key = self.tern.path("key.pem")
        if mode == 0 {
            #expect(mkfifo(key, 0o600) == 0)
        } else {
            try self.tern.writeSecret(String(decoding: made.keyPEM, as: UTF8.self), to: "key.pem")
            try self.setMode(mode, of: "key.pem")
        }
        let run = try await self.serve([
            "--development", "--tls-certificate", self.tern.path("chain.pem"), "--tls-key", key,
        ])
        #expect(run.exitCode == 78 && run.errors.contains(key), "\(run.errors)")
        #expect(!FileManager.default.fileExists(atPath: self.tern.path("data")), "nothing is made before all is read")
    }

    @Test("A private key of another user", .enabled(if: geteuid() == 0, "giving a file to another user needs root"))
    func keyOfSomebodyElse() async throws {
        let made = try TLSIdentity.selfSigned()
        try Data(made.certificatePEM).write(to: URL(filePath: self.tern.path("chain.pem")))
        try self.tern.writeSecret(String(decoding: made.keyPEM, as: UTF8.self), to: "key.pem")
        #expect(chown(self.tern.path("key.pem"), 12_345, 12_345) == 0)
        let run = try await self.serve([
            "--development", "--tls-certificate", self.tern.path("chain.pem"), "--tls-key", self.tern.path("key.pem"),
        ])
        #expect(run.exitCode == 78 && run.errors.contains("12345"), "\(run.errors)")
    }

    @Test("A server whose secrets are logged says so before it is ready")
    func keyLogIsSaid() async throws {
        let file = self.tern.path("keys")
        let running = try self.tern.start(
            [
                "serve", "--listen", "127.0.0.1:0", "--data", self.tern.path("data"), "--self-signed", "--development",
            ], environment: ["SSLKEYLOGFILE": file])
        var lines = running.process.lines.makeAsyncIterator()
        #expect(try #require(await lines.next()).text.hasPrefix("ready "))
        let said = running.readErrors()
        #expect(said.contains("WARNING: SSLKEYLOGFILE") && said.contains(file), "\(said)")
        running.process.send(signal: SIGTERM)
        #expect(await running.end().exitCode == 0)
    }

    @Test("Limits of a user that mean nothing", arguments: ["-1", "x", "99999999999"])
    func limits(value: String) async throws {
        let run = try await self.serve(["--self-signed", "--development", "--max-groups=\(value)"])
        #expect(run.exitCode == 64, "\(run.errors)")
    }
}
