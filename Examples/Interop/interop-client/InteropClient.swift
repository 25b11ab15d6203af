// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ArgumentParser
import Foundation
import InteropCommon
import Tern

@main
struct InteropClient: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "interop-client",
        abstract: "Get files over QUIC as the quic-interop-runner asks for them (HTTP/0.9, ALPN \"hq-interop\").",
        discussion: """
            Environment: TESTCASE says what is tried (exit code 127: not supported), REQUESTS has more URLs, SSLKEYLOGFILE says \
            where secrets of TLS are logged, QLOGDIR where qlog files are written. Exit code 1: a file did not come.
            """)

    @Option(help: ArgumentHelp("The folder for the files; \"-\" discards what comes.", valueName: "dir"))
    var downloads = "/downloads"

    @Option(
        help: ArgumentHelp(
            "Trust certificates that this file's authorities issued. Without it: /certs/ca.pem, or the system's.",
            valueName: "pem"))
    var ca: String?

    @Flag(name: .customLong("http3"), help: "Speak HTTP/3 (ALPN \"h3\"), as for the test case http3.")
    var http3 = false

    @Argument(
        help: ArgumentHelp("What to get, such as https://localhost:4433/file.", valueName: "url"), transform: request)
    var urls: [Request] = []

    func run() async throws {
        let testCase = try TestCase.fromEnvironment()
        let variable = Environment.value("REQUESTS") ?? ""
        let requests = try self.urls + variable.split(separator: " ").map { try request(String($0)) }
        guard !requests.isEmpty else { throw ValidationError("give a URL, here or in the variable REQUESTS") }
        let downloads = self.downloads == "-" ? nil : try Folder(self.downloads)
        let trial = Trial(
            testCase: testCase, fileProtocol: self.http3 || testCase == .http3 ? .http3 : .http09,
            trust: try self.trust(), downloads: downloads)
        // Servers in the order in which they are named first.
        var servers: [Endpoint] = []
        for request in requests where !servers.contains(request.server) { servers.append(request.server) }
        var isComplete = true
        for server in servers {
            do {
                try await trial.run(requests.filter { $0.server == server }, at: server)
            } catch let unsupported as ExitCode {
                throw unsupported
            } catch {
                Log.say("\(server): \(error)")
                isComplete = false
            }
        }
        guard isComplete else { throw ExitCode.failure }
    }

    private func trust() throws -> TLSTrust {
        let inContainer = "/certs/ca.pem"
        if let ca { return try .certificateAuthorities(file: ca) }
        guard FileManager.default.fileExists(atPath: inContainer) else { return .system }
        return try .certificateAuthorities(file: inContainer)
    }
}

/// One file on one server.
struct Request: Sendable {
    let server: Endpoint
    /// As the URL has it: with its percent signs.
    let path: String
    /// The name under which the file is stored.
    let name: String
}

private func request(_ text: String) throws -> Request {
    guard let url = URLComponents(string: text), url.scheme == "https", let host = url.host, !host.isEmpty,
        (1...65_535).contains(url.port ?? 443), url.percentEncodedPath.count > 1
    else { throw ValidationError("\"\(text)\" is no URL such as https://localhost:4433/file") }
    let bare = host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host
    return Request(
        server: try Endpoint(host: bare, port: url.port ?? 443), path: url.percentEncodedPath, name: url.path)
}
