// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import Synchronization
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
/// Every call writes whole lines; calls may come from any task. A write waits while the reader is slow.
final class Output: Sendable {
    let isJSON: Bool
    private let isTerminal: Bool
    private let turn = Mutex<Void>(())

    init(json: Bool) {
        self.isJSON = json
        self.isTerminal = isatty(STDOUT_FILENO) == 1
    }

    /// A JSON line, or what a person sees in its place.
    func event(_ line: JSONLine, orText text: @autoclosure () -> String) throws(CommandError) {
        try self.write(Array((self.isJSON ? line.line : text() + "\n").utf8), to: STDOUT_FILENO)
    }

    /// A JSON line, or a line on standard error: for what happens beside the data.
    func status(_ line: JSONLine, orText text: @autoclosure () -> String) throws(CommandError) {
        if self.isJSON {
            try self.write(Array(line.line.utf8), to: STDOUT_FILENO)
        } else {
            self.note(text())
        }
    }

    /// A JSON line, or the payload and a line end: its bytes as they are, but to a terminal as text that cannot steer it.
    func message(_ line: JSONLine, orPayload payload: ByteBuffer) throws(CommandError) {
        if self.isJSON {
            try self.write(Array(line.line.utf8), to: STDOUT_FILENO)
        } else {
            try self.write(Self.line(of: payload, forTerminal: self.isTerminal), to: STDOUT_FILENO)
        }
    }

    static func line(of payload: ByteBuffer, forTerminal isTerminal: Bool) -> [UInt8] {
        guard isTerminal else { return Array(payload.readableBytesView) + [UInt8(ascii: "\n")] }
        return Array((Self.singleLine(String(decoding: payload.readableBytesView, as: UTF8.self)) + "\n").utf8)
    }

    /// A line for people, with or without `--json`.
    func note(_ text: String) {
        // Nobody can be told that standard error is gone.
        try? self.write(Array("tern: \(Self.singleLine(text))\n".utf8), to: STDERR_FILENO)
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
        try? self.write(Array(line.line.utf8), to: STDERR_FILENO)
    }

    /// What is wrong with the command line: in JSON as every other error, for people with the usage below it.
    func reportUsage(_ message: String, explained: String) {
        guard !self.isJSON else { return self.report(CommandError(.usage, message)) }
        // It quotes the command line, which may be a script's.
        let lines = explained.split(separator: "\n", omittingEmptySubsequences: false).map {
            Self.singleLine(String($0))
        }
        try? self.write(Array((lines.joined(separator: "\n") + "\n").utf8), to: STDERR_FILENO)
    }

    /// Messages may quote what a peer said: it must not forge lines or move the cursor of a terminal.
    static func singleLine(_ text: String) -> String {
        var line = String.UnicodeScalarView()
        for scalar in text.unicodeScalars { line.append(["\n", "\r", "\t"].contains(scalar) ? " " : scalar) }
        return String(line).printable(atMost: .max, keepsJoiners: true)
    }

    private func write(_ bytes: [UInt8], to descriptor: Int32) throws(CommandError) {
        try self.turn.withLock { (_) throws(CommandError) in
            var rest = bytes[...]
            while !rest.isEmpty {
                let count = unsafe rest.withUnsafeBytes { unsafe systemWrite(descriptor, $0.baseAddress, $0.count) }
                if count > 0 {
                    rest = rest.dropFirst(count)
                } else if errno == EAGAIN {
                    // Somebody else made the shared descriptor non-blocking: wait until it takes more.
                    var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                    _ = unsafe poll(&wait, 1, -1)
                } else if errno != EINTR {
                    throw CommandError(.inputOutput, "cannot write the output: \(errorText(errno))")
                }
            }
        }
    }
}

/// The name `write` is taken inside ``Output``.
private func systemWrite(_ descriptor: Int32, _ bytes: UnsafeRawPointer?, _ count: Int) -> Int {
    unsafe write(descriptor, bytes, count)
}

/// Without this a reader that goes away would end the process by a signal, before it could say so or drain.
func ignoreBrokenPipes() {
    _ = signal(SIGPIPE, SIG_IGN)
}

/// What the system says about an error number.
func errorText(_ number: Int32) -> String {
    unsafe String(cString: strerror(number))
}
