// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Darwin)
internal import Darwin
#endif

/// A server and a client of others, with which Tern is compared.
package protocol ForeignPair {
    var ground: ForeignGround { get }

    /// - Parameter directory: holds the files that clients may ask for.
    func startServer(directory: String) throws -> ChildProcess

    /// - Parameter path: of a file below the server's directory.
    func startClient(path: String) throws -> ChildProcess
}

/// What came of one fetch.
package struct ForeignFetch {
    /// What the client printed.
    package var text: String
    package var client: ChildProcess.Ending
    package var server: ChildProcess.Ending
}

extension ForeignPair {
    /// Starts the server, lets the client fetch a file of so many zeros, and ends the server.
    package func fetch(_ byteCount: Int, within limit: Duration, whileWaiting: () -> Void = {}) throws -> ForeignFetch {
        let file = URL(filePath: try sparseFile(byteCount, in: self.ground.scratch))
        let server = try self.startServer(directory: file.deletingLastPathComponent().path)
        let (text, ending) = try self.startClient(path: file.lastPathComponent)
            .output(within: limit, whileWaiting: whileWaiting)
        return ForeignFetch(text: text, client: ending, server: try server.stop(.signal(SIGTERM)))
    }
}

/// Where programs of others run.
package struct ForeignGround {
    /// A directory for their files.
    package var scratch: String
    /// The address that the server listens at.
    package var serverHost = "127.0.0.1"
    package var serverPlace: ChildProcess.Place = { try $0() }
    package var clientPlace: ChildProcess.Place = { try $0() }

    package init(scratch: String) {
        self.scratch = scratch
    }

    package func startServer(_ program: String, name: String? = nil, _ arguments: [String]) throws -> ChildProcess {
        try self.start(program, name: name, arguments, in: self.serverPlace)
    }

    package func startClient(_ program: String, name: String? = nil, _ arguments: [String]) throws -> ChildProcess {
        try self.start(program, name: name, arguments, in: self.clientPlace)
    }

    /// A port that is free at the server's place.
    package func freePort(_ kind: FreePort.Kind) throws -> Int {
        try self.atServer { try FreePort.find(kind) }
    }

    package func untilTaken(_ port: Int, _ kind: FreePort.Kind, by program: String) throws {
        try FreePort.untilTaken(by: program) { try self.atServer { try FreePort.isTaken(port, kind) } }
    }

    private func start(
        _ program: String, name: String?, _ arguments: [String], in place: ChildProcess.Place
    ) throws -> ChildProcess {
        guard let path = ChildProcess.path(of: program) else { throw BenchmarkError("\(program) is not installed") }
        return try ChildProcess(name ?? program, path, arguments, scratch: self.scratch, in: place)
    }

    private func atServer<Value>(_ body: () throws -> Value) throws -> Value {
        var value: Value?
        _ = try self.serverPlace {
            value = try body()
            return 0
        }
        guard let value else { throw BenchmarkError("the server's place runs nothing") }
        return value
    }
}

/// Programs of others, and the package of Debian and Ubuntu that each is in.
package enum ForeignProgram: String {
    case nginx, curl, gtlsserver, gtlsclient, iperf3

    /// Why these cannot be compared with; `nil` when they can.
    package static func missing(_ programs: [ForeignProgram]) -> String? {
        programs.first { ChildProcess.path(of: $0.rawValue) == nil }.map {
            "\($0.rawValue) is not installed (package \($0.package) of Debian and Ubuntu)"
        }
    }

    private var package: String {
        switch self {
        case .gtlsserver: "ngtcp2-server"
        case .gtlsclient: "ngtcp2-client"
        case .nginx, .curl, .iperf3: self.rawValue
        }
    }
}

/// A certificate and its key in files, for programs that want them so.
package struct IdentityFiles {
    package let certificate: String
    package let key: String

    /// - Parameters:
    ///   - certificatePEM: of the server's address.
    ///   - scratch: the directory of the files.
    package init(certificatePEM: [UInt8], keyPEM: [UInt8], in scratch: String) throws {
        (self.certificate, self.key) = ("\(scratch)/certificate.pem", "\(scratch)/key.pem")
        try Data(keyPEM).write(to: URL(filePath: self.key))
        try Data(certificatePEM).write(to: URL(filePath: self.certificate))
    }
}

/// A file of zeros that takes no room on the disk, read once so that it is in memory for everybody. Its name is its size; what
/// is in its directory may be handed to servers.
package func sparseFile(_ byteCount: Int, in scratch: String) throws -> String {
    let directory = "\(scratch)/htdocs"
    let file = "\(directory)/\(byteCount)"
    guard access(file, R_OK) != 0 else { return file }
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    let descriptor = open(file, O_RDWR | O_CREAT, 0o644)
    guard descriptor >= 0 else { throw BenchmarkError("cannot make \(file): error \(errno)") }
    defer { close(descriptor) }
    guard ftruncate(descriptor, off_t(byteCount)) == 0 else { throw BenchmarkError("ftruncate: error \(errno)") }
    var chunk = [UInt8](repeating: 0, count: 1 << 20)
    while read(descriptor, &chunk, chunk.count) > 0 {}
    return file
}
