// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// `gtlsserver` and `gtlsclient`: ngtcp2's own programs (HTTP/3), as the distribution packages them. They use the same
/// ngtcp2 and GnuTLS as Tern does. They tell no times, so their processes are timed, with the handshake.
package struct GtlsPair: ForeignPair {
    package let ground: ForeignGround
    package let port: Int
    private let identity: IdentityFiles

    /// Why they cannot be compared with; `nil` when they can.
    package static var missing: String? { ForeignProgram.missing([.gtlsserver, .gtlsclient]) }

    package init(_ ground: ForeignGround, identity: IdentityFiles) throws {
        self.ground = ground
        self.identity = identity
        self.port = try ground.freePort(.udp)
    }

    package func startServer(directory: String) throws -> ChildProcess {
        let server = try self.ground.startServer(
            "gtlsserver",
            [
                "-q", "-d", directory, self.ground.serverHost, "\(self.port)", self.identity.key,
                self.identity.certificate,
            ])
        try self.ground.untilTaken(self.port, .udp, by: "gtlsserver")
        return server
    }

    package func startClient(path: String) throws -> ChildProcess {
        let host = self.ground.serverHost
        return try self.ground.startClient(
            "gtlsclient",
            ["-q", "--exit-on-all-streams-close", host, "\(self.port)", "https://\(host):\(self.port)/\(path)"])
    }
}
