// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ChildProcesses
import Foundation
import Testing

/// `SSLKEYLOGFILE`: the secrets with which Wireshark decrypts a capture, on both carriers.
@Suite(.timeLimit(.minutes(10)))
struct KeyLogTests {
    private let tern: TernProgram

    init() throws {
        self.tern = try TernProgram()
    }

    @Test(
        "The file gets the secrets of the connection, and no file is made without the variable",
        arguments: ["quic", "tls"])
    func secretsAreLogged(carrier: String) async throws {
        let server = try await self.tern.serve()
        let file = self.tern.path("keys-\(carrier)")
        let arguments = [
            "send", "--json", "--carrier", carrier, "--to", "bob", "--server", server.address, "--ca", server.caFile,
            "--token", "dev:ann",
        ]
        let silent = try await self.tern.run(arguments, input: "hello\n")
        #expect(silent.exitCode == 0, "\(silent.errors)")
        #expect(!FileManager.default.fileExists(atPath: file))

        let sent = try await self.tern.run(arguments, input: "hello\n", environment: ["SSLKEYLOGFILE": file])
        #expect(sent.exitCode == 0, "\(sent.errors)")
        let lines = try String(contentsOf: URL(filePath: file), encoding: .utf8).split(separator: "\n")
        let secrets = Dictionary(grouping: lines.map { $0.split(separator: " ") }) { $0[0] }
        for label in [
            "CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0",
            "SERVER_TRAFFIC_SECRET_0",
        ] {
            let entry = try #require(secrets[Substring(label)]?.first, "\(label) is missing from \(lines)")
            // The client's random, and a secret as long as the hash.
            #expect(entry.count == 3)
            #expect(entry[1].count == 64)
            #expect([64, 96].contains(entry[2].count))
        }
        #expect(await server.stop().exitCode == 0)
    }
    @Test(
        "The server's file has the same secrets, is for its owner alone, and is warned of", arguments: ["quic", "tls"])
    func serversLogToo(carrier: String) async throws {
        let (servers, clients) = (self.tern.path("server-keys-\(carrier)"), self.tern.path("client-keys-\(carrier)"))
        let server = try await self.tern.serve(environment: ["SSLKEYLOGFILE": servers])
        let sent = try await self.tern.run(
            [
                "send", "--json", "--carrier", carrier, "--to", "bob", "--server", server.address, "--ca",
                server.caFile,
                "--token", "dev:ann",
            ], input: "hello\n", environment: ["SSLKEYLOGFILE": clients])
        #expect(sent.exitCode == 0, "\(sent.errors)")
        let stopped = await server.stop()
        #expect(stopped.exitCode == 0)
        let lines = try [servers, clients].map { file in
            Set(try String(contentsOf: URL(filePath: file), encoding: .utf8).split(separator: "\n"))
        }
        #expect(!lines[0].isEmpty)
        #expect(lines[0] == lines[1])
        for file in [servers, clients] {
            let mode = try FileManager.default.attributesOfItem(atPath: file)[.posixPermissions] as? Int
            #expect(mode == 0o600)
        }
        #expect(sent.errors.contains("SSLKEYLOGFILE is set"))
        #expect(stopped.errors.contains("SSLKEYLOGFILE is set"))
    }
}
