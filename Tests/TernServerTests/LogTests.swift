// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Logging
import NIOCore
import Synchronization
import TernMessages
import TernStore
import TernTransport
import TestTimeLimits
import Testing

@testable import TernServer

/// What clients write reaches the server's log as one line that hides nothing.
@Suite(.untilItHangs)
struct LogTests {
    @Test func aClientCannotWriteLinesOfTheLog() async throws {
        let recorder = LogRecorder()
        var logger = Logger(label: "test") { _ in recorder }
        logger.logLevel = .trace
        try await Harness.run(logger: logger) { harness in
            // A name from before the rules, and a program that calls itself what it likes.
            let name = "eve\u{202e}\u{200b}"
            _ = try await harness.store.registerUser(named: name)
            let connection = harness.connect()
            let control = try await MessageStream.open(.control, on: connection)
            let program = "x\n2026-01-01 error: all is lost\u{1b}[2J\u{2028}"
            try await control.write(AuthenticationRequest(token: "dev:\(name)", clientProgram: program).message)
            _ = try await control.message()
            // Refused tokens are told of, too.
            _ = try? await TestClient(harness.connect(), token: "dev:a\u{202e}/\u{9b}")
            while recorder.lines.count(where: { $0.contains(" connected ") || $0.contains(" refused ") }) < 2 {
                await Task.yield()
            }
            await connection.close()
        }
        let lines = recorder.lines
        #expect(lines.contains { $0.contains("all is lost") })
        let forbidden: Set<Unicode.Scalar> = ["\n", "\u{1b}", "\u{202e}", "\u{2028}", "\u{200b}", "\u{9b}"]
        for line in lines { #expect(!line.unicodeScalars.contains(where: forbidden.contains), "\(line)") }
    }
}

/// Operators see who is refused, and no more often than they can read.
@Suite(.untilItHangs)
struct RefusalLogTests {
    @Test func aRefusedLoginIsAWarningWithAddressAndReason() async throws {
        let recorder = LogRecorder()
        try await Harness.run(logger: Logger(label: "test") { _ in recorder }) { harness in
            _ = try? await TestClient(harness.connect(), token: "nonsense")
            while !recorder.lines.contains(where: { $0.contains("refused") }) { await Task.yield() }
        }
        let lines = recorder.lines.filter { $0.contains("refused") }
        let first = try #require(lines.first)
        for part in [
            "warning refused", "code=unauthenticated", "address=", "reason=this server takes development tokens",
        ] {
            #expect(first.contains(part), "\(first)")
        }
    }

    @Test func whatIsKeptBackIsCounted() {
        let start = ContinuousClock.now
        var pace = RefusalPace()
        #expect(pace.refused(at: start) == 0)
        for index in 1...5 { #expect(pace.refused(at: start + .milliseconds(100 * index)) == nil) }
        #expect(pace.refused(at: start + .seconds(1)) == 5)
        #expect(pace.refused(at: start + .milliseconds(1999)) == nil)
        #expect(pace.refused(at: start + .seconds(60)) == 1)
        #expect(pace.refused(at: start + .seconds(120)) == 0)
    }
}

/// Keeps what is logged, as it would be written.
private final class LogRecorder: LogHandler {
    private let recorded = Mutex<[String]>([])

    var lines: [String] { self.recorded.withLock { $0 } }
    var logLevel: Logger.Level {
        get { .trace }
        set {}
    }
    var metadata: Logger.Metadata {
        get { [:] }
        set {}
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { nil }
        set {}
    }

    func log(event: LogEvent) {
        let fields = (event.metadata ?? [:]).map { "\($0.key)=\($0.value)" }.joined(separator: " ")
        self.recorded.withLock { $0.append("\(event.level) \(event.message) \(fields)") }
    }
}
