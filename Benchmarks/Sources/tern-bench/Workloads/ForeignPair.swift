// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport

/// `gtlsserver` and `gtlsclient`: ngtcp2's own programs (HTTP/3), as the distribution packages them. They use the same
/// ngtcp2 and GnuTLS as Tern does.
struct ForeignPair {
    private let stage: Stage
    private let server: String
    private let client: String
    let port: Int
    /// What signed the server's certificate, PEM.
    let certificateAuthority: String
    private let identity: (certificate: String, key: String)

    /// Why they cannot be compared with; `nil` when they can.
    static var missing: String? {
        for (program, package) in [("gtlsserver", "ngtcp2-server"), ("gtlsclient", "ngtcp2-client")]
        where ChildProcess.path(of: program) == nil {
            return "\(program) is not installed (package \(package) of Debian and Ubuntu)"
        }
        return nil
    }

    init(_ stage: Stage) throws {
        guard let server = ChildProcess.path(of: "gtlsserver"), let client = ChildProcess.path(of: "gtlsclient") else {
            throw BenchmarkError(Self.missing ?? "gtlsserver is missing")
        }
        self.stage = stage
        self.server = server
        self.client = client
        self.port = try FreePort.find(.udp)
        let files = try stage.identityFiles()
        self.identity = (files.certificate, files.key)
        self.certificateAuthority = files.authority
    }

    func startServer(directory: String) throws -> ChildProcess {
        let server = try ChildProcess(
            "gtlsserver", self.server,
            ["-q", "-d", directory, "127.0.0.1", "\(self.port)", self.identity.key, self.identity.certificate],
            scratch: self.stage.scratch)
        try self.untilBound()
        return server
    }

    func startClient(path: String) throws -> ChildProcess {
        try ChildProcess(
            "gtlsclient", self.client,
            [
                "-q", "--exit-on-all-streams-close", "127.0.0.1", "\(self.port)",
                "https://127.0.0.1:\(self.port)/\(path)",
            ], scratch: self.stage.scratch)
    }

    /// The server does not say when it listens, so its port is looked at.
    private func untilBound() throws {
        try FreePort.untilTaken(self.port, by: "gtlsserver") { try FreePort.isFree($0, .udp) }
    }
}
