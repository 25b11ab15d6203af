// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation

/// A process that writes to a store, and what it printed.
final class Victim: Sendable {
    struct Acknowledgement: Hashable {
        var group: UInt64
        var epoch: UInt32
        var sequence: UInt64
        var high: UInt64
        var low: UInt64

        init?(_ line: Substring) {
            let numbers = line.split(separator: " ").compactMap { UInt64($0) }
            guard numbers.count == 5, let epoch = UInt32(exactly: numbers[1]) else { return nil }
            self.group = numbers[0]
            self.epoch = epoch
            self.sequence = numbers[2]
            self.high = numbers[3]
            self.low = numbers[4]
        }
    }

    struct End {
        var lines: [Substring]
        var errors: String
        var status: Int32
        var wasKilled: Bool
    }

    let identifier: Int32
    private let process: Process
    private let input = Pipe()
    private let output = Pipe()
    private let errors = Pipe()

    init(_ arguments: [String]) throws {
        // In the folder that TERN_PROGRAMS names, such as that of optimised programs; without it beside the one that runs.
        let own = URL(fileURLWithPath: ProcessInfo.processInfo.arguments[0]).resolvingSymlinksInPath()
        let named = ProcessInfo.processInfo.environment["TERN_PROGRAMS"].flatMap { $0.isEmpty ? nil : $0 }
        let folder = named.map { URL(fileURLWithPath: $0, isDirectory: true) } ?? own.deletingLastPathComponent()
        self.process = Process()
        self.process.executableURL = folder.appendingPathComponent("tern-store-victim")
        self.process.arguments = arguments
        self.process.standardInput = self.input
        self.process.standardOutput = self.output
        self.process.standardError = self.errors
        try self.process.run()
        self.identifier = self.process.processIdentifier
    }

    /// Reads so many lines, or all of them, then kills the process if `kills`, and reads what was printed until the end.
    func readLines(_ count: Int = .max, thenKill kills: Bool) async -> End {
        await withCheckedContinuation { continuation in
            Thread.detachNewThread { continuation.resume(returning: self.readBlocking(count, thenKill: kills)) }
        }
    }

    private func readBlocking(_ count: Int, thenKill kills: Bool) -> End {
        var bytes = Data()
        var seen = 0
        var isKilled = false
        if kills, count == 0 {
            kill(self.identifier, SIGKILL)
            isKilled = true
        }
        while case let chunk = self.output.fileHandleForReading.availableData, !chunk.isEmpty {
            bytes += chunk
            seen += chunk.count { $0 == UInt8(ascii: "\n") }
            if kills, !isKilled, seen >= count {
                kill(self.identifier, SIGKILL)
                isKilled = true
            } else if !kills, seen >= count {
                break
            }
        }
        var end = End(lines: [], errors: "", status: 0, wasKilled: false)
        // The last line is whole: it was printed by one write.
        end.lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
        guard kills || count == .max else { return end }
        end.errors = String(decoding: self.errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        self.process.waitUntilExit()
        end.status = self.process.terminationStatus
        end.wasKilled = self.process.terminationReason == .uncaughtSignal
        return end
    }
}
