// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation

/// `nginx` and `curl` of the distribution: HTTP/1.1 over TLS 1.3 over TCP, by OpenSSL, with the cipher that Tern prefers.
package struct NginxPair: ForeignPair {
    private static let cipher = "TLS_AES_128_GCM_SHA256"
    package let ground: ForeignGround
    private let identity: IdentityFiles
    private let port: Int

    /// Why they cannot be compared with; `nil` when they can.
    package static var missing: String? { ForeignProgram.missing([.nginx, .curl]) }

    package init(_ ground: ForeignGround, identity: IdentityFiles) throws {
        self.ground = ground
        self.identity = identity
        self.port = try ground.freePort(.tcp)
    }

    package func startServer(directory: String) throws -> ChildProcess {
        let scratch = "\(self.ground.scratch)/nginx"
        try FileManager.default.createDirectory(atPath: scratch, withIntermediateDirectories: true)
        // One process, so that its CPU time is all there is.
        let configuration = """
            daemon off; master_process off; pid \(scratch)/pid; error_log \(scratch)/error.log crit;
            events {}
            http {
              access_log off; default_type application/octet-stream;
              client_body_temp_path \(scratch)/body; proxy_temp_path \(scratch)/proxy;
              fastcgi_temp_path \(scratch)/fastcgi; uwsgi_temp_path \(scratch)/uwsgi; scgi_temp_path \(scratch)/scgi;
              server {
                listen \(self.ground.serverHost):\(self.port) ssl;
                ssl_certificate \(self.identity.certificate); ssl_certificate_key \(self.identity.key);
                ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites \(Self.cipher);
                root \(directory);
              }
            }
            """
        let file = "\(scratch)/nginx.conf"
        try Data(configuration.utf8).write(to: URL(filePath: file))
        let server = try self.ground.startServer(
            "nginx", ["-c", file, "-p", scratch, "-e", "\(scratch)/error.log"])
        try self.ground.untilTaken(self.port, .tcp, by: "nginx")
        return server
    }

    /// Prints its ``Times``.
    package func startClient(path: String) throws -> ChildProcess {
        try self.ground.startClient(
            "curl",
            [
                "--silent", "--show-error", "--fail", "--insecure", "--http1.1", "--tls13-ciphers", Self.cipher,
                "--output", "/dev/null", "--write-out",
                "%{time_appconnect} %{time_pretransfer} %{time_starttransfer} %{time_total}\\n",
                "https://\(self.ground.serverHost):\(self.port)/\(path)",
            ])
    }

    /// What `curl` tells, in seconds after its start.
    package struct Times {
        package let connected: Double
        package let sent: Double
        package let firstByte: Double
        package let total: Double

        /// - Parameter text: what the client printed.
        package init(_ text: String) throws {
            let times = text.split(whereSeparator: \.isWhitespace).compactMap { Double($0) }
            guard times.count == 4 else { throw BenchmarkError("curl told no times: \(text.prefix(100))") }
            (self.connected, self.sent, self.firstByte, self.total) = (times[0], times[1], times[2], times[3])
        }
    }
}
