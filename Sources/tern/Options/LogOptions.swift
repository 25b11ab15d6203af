// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser
internal import Logging

/// What is logged, on standard error.
struct LogOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("Log what is at least this serious, to standard error.", valueName: "level"))
    var logLevel: Level = .warning

    enum Level: String, ExpressibleByArgument, CaseIterable {
        case trace
        case debug
        case info
        case warning
        case error
    }

    func makeLogger(label: String) -> Logger {
        var logger = Logger(label: label) { label in StreamLogHandler.standardError(label: label) }
        logger.logLevel = Logger.Level(rawValue: self.logLevel.rawValue) ?? .warning
        return logger
    }
}
