// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ChildProcesses
import Foundation
import Testing

/// The cases of the quic-interop-runner in a moment each: small files over fast links. `make interop` runs them as they are.
@Suite("The interop matrix, in short", .needsPythonPeer, .serialized, .timeLimit(.minutes(15)))
struct MatrixTests {
    @Test("Against ourselves")
    func ourselves() async throws {
        try await Self.run(
            clients: ["tern"], servers: ["tern"],
            cases: [
                "handshake", "transfer", "chacha20", "multiplexing", "retry", "resumption", "zerortt", "keyupdate",
                "ecn", "amplificationlimit",
                "transferloss",
                "transfercorruption",
                "ipv6", "rebind-port", "rebind-addr", "connectionmigration",
            ])
    }

    @Test("Our client against aioquic")
    func foreignServer() async throws {
        try await Self.run(
            clients: ["tern"], servers: ["aioquic"],
            cases: [
                "handshake", "transfer", "chacha20", "retry", "resumption", "zerortt", "keyupdate", "ipv6",
                "connectionmigration",
            ])
    }

    @Test("Our server against aioquic")
    func foreignClient() async throws {
        try await Self.run(
            clients: ["aioquic"], servers: ["tern"],
            cases: ["handshake", "transfer", "chacha20", "retry", "resumption", "zerortt", "keyupdate", "rebind-port"])
    }

    @Test("Against ngtcp2's programs", .needs(.gtlsserver), .needs(.gtlsclient))
    func distribution() async throws {
        let cases = ["handshake", "transfer", "retry", "resumption", "zerortt", "http3"]
        try await Self.run(clients: ["tern"], servers: ["ngtcp2"], cases: cases)
        try await Self.run(clients: ["ngtcp2"], servers: ["tern"], cases: cases)
    }

    private static func run(clients: [String], servers: [String], cases: [String]) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "tern-matrix-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let log = folder.appending(path: "log")
        let programs = try Programs.folder()
        let (lines, exitCode) = try await PythonPeer.run(
            "matrix.py",
            ["--quick", "--programs", programs.path, "--clients"] + clients + ["--servers"] + servers + ["--cases"]
                + cases, log: log)
        let logged = (try? String(contentsOf: log, encoding: .utf8)) ?? ""
        #expect(exitCode == 0, "\(lines.joined(separator: "\n"))\n\(logged)")
        let good = lines.filter { $0.hasPrefix("ok ") }
        #expect(good.count == cases.count, "\(lines.joined(separator: "\n"))")
    }
}
