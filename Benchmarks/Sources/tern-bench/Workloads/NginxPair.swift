// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation

/// `nginx` and `curl` of the distribution: HTTP/1.1 over TLS 1.3 over TCP, by OpenSSL, with the cipher that Tern prefers.
struct NginxPair {
    private static let cipher = "TLS_AES_128_GCM_SHA256"
    private let stage: Stage
    private let port: Int

    /// Why they cannot be compared with; `nil` when they can.
    static var missing: String? {
        for program in ["nginx", "curl"] where ChildProcess.path(of: program) == nil {
            return "\(program) is not installed"
        }
        return nil
    }

    init(_ stage: Stage) throws {
        self.stage = stage
        self.port = try FreePort.find(.tcp)
    }

    func startServer(directory: String) throws -> ChildProcess {
        guard let program = ChildProcess.path(of: "nginx") else { throw BenchmarkError(Self.missing ?? "nginx") }
        let identity = try self.stage.identityFiles()
        let scratch = "\(self.stage.scratch)/nginx"
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
                listen 127.0.0.1:\(self.port) ssl;
                ssl_certificate \(identity.certificate); ssl_certificate_key \(identity.key);
                ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites \(Self.cipher);
                root \(directory);
              }
            }
            """
        let file = "\(scratch)/nginx.conf"
        try Data(configuration.utf8).write(to: URL(filePath: file))
        let server = try ChildProcess(
            "nginx", program, ["-c", file, "-p", scratch, "-e", "\(scratch)/error.log"], scratch: self.stage.scratch)
        try FreePort.untilTaken(self.port, by: "nginx") { try FreePort.isFree($0, .tcp) }
        return server
    }

    func startClient(path: String) throws -> ChildProcess {
        guard let program = ChildProcess.path(of: "curl") else { throw BenchmarkError(Self.missing ?? "curl") }
        return try ChildProcess(
            "curl", program,
            [
                "--silent", "--fail", "--insecure", "--http1.1", "--tls13-ciphers", Self.cipher, "--output",
                "/dev/null", "https://127.0.0.1:\(self.port)/\(path)",
            ], scratch: self.stage.scratch)
    }
}
