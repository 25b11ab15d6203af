// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser
internal import Foundation
internal import TernMessages
internal import TernServer

/// `tern token`: signs a token with a server's secret.
struct TokenCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token",
        abstract: "Sign a token that lets a user connect.",
        discussion: """
            The token is a JSON Web Token (HS256) and printed on standard output. A secret of your own:

              openssl rand -base64 32 > secret && chmod 600 secret
              tern token --auth-secret secret --user ann
            """)

    @Option(help: ArgumentHelp("The secret that the server was started with.", valueName: "file"))
    var authSecret: String

    @Option(help: ArgumentHelp("Whose token it is.", valueName: "name"))
    var user: String

    @Option(
        help: ArgumentHelp(
            "Which of the user's devices it is for: each device has its own place in the conversations.",
            valueName: "name"))
    var device: String = AccessToken.defaultDevice

    @Option(help: ArgumentHelp("The name of the server that takes it, as in \"tern serve --name\".", valueName: "name"))
    var serverName: String = ServeDefaults.name

    @Option(help: ArgumentHelp("Seconds until it expires.", valueName: "seconds"))
    var lifetime: Int = 30 * 86_400

    @OptionGroup var outputOptions: OutputOptions

    func validate() throws {
        try NamedFile.checkName(self.authSecret, option: "--auth-secret")
        _ = try self.names()
        guard (1...3_650 * 86_400).contains(self.lifetime) else {
            throw ValidationError("--lifetime takes 1 second to 10 years")
        }
    }

    private func names() throws(ValidationError) -> (user: Name, device: Name, audience: Name) {
        (
            try Name(option: "--user", self.user), try Name(option: "--device", self.device),
            try Name(option: "--server-name", self.serverName)
        )
    }

    func run() async throws {
        let output = self.outputOptions.makeOutput()
        try await output.run {
            let secret = try AccessSecret(file: self.authSecret, tell: output.warn)
            let now = Int64(Date().timeIntervalSince1970)
            let names = try self.names()
            let token = try AccessToken(
                user: names.user, device: names.device, audience: names.audience,
                expires: now + Int64(self.lifetime), issuedAt: now)
            let text = token.signed(with: secret)
            var line = JSONLine(event: "token")
            line.add("token", text)
            line.add("user", self.user)
            line.add("device", self.device)
            line.add("expires", token.expires * 1_000)
            try await output.event(line, orText: text)
        }
    }
}

extension AccessSecret {
    /// From a file that others cannot change: its bytes without white space at the ends, which editors and `echo`
    /// leave there.
    ///
    /// - Parameter tell: hears what an operator should know of the file.
    init(file: String, tell: (String) -> Void) throws(CommandError) {
        let isBlank: (UInt8) -> Bool = { [0x20, 0x09, 0x0a, 0x0d].contains($0) }
        var bytes = try NamedFile(file, role: "auth secret").readSecret(atMost: 64 << 10, tell: tell)[...]
        bytes = bytes.drop(while: isBlank)
        while let last = bytes.last, isBlank(last) { bytes.removeLast() }
        do {
            try self.init(bytes: Array(bytes))
        } catch {
            throw CommandError(
                .configuration,
                "the auth secret file \(file) is too short: \(error.message). \"openssl rand -base64 32\" makes a good one"
            )
        }
    }
}
