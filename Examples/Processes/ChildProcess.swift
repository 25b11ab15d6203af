// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import Foundation
import Synchronization

/// A program that this one started. What still runs at the end is to be ended with ``killAll()``.
package final class ChildProcess: Sendable {
    /// One line of its standard output and when it came.
    package struct Line: Sendable {
        package let text: String
        package let time: ContinuousClock.Instant
    }

    package let name: String
    /// What it prints, line by line, to the end. The sequence has one reader.
    package let lines: AsyncStream<Line>

    private let process: Process
    private let exit: AsyncStream<Int32>

    private static let running = Mutex<[Int32: ChildProcess]>([:])

    /// - Parameters:
    ///   - input: what it reads; nothing when `nil`.
    ///   - log: the file that gets its standard error.
    package init(
        name: String, executable: URL, arguments: [String], environment: [String: String], input: FileHandle?, log: URL
    ) throws {
        self.name = name
        let process = Process()
        process.executableURL = executable
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { _, new in new }
        process.standardInput = input ?? .nullDevice
        process.standardError = try Self.appending(to: log)
        let output = Pipe()
        process.standardOutput = output

        let (exit, exited) = AsyncStream.makeStream(of: Int32.self, bufferingPolicy: .bufferingNewest(1))
        process.terminationHandler = { process in
            Self.running.withLock { $0[process.processIdentifier] = nil }
            exited.yield(
                process.terminationReason == .exit ? process.terminationStatus : 128 + process.terminationStatus)
            exited.finish()
        }
        try process.run()
        self.process = process
        self.exit = exit
        self.lines = Self.lines(of: output.fileHandleForReading)
        Self.running.withLock { $0[process.processIdentifier] = self }
        // It may have ended before it was entered.
        if !process.isRunning { Self.running.withLock { $0[process.processIdentifier] = nil } }
    }

    /// Waits for the end: its exit code, or 128 and the signal that ended it. Call it once.
    package func exitCode() async -> Int32 {
        for await code in self.exit { return code }
        return -1
    }

    package var processIdentifier: Int32 { self.process.processIdentifier }

    package func send(signal: Int32) {
        if self.process.isRunning { kill(self.process.processIdentifier, signal) }
    }

    /// Ends every child that still runs.
    package static func killAll() {
        for child in Self.running.withLock({ Array($0.values) }) { child.send(signal: SIGKILL) }
    }

    private static func appending(to log: URL) throws -> FileHandle {
        if !FileManager.default.fileExists(atPath: log.path) {
            _ = FileManager.default.createFile(atPath: log.path, contents: nil)
        }
        let handle = try FileHandle(forWritingTo: log)
        try handle.seekToEnd()
        return handle
    }

    /// Reads on a thread of its own. What waits for the reader of the sequence is bounded by what the child prints.
    private static func lines(of pipe: FileHandle) -> AsyncStream<Line> {
        let (lines, printed) = AsyncStream.makeStream(of: Line.self)
        Thread {
            var rest = Data()
            while true {
                // Not read(upToCount:), which waits until so much is there.
                let chunk = pipe.availableData
                if chunk.isEmpty { break }
                let now = ContinuousClock.now
                rest.append(chunk)
                var start = rest.startIndex
                while let end = rest[start...].firstIndex(of: UInt8(ascii: "\n")) {
                    printed.yield(Line(text: String(decoding: rest[start..<end], as: UTF8.self), time: now))
                    start = rest.index(after: end)
                }
                rest = Data(rest[start...])
            }
            printed.finish()
        }.start()
        return lines
    }
}
