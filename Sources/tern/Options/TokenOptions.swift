// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser
internal import Foundation

/// Who a client is, in the order: `--token`, `--token-file`, the environment.
struct TokenOptions: ParsableArguments {
    static let environmentName = "TERN_TOKEN"

    @Option(
        help: ArgumentHelp(
            "What \"tern token\" printed; for a server in development mode the user's name. Other users of this machine see the command line: prefer --token-file or the variable \(Self.environmentName).",
            valueName: "token"))
    var token: String?

    @Option(
        help: ArgumentHelp(
            "Read the token from this file, and again for each connection: put a new one there before it ends.",
            valueName: "file"))
    var tokenFile: String?

    func validate() throws {
        try NamedFile.checkName(self.tokenFile, option: "--token-file")
        if self.token != nil, self.tokenFile != nil { throw ValidationError("give --token or --token-file, not both") }
    }

    /// The token without blanks at its ends.
    func read(environment: [String: String] = ProcessInfo.processInfo.environment) throws(CommandError) -> String {
        let fromFile = try Self.contents(of: self.tokenFile)
        guard let found = self.token ?? fromFile ?? environment[Self.environmentName] else {
            throw CommandError(.usage, "no token: give --token or --token-file, or set \(Self.environmentName)")
        }
        let token = found.trimmingCharacters(in: .whitespacesAndNewlines)
        guard !token.isEmpty else { throw CommandError(.usage, "the token is empty") }
        return token
    }

    /// What has the token of later connections; `nil` where it stays what it is.
    var source: (@Sendable () throws -> String)? {
        guard let file = self.tokenFile,
            let values = try? URL(fileURLWithPath: file).resolvingSymlinksInPath()
                .resourceValues(forKeys: [.isRegularFileKey]), values.isRegularFile == true
        else { return nil }
        return { [self] in try self.read() }
    }

    private static func contents(of path: String?) throws(CommandError) -> String? {
        guard let path else { return nil }
        return try String(decoding: NamedFile(path, role: "token").read(atMost: 64 << 10), as: UTF8.self)
    }
}
