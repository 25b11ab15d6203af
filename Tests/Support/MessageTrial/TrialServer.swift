// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ChildProcesses
import Foundation
import NIOCore

/// The server's process: killed, drained, and started again on the same data.
actor TrialServer {
    /// Which program is the server.
    enum Kind: String, Sendable {
        /// `tern serve`, as its users have it.
        case command
        /// The same parts with limits so low that every queue fills, see ``NarrowServer``.
        case narrow
        /// With a low rate of messages, besides.
        case strict
    }

    /// Seconds that its clients have to leave.
    static let grace = 2
    /// How long something may take on a busy machine before it is said to hang.
    static let patience = Duration.seconds(90)

    nonisolated let data: URL
    nonisolated let log: URL
    private let durability: String
    private var process: ChildProcess?
    private var exit: Task<Int32, Never>?
    private(set) var starts = 0
    private(set) var failures: [String] = []

    init(directory: URL, durability: String) {
        self.data = directory.appending(path: "data")
        self.log = directory.appending(path: "server.log")
        self.durability = durability
    }

    nonisolated var certificateAuthority: String { self.data.appending(path: "ca.pem").path }

    /// - Returns: where it listens, by UDP and TCP.
    func start(_ kind: Kind) async throws -> SocketAddress {
        let program = try Programs.named(kind == .command ? "tern" : "tern-message-trial")
        let common = ["--data", self.data.path, "--drain", "\(Self.grace)", "--durability", self.durability]
        let options = ["--json", "--listen", "127.0.0.1:0", "--self-signed", "--development"]
        let process = try ChildProcess(
            name: "server", executable: program,
            arguments: ["serve"] + common + (kind == .command ? options : ["--limits", kind.rawValue]),
            environment: [:], input: nil,
            log: self.log)
        self.process = process
        self.starts += 1
        // Its whole output is read, so that it never waits for a reader.
        let (ready, isReady) = AsyncStream.makeStream(of: String.self)
        let reader = Task {
            for await line in process.lines { isReady.yield(line.text) }
            isReady.finish()
        }
        self.exit = Task {
            let code = await process.exitCode()
            await reader.value
            return code
        }
        let line = try await within(Self.patience) { await ready.first { _ in true } } ?? nil
        guard let line, let address = Self.address(in: line) else {
            process.send(signal: SIGKILL)
            throw TrialError(
                "the server (\(kind)) did not become ready: \(line ?? "it said nothing"); see \(self.log.path)")
        }
        return address
    }

    private static func address(in line: String) -> SocketAddress? {
        let object = try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
        guard let text = object?["quic"] as? String, let port = text.split(separator: ":").last.flatMap({ Int($0) })
        else { return nil }
        return try? SocketAddress(ipAddress: "127.0.0.1", port: port)
    }

    /// SIGKILL, in the middle of whatever it does.
    func kill() async {
        let code = await self.end(by: SIGKILL, within: Self.patience)
        if let code, code != 128 + SIGKILL { self.failures.append("the server ended by itself, with \(code)") }
    }

    /// SIGTERM: it has its grace, and what a busy machine needs.
    func drain() async {
        switch await self.end(by: SIGTERM, within: .seconds(Self.grace + 20)) {
        case 0, nil: break
        case 128 + SIGKILL:
            self.failures.append("the server did not end within its grace of \(Self.grace) s, and 20 more")
        case let code?: self.failures.append("the server ended by SIGTERM with \(code)")
        }
    }

    /// - Returns: its exit code; that of SIGKILL when it took too long.
    private func end(by signal: Int32, within limit: Duration) async -> Int32? {
        guard let process, let exit else { return nil }
        self.process = nil
        process.send(signal: signal)
        let watchdog = Task {
            guard (try? await Task.sleep(for: limit)) != nil else { return }
            process.send(signal: SIGKILL)
        }
        defer { watchdog.cancel() }
        return await exit.value
    }

    /// Ends what is left.
    func stop() async {
        _ = await self.end(by: SIGKILL, within: Self.patience)
    }
}
