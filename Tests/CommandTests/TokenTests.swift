// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import TernMessages
import TernServer
import Testing

@testable import tern_command

/// `tern token`: what it signs, a server that reads the same file accepts.
@Suite(.timeLimit(.minutes(10)))
struct TokenTests {
    @Test("A token says what the options say, and the secret may end with a line")
    func tokenIsAccepted() async throws {
        let tern = try TernProgram()
        let secret = String(repeating: "s", count: 43)
        try tern.writeSecret("\(secret)\n")
        let arguments = ["token", "--auth-secret", tern.path("secret"), "--user", "ann", "--device", "phone"]

        let plain = try await tern.run(arguments)
        #expect(plain.exitCode == 0 && plain.output.count == 1)
        let json = try await tern.run(arguments + ["--json", "--server-name", "other", "--lifetime", "60"])
        let line = try JSON(try #require(json.output.first))
        #expect(line.event == "token" && line.string("user") == "ann" && line.string("device") == "phone")

        let key = try AccessSecret(bytes: Array(secret.utf8))
        let now = Int64(Date().timeIntervalSince1970)
        let token = try AccessToken.verify(
            try #require(plain.output.first), secret: key, audience: Name("tern"), now: now)
        #expect(token.user.text == "ann" && token.device.text == "phone")
        let other = try AccessToken.verify(
            try #require(line.string("token")), secret: key, audience: Name("other"), now: now)
        #expect((now + 55...now + 65).contains(other.expires))
        #expect(line.number("expires") == Double(other.expires * 1_000))
    }

    @Test(
        "A name that is none is refused",
        arguments: [["--user", ""], ["--user", "a\nb"], ["--user", "a", "--device", ""]])
    func badNames(options: [String]) async throws {
        let tern = try TernProgram()
        try tern.writeSecret(String(repeating: "s", count: 32))
        let run = try await tern.run(["token", "--auth-secret", tern.path("secret")] + options)
        #expect(run.exitCode == 64 && run.output.isEmpty)
        #expect(run.errors.contains("is no name"), "\(run.errors)")
    }
}
