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

/// Where a contender runs: a directory of its own making, and the programs that it starts.
final class Stage {
    /// For what does not outlive the run. On the disk that the results are on, since a temporary directory may be in
    /// memory, where flushing to stable storage costs nothing.
    let scratch: String
    /// Called a few times a second while a program is waited for.
    let tick: () -> Void

    /// How long a contender may take before it counts as stuck.
    static let patience = Duration.seconds(180)

    init(scratch: String, tick: @escaping () -> Void) {
        self.scratch = scratch
        self.tick = tick
    }

    /// Starts this program in another role.
    func start(_ role: Role, name: String) throws -> ChildProcess {
        try ChildProcess(name, role: role, scratch: self.scratch)
    }

    /// What a program of ours tells.
    func answer<Answer: Decodable>(of child: ChildProcess) throws -> Answer {
        try child.answer(within: Self.patience, whileWaiting: self.tick)
    }

    /// Starts one of the bare programs that Tern is compared with.
    func startPeer(_ arguments: [String]) throws -> ChildProcess {
        let directory = URL(filePath: ChildProcess.ownPath).resolvingSymlinksInPath().deletingLastPathComponent()
        let program = directory.appending(path: "tern-bench-peers").path
        return try ChildProcess("peer-\(arguments[0])", program, arguments, scratch: self.scratch)
    }

    /// A certificate and its key in files, for programs that want them so.
    func identityFiles() throws -> (certificate: String, key: String, authority: String) {
        let development = try TLSIdentity.selfSigned()
        let (key, certificate) = ("\(self.scratch)/key.pem", "\(self.scratch)/certificate.pem")
        try Data(development.keyPEM).write(to: URL(filePath: key))
        try Data(development.certificatePEM).write(to: URL(filePath: certificate))
        return (certificate, key, String(decoding: development.certificateAuthorityPEM, as: UTF8.self))
    }

    /// A file of zeros that takes no room on the disk, read once so that it is in memory for everybody.
    func sparseFile(_ byteCount: Int) throws -> String {
        let directory = "\(self.scratch)/htdocs"
        let file = "\(directory)/\(byteCount)"
        guard access(file, R_OK) != 0 else { return file }
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        let descriptor = open(file, O_RDWR | O_CREAT, 0o600)
        guard descriptor >= 0 else { throw BenchmarkError("cannot make \(file): error \(errno)") }
        defer { close(descriptor) }
        guard ftruncate(descriptor, off_t(byteCount)) == 0 else { throw BenchmarkError("ftruncate: error \(errno)") }
        var chunk = [UInt8](repeating: 0, count: 1 << 20)
        while read(descriptor, &chunk, chunk.count) > 0 {}
        return file
    }
}
