// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTransport

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// What the command prints: data on standard output, what is told about it on standard error; with `--json` events as JSON lines
/// on standard output, and errors as JSON lines on standard error.
///
/// Every call writes whole lines; calls may come from any task. What goes to standard output suspends its task while the reader is
/// slow; what goes to standard error is written behind it, see ``flush()``.
final class Output: Sendable {
    /// How long a reader is waited for when the command is told to end.
    private static let lastPatience = Duration.seconds(1)

    let isJSON: Bool
    private let isTerminal: Bool
    private let writer = DescriptorWriter()

    init(json: Bool) {
        self.isJSON = json
        self.isTerminal = isatty(STDOUT_FILENO) == 1
    }

    /// A JSON line, or what a person sees in its place.
    func event(_ line: JSONLine, orText text: @autoclosure () -> String) async throws(CommandError) {
        try await self.writer.write(Array((self.isJSON ? line.line : text() + "\n").utf8), to: STDOUT_FILENO)
    }

    /// A JSON line, or a line on standard error: for what happens beside the data.
    func status(_ line: JSONLine, orText text: @autoclosure () -> String) async throws(CommandError) {
        if self.isJSON {
            try await self.writer.write(Array(line.line.utf8), to: STDOUT_FILENO)
        } else {
            self.note(text())
        }
    }

    /// A JSON line, or the payload and a line end: its bytes as they are, but to a terminal as text that cannot steer it.
    func message(_ line: JSONLine, orPayload payload: ByteBuffer) async throws(CommandError) {
        if self.isJSON {
            try await self.writer.write(Array(line.line.utf8), to: STDOUT_FILENO)
        } else {
            try await self.writer.write(Self.line(of: payload, forTerminal: self.isTerminal), to: STDOUT_FILENO)
        }
    }

    static func line(of payload: ByteBuffer, forTerminal isTerminal: Bool) -> [UInt8] {
        guard isTerminal else { return Array(payload.readableBytesView) + [UInt8(ascii: "\n")] }
        return Array((Self.singleLine(String(decoding: payload.readableBytesView, as: UTF8.self)) + "\n").utf8)
    }

    /// A line for people, with or without `--json`.
    func note(_ text: String) {
        // Nobody can be told that standard error is gone.
        self.writer.post(Array("tern: \(Self.singleLine(text))\n".utf8), to: STDERR_FILENO)
    }

    /// A line about what works, and should not be so.
    func warn(_ text: String) {
        self.note("WARNING: \(text)")
    }

    func report(_ error: CommandError) {
        guard self.isJSON else { return self.note("error: \(error.message)") }
        var line = JSONLine(event: "error")
        line.add("code", error.code.name)
        line.add("exitCode", error.code.rawValue)
        line.add("message", Self.singleLine(error.message))
        self.writer.post(Array(line.line.utf8), to: STDERR_FILENO)
    }

    /// What is wrong with the command line: in JSON as every other error, for people with the usage below it.
    func reportUsage(_ message: String, explained: String) {
        guard !self.isJSON else { return self.report(CommandError(.usage, message)) }
        // It quotes the command line, which may be a script's.
        let lines = explained.split(separator: "\n", omittingEmptySubsequences: false).map {
            Self.singleLine(String($0))
        }
        self.writer.post(Array((lines.joined(separator: "\n") + "\n").utf8), to: STDERR_FILENO)
    }

    /// Messages may quote what a peer said: it must not forge lines or move the cursor of a terminal.
    static func singleLine(_ text: String) -> String {
        var line = String.UnicodeScalarView()
        for scalar in text.unicodeScalars { line.append(["\n", "\r", "\t"].contains(scalar) ? " " : scalar) }
        return String(line).printable(atMost: .max, keepsJoiners: true)
    }

    /// Waits until everything was written.
    func flush() async {
        await self.writer.flush()
    }

    /// The command was told to end: its reader has a second left.
    func endSoon() {
        Task {
            try? await Task.sleep(for: Self.lastPatience)
            self.writer.giveUp()
        }
    }
}

/// Without this a reader that goes away would end the process by a signal, before it could say so or drain.
func ignoreBrokenPipes() {
    _ = signal(SIGPIPE, SIG_IGN)
}

/// What the system says about an error number.
func errorText(_ number: Int32) -> String {
    unsafe String(cString: strerror(number))
}
