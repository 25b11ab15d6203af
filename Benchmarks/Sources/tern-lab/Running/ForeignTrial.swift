// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation
internal import Tern

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Darwin)
internal import Darwin
#endif

/// Programs of others that do the same work, where they are installed.
enum ForeignProgram: Sendable {
    case nginxCurl(measures: CurlMeasure)
    case gtls
    case iperf3

    enum CurlMeasure: Sendable {
        case firstByte
        case throughput
    }

    /// Why it cannot run on this machine; `nil` when it can.
    var missing: String? {
        let programs =
            switch self {
            case .nginxCurl: [("nginx", "nginx"), ("curl", "curl")]
            case .gtls: [("gtlsserver", "ngtcp2-server"), ("gtlsclient", "ngtcp2-client")]
            case .iperf3: [("iperf3", "iperf3")]
            }
        for (program, package) in programs where ChildProcess.path(of: program) == nil {
            return "\(program) is not installed (package \(package) of Debian and Ubuntu)"
        }
        return nil
    }

    func run(_ trial: ForeignTrial, _ tick: @Sendable () -> Void) throws -> [String: Double] {
        switch self {
        case .nginxCurl(measures: .firstByte): try trial.firstBytes(tick)
        case .nginxCurl(measures: .throughput): try trial.nginxCurl(tick)
        case .gtls: try trial.gtls(tick)
        case .iperf3: try trial.iperf3(tick)
        }
    }
}

/// One turn of a foreign pair of programs.
struct ForeignTrial {
    let ground: TrialGround
    let byteCount: Int
    let scratch: String
    let patience: Duration

    private static let cipher = "TLS_AES_128_GCM_SHA256"

    // MARK: The pairs

    func firstBytes(_ tick: @Sendable () -> Void) throws -> [String: Double] {
        let port = try self.freePort(.tcp)
        let server = try self.startNginx(port)
        var (connects, firstBytes): ([Double], [Double]) = ([], [])
        for _ in 0..<5 {
            let times = try self.curl(port, tick).times
            connects.append(times.connected * 1e3)
            firstBytes.append(times.firstByte * 1e3)
        }
        _ = try server.stop(.signal(SIGTERM))
        var values: [String: Double] = [:]
        values["firstByte"] = Spread(firstBytes)?.median
        values["connect"] = Spread(connects)?.median
        return values
    }

    func nginxCurl(_ tick: @Sendable () -> Void) throws -> [String: Double] {
        let port = try self.freePort(.tcp)
        let server = try self.startNginx(port)
        let (times, clientCPU) = try self.curl(port, tick)
        let serverCPU = try server.stop(.signal(SIGTERM)).cpuSeconds
        return self.values(seconds: times.total - times.sent, clientCPU, serverCPU)
    }

    /// These tell no times, so their processes are timed, with the handshake.
    func gtls(_ tick: @Sendable () -> Void) throws -> [String: Double] {
        let port = try self.freePort(.udp)
        let identity = try self.identityFiles()
        let directory = try self.fileOfZeros()
        let server = try ChildProcess(
            "gtlsserver", try Self.path("gtlsserver"),
            ["-q", "-d", directory, self.listenHost, "\(port)", identity.key, identity.certificate],
            scratch: self.scratch, in: self.ground.serverPlace)
        try self.untilTaken(port, .udp, by: "gtlsserver")
        let host = self.ground.serverHost
        let client = try ChildProcess(
            "gtlsclient", try Self.path("gtlsclient"),
            [
                "-q", "--exit-on-all-streams-close", host, "\(port)",
                "https://\(host):\(port)/\(self.byteCount)",
            ], scratch: self.scratch, in: self.ground.clientPlace)
        let ending = try client.finish(within: self.patience, whileWaiting: tick)
        let serverCPU = try server.stop(.signal(SIGTERM)).cpuSeconds
        return self.values(seconds: ending.wallSeconds, ending.cpuSeconds, serverCPU)
    }

    func iperf3(_ tick: @Sendable () -> Void) throws -> [String: Double] {
        let program = try Self.path("iperf3")
        let port = try self.freePort(.tcp)
        let server = try ChildProcess(
            "iperf3-server", program, ["-s", "-1", "-p", "\(port)"], scratch: self.scratch,
            in: self.ground.serverPlace)
        try self.untilTaken(port, .tcp, by: "iperf3")
        let client = try ChildProcess(
            "iperf3-client", program,
            ["-c", self.ground.serverHost, "-p", "\(port)", "-R", "-n", "\(self.byteCount)", "-J"],
            scratch: self.scratch, in: self.ground.clientPlace)
        let (text, ending) = try client.output(within: self.patience, whileWaiting: tick)
        let serverCPU = try server.finish(within: .seconds(20), whileWaiting: tick).cpuSeconds
        let report = try JSONDecoder().decode(IperfReport.self, from: Data(text.utf8))
        let bytesPerSecond = report.end.sumReceived.bitsPerSecond / 8
        return [
            "throughput": bytesPerSecond / 1e6, "clientCPU": ending.cpuSeconds, "serverCPU": serverCPU,
        ]
    }

    private struct IperfReport: Decodable {
        struct End: Decodable {
            struct Sum: Decodable {
                var bitsPerSecond: Double

                enum CodingKeys: String, CodingKey { case bitsPerSecond = "bits_per_second" }
            }

            var sumReceived: Sum

            enum CodingKeys: String, CodingKey { case sumReceived = "sum_received" }
        }

        var end: End
    }

    private func values(seconds: Double, _ clientCPU: Double, _ serverCPU: Double) -> [String: Double] {
        [
            "throughput": Double(self.byteCount) / max(seconds, 1e-6) / 1e6, "seconds": seconds,
            "clientCPU": clientCPU, "serverCPU": serverCPU,
        ]
    }

    // MARK: nginx and curl

    private func startNginx(_ port: Int) throws -> ChildProcess {
        let identity = try self.identityFiles()
        let root = try self.fileOfZeros()
        let scratch = "\(self.scratch)/nginx"
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
                listen \(self.listenHost == "*" ? "" : self.listenHost + ":")\(port) ssl;
                ssl_certificate \(identity.certificate); ssl_certificate_key \(identity.key);
                ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites \(Self.cipher);
                root \(root);
              }
            }
            """
        let file = "\(scratch)/nginx.conf"
        try Data(configuration.utf8).write(to: URL(filePath: file))
        let server = try ChildProcess(
            "nginx", try Self.path("nginx"), ["-c", file, "-p", scratch, "-e", "\(scratch)/error.log"],
            scratch: self.scratch, in: self.ground.serverPlace)
        try self.untilTaken(port, .tcp, by: "nginx")
        return server
    }

    private typealias CurlTimes = (connected: Double, sent: Double, firstByte: Double, total: Double)

    private func curl(_ port: Int, _ tick: @Sendable () -> Void) throws -> (times: CurlTimes, cpuSeconds: Double) {
        let client = try ChildProcess(
            "curl", try Self.path("curl"),
            [
                "--silent", "--show-error", "--fail", "--insecure", "--http1.1", "--tls13-ciphers", Self.cipher,
                "--output", "/dev/null", "--write-out",
                "%{time_appconnect} %{time_pretransfer} %{time_starttransfer} %{time_total}\\n",
                "https://\(self.ground.serverHost):\(port)/\(self.byteCount)",
            ], scratch: self.scratch, in: self.ground.clientPlace)
        let (text, ending) = try client.output(within: self.patience, whileWaiting: tick)
        let times = text.split(whereSeparator: \.isWhitespace).compactMap { Double($0) }
        guard times.count == 4 else { throw BenchmarkError("curl told no times: \(text.prefix(100))") }
        return ((times[0], times[1], times[2], times[3]), ending.cpuSeconds)
    }

    // MARK: What all need

    /// In a namespace every address is the lab's own; on the loopback only that is listened at.
    private var listenHost: String { self.ground.network == nil ? "127.0.0.1" : "*" }

    private static func path(_ program: String) throws -> String {
        guard let path = ChildProcess.path(of: program) else { throw BenchmarkError("\(program) is not installed") }
        return path
    }

    private func freePort(_ kind: FreePort.Kind) throws -> Int {
        var port = 0
        _ = try self.ground.serverPlace {
            port = try FreePort.find(kind)
            return 0
        }
        return port
    }

    private func untilTaken(_ port: Int, _ kind: FreePort.Kind, by program: String) throws {
        try FreePort.untilTaken(port, by: program) { port in
            var isFree = true
            _ = try self.ground.serverPlace {
                isFree = try FreePort.isFree(port, kind)
                return 0
            }
            return isFree
        }
    }

    private func identityFiles() throws -> (certificate: String, key: String) {
        let development = try TLSIdentity.selfSigned(for: [self.ground.serverHost])
        let (key, certificate) = ("\(self.scratch)/key.pem", "\(self.scratch)/certificate.pem")
        try Data(development.keyPEM).write(to: URL(filePath: key))
        try Data(development.certificatePEM).write(to: URL(filePath: certificate))
        return (certificate, key)
    }

    /// A directory with a file of zeros that takes no room on the disk, named by its size.
    private func fileOfZeros() throws -> String {
        let directory = "\(self.scratch)/htdocs"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        let file = "\(directory)/\(self.byteCount)"
        guard access(file, R_OK) != 0 else { return directory }
        let descriptor = open(file, O_RDWR | O_CREAT, 0o644)
        guard descriptor >= 0 else { throw BenchmarkError("cannot make \(file): error \(errno)") }
        defer { close(descriptor) }
        guard ftruncate(descriptor, off_t(self.byteCount)) == 0 else {
            throw BenchmarkError("ftruncate: error \(errno)")
        }
        // Read once, so that it is in memory for everybody.
        var chunk = [UInt8](repeating: 0, count: 1 << 20)
        while read(descriptor, &chunk, chunk.count) > 0 {}
        return directory
    }
}
