// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation
internal import Tern

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Darwin)
internal import Darwin
#endif

/// `gtlsserver` and `gtlsclient`: ngtcp2's own programs (HTTP/3), as the distribution packages them. They use the same
/// ngtcp2 and GnuTLS as Tern does.
struct ForeignPair {
    private let stage: Stage
    private let server: String
    private let client: String
    private let port: Int

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
        self.port = try Self.freePort()
    }

    func startServer(directory: String) throws -> ChildProcess {
        let development = try TLSIdentity.selfSigned()
        let (key, certificate) = ("\(self.stage.scratch)/key.pem", "\(self.stage.scratch)/certificate.pem")
        try Data(development.keyPEM).write(to: URL(filePath: key))
        try Data(development.certificatePEM).write(to: URL(filePath: certificate))
        let server = try ChildProcess(
            "gtlsserver", self.server, ["-q", "-d", directory, "127.0.0.1", "\(self.port)", key, certificate],
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
        let deadline = ContinuousClock.now + .seconds(10)
        while try Self.isFree(self.port) {
            guard ContinuousClock.now < deadline else { throw BenchmarkError("gtlsserver does not listen") }
            usleep(2_000)
        }
    }

    /// The server takes no port 0: the kernel is asked for one, which is free again when the server binds it.
    private static func freePort() throws -> Int {
        try Self.withSocket(boundTo: 0) { descriptor in
            guard let descriptor else { throw BenchmarkError("no UDP port is free") }
            var address = sockaddr_in()
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { _ = getsockname(descriptor, $0, &length) }
            }
            return Int(UInt16(bigEndian: address.sin_port))
        }
    }

    private static func isFree(_ port: Int) throws -> Bool {
        try Self.withSocket(boundTo: UInt16(port)) { $0 != nil }
    }

    private static func withSocket<Result>(boundTo port: UInt16, _ body: (Int32?) throws -> Result) throws -> Result {
        #if canImport(Glibc)
        let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        #else
        let descriptor = socket(AF_INET, SOCK_DGRAM, 0)
        #endif
        guard descriptor >= 0 else { throw BenchmarkError("socket: error \(errno)") }
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        return try body(result == 0 ? descriptor : nil)
    }
}
