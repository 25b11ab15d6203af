// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ChildProcesses
import Foundation
import Testing

/// The built command as a process of its own, in a directory that goes away with the test.
final class TernProgram: Sendable {
    /// What a run printed, and how it ended.
    struct Run: Sendable {
        let exitCode: Int32
        let output: [String]
        let errors: String
    }

    let directory: URL
    private let executable: URL

    init() throws {
        self.executable = try Programs.named("tern")
        self.directory = FileManager.default.temporaryDirectory.appending(path: "tern-command-\(UUID())")
        try FileManager.default.createDirectory(at: self.directory, withIntermediateDirectories: true)
    }

    deinit {
        try? FileManager.default.removeItem(at: self.directory)
    }

    /// A path in the directory of this test.
    func path(_ name: String) -> String { self.directory.appending(path: name).path }

    /// A file that nobody else can read.
    func writeSecret(_ text: String, to name: String = "secret") throws {
        try Data(text.utf8).write(to: URL(filePath: self.path(name)))
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: self.path(name))
    }

    func start(
        _ arguments: [String], input: FileHandle? = nil, environment: [String: String] = [:]
    ) throws -> RunningTern {
        let errors = self.directory.appending(path: "errors-\(UUID())")
        let process = try ChildProcess(
            name: arguments.first ?? "", executable: self.executable, arguments: arguments, environment: environment,
            input: input, log: errors)
        return RunningTern(process: process, errors: errors)
    }

    /// Starts the command with a standard output that only the test reads, or not.
    func startUnread(_ arguments: [String], input: FileHandle? = nil) throws -> UnreadTern {
        try UnreadTern(
            self.executable, arguments, input: input, errors: self.directory.appending(path: "errors-\(UUID())"))
    }

    /// Runs the command to its end.
    func run(_ arguments: [String], input: String = "", environment: [String: String] = [:]) async throws -> Run {
        let pipe = Pipe()
        let process = try self.start(arguments, input: pipe.fileHandleForReading, environment: environment)
        DispatchQueue.global().async {
            try? pipe.fileHandleForWriting.write(contentsOf: Data(input.utf8))
            try? pipe.fileHandleForWriting.close()
        }
        return await process.end()
    }

    /// Starts a server that everybody may use, on a port that is free.
    func serve(
        data: String = "data", _ arguments: [String] = ["--self-signed", "--development"],
        environment: [String: String] = [:]
    ) async throws -> RunningServer {
        let running = try self.start(
            ["serve", "--json", "--listen", "127.0.0.1:0", "--data", self.path(data)] + arguments,
            environment: environment)
        var lines = running.process.lines.makeAsyncIterator()
        let line = try #require(await lines.next(), "\(running.readErrors())")
        return RunningServer(running: running, ready: try JSON(line.text))
    }
}

/// A process that has not ended yet.
struct RunningTern: Sendable {
    let process: ChildProcess
    let errors: URL

    func readErrors() -> String { (try? String(contentsOf: self.errors, encoding: .utf8)) ?? "" }

    /// Waits for the end.
    func end() async -> TernProgram.Run {
        var output: [String] = []
        for await line in self.process.lines { output.append(line.text) }
        return TernProgram.Run(exitCode: await self.process.exitCode(), output: output, errors: self.readErrors())
    }
}

/// A process whose output waits in its pipe until the test reads it.
final class UnreadTern: Sendable {
    private let process: Process
    private let output = Pipe()
    private let errors: URL
    private let exit: AsyncStream<Int32>

    init(_ executable: URL, _ arguments: [String], input: FileHandle?, errors: URL) throws {
        self.process = Process()
        self.errors = errors
        self.process.executableURL = executable
        self.process.arguments = arguments
        self.process.standardInput = input ?? .nullDevice
        self.process.standardOutput = self.output
        _ = FileManager.default.createFile(atPath: errors.path, contents: nil)
        self.process.standardError = try FileHandle(forWritingTo: errors)
        let (exit, exited) = AsyncStream.makeStream(of: Int32.self)
        self.exit = exit
        self.process.terminationHandler = { process in
            exited.yield(
                process.terminationReason == .exit ? process.terminationStatus : 128 + process.terminationStatus)
            exited.finish()
        }
        try self.process.run()
    }

    func send(signal: Int32) { kill(self.process.processIdentifier, signal) }

    func readErrors() -> String { (try? String(contentsOf: self.errors, encoding: .utf8)) ?? "" }

    /// Returns when so much waits in the pipe that the next line does not fit, or the process ended.
    func untilPipeIsFull() async throws {
        while self.process.isRunning {
            var count: Int32 = 0
            _ = ioctl(self.output.fileHandleForReading.fileDescriptor, UInt(FIONREAD), &count)
            // A line goes into what its page has left or into the next page, of which a pipe has sixteen.
            if count > 48_000 { return }
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    /// From now on nobody can read it.
    func closeOutput() { try? self.output.fileHandleForReading.close() }

    /// Reads everything, on a thread that may wait.
    func readAll() async throws -> [Substring] {
        let handle = self.output.fileHandleForReading
        let data = try await withCheckedThrowingContinuation { continuation in
            Thread { continuation.resume(with: Result { try handle.readToEnd() ?? Data() }) }.start()
        }
        return String(decoding: data, as: UTF8.self).split(separator: "\n")
    }

    /// The exit code; a process that does not end within a minute is killed. Call it once.
    func exitCode() async -> Int32 {
        let limit = Task {
            try await Task.sleep(for: .seconds(60))
            self.send(signal: SIGKILL)
        }
        defer { limit.cancel() }
        for await code in self.exit { return code }
        return -1
    }
}

/// A server that said that it is ready.
struct RunningServer: Sendable {
    let running: RunningTern
    let ready: JSON

    var address: String { self.ready.string("quic") ?? "" }
    var caFile: String { self.ready.string("caFile") ?? "" }
    var port: Int { self.address.split(separator: ":").last.flatMap { Int($0) } ?? 0 }

    /// Ends it as an operator does.
    func stop() async -> TernProgram.Run {
        self.running.process.send(signal: SIGTERM)
        return await self.running.end()
    }
}

/// One JSON line.
struct JSON: Sendable {
    let text: String
    private let strings: [String: String]
    private let numbers: [String: Double]

    init(_ text: String) throws {
        let object = try JSONSerialization.jsonObject(with: Data(text.utf8))
        let fields = try #require(object as? [String: Any], "a JSON object: \(text)")
        self.text = text
        self.strings = fields.compactMapValues { $0 as? String }
        self.numbers = fields.compactMapValues { ($0 as? NSNumber)?.doubleValue }
    }

    var event: String? { self.string("event") }

    func string(_ name: String) -> String? { self.strings[name] }
    func number(_ name: String) -> Double? { self.numbers[name] }
}
