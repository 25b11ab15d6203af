// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import Testing

/// ngtcp2's own server and client as the distribution packages them, with what its packages call them.
enum DistributionProgram: String {
    case gtlsserver, gtlsclient

    var executable: URL? {
        let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
        let directories = path.split(separator: ":").map(String.init) + ["/usr/sbin"]
        return directories.map { URL(filePath: $0).appending(path: self.rawValue) }
            .first { FileManager.default.isExecutableFile(atPath: $0.path) }
    }

    var reason: Comment {
        "\(self.rawValue) is not installed: package \(self == .gtlsserver ? "ngtcp2-server" : "ngtcp2-client")"
    }
}

extension Trait where Self == ConditionTrait {
    /// Skips a test that needs the program where it is missing; with CI=true the test fails there.
    static func needs(_ program: DistributionProgram) -> Self {
        .enabled(if: program.executable != nil || PythonPeer.isRequired, program.reason)
    }
}

/// `gtlsserver` on a port that the kernel chose.
final class DistributionServer: Sendable {
    let port: Int
    private let process: Process

    init(_ files: ServerFiles, documents: URL) async throws {
        let process = Process()
        let program = DistributionProgram.gtlsserver
        let executable = try #require(program.executable, program.reason)
        process.executableURL = executable
        process.arguments = ["-q", "-d", documents.path, "127.0.0.1", "0", files.key.path, files.certificate.path]
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        self.process = process
        do {
            self.port = try await Self.boundPort(of: process)
        } catch {
            kill(process.processIdentifier, SIGKILL)
            throw error
        }
    }

    deinit {
        if self.process.isRunning { kill(self.process.processIdentifier, SIGKILL) }
        self.process.waitUntilExit()
    }

    /// It does not say where it listens, so the kernel is asked until it does.
    private static func boundPort(of process: Process) async throws -> Int {
        while process.isRunning {
            if let port = Self.port(of: process.processIdentifier) { return port }
            try await Task.sleep(for: .milliseconds(5))
        }
        throw ProgramEnded(description: "gtlsserver ended with \(process.terminationStatus) before it listened")
    }

    private static func port(of process: Int32) -> Int? {
        let descriptors = "/proc/\(process)/fd"
        let names = (try? FileManager.default.contentsOfDirectory(atPath: descriptors)) ?? []
        let sockets = names.compactMap { name -> Substring? in
            let target = try? FileManager.default.destinationOfSymbolicLink(atPath: "\(descriptors)/\(name)")
            guard let target, target.hasPrefix("socket:[") else { return nil }
            return target.dropFirst("socket:[".count).dropLast()
        }
        let table = (try? String(contentsOfFile: "/proc/net/udp", encoding: .utf8)) ?? ""
        for line in table.split(separator: "\n").dropFirst() {
            // The second field is the local address as hexadecimal "address:port", the tenth the socket's inode.
            let fields = line.split(separator: " ")
            guard fields.count > 9, sockets.contains(fields[9]) else { continue }
            return fields[1].split(separator: ":").last.flatMap { Int($0, radix: 16) }
        }
        return nil
    }
}

struct ProgramEnded: Error, CustomStringConvertible {
    var description: String
}
